"""Python values and Flyte's literals: what each is on the wire, and what cannot be one."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Any

import msgpack
import pytest
from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import text_format

from flytower.protocol.codec import MAX_DEPTH_WRITTEN, dict_to_struct
from flytower.protocol.decode import decode_untrusted
from flytower.protocol.generated.flyteidl import admin, core
from flytower.protocol.literal_errors import MAX_MSGPACK_BYTES
from flytower.protocol.literals import (
    Directory,
    File,
    LiteralError,
    StructuredDataset,
    from_literal,
    from_literal_map,
    to_literal,
    to_literal_map,
)

NOON = dt.datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=dt.UTC)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Name(enum.StrEnum):
    FIRST = "first"


class Odd(enum.Enum):
    PAIR = (1, 2)


@dataclasses.dataclass
class Point:
    x: int
    label: str = "origin"


@dataclasses.dataclass
class Job:
    name: str
    when: dt.datetime
    every: dt.timedelta
    colour: Colour
    points: list[Point]
    by_number: dict[int, Point]
    payload: bytes
    source: File
    target: Directory
    table: StructuredDataset
    parent: Point | None


JOB = Job(
    name="j",
    when=NOON,
    every=dt.timedelta(minutes=1, microseconds=5),
    colour=Colour.RED,
    points=[Point(1)],
    by_number={7: Point(2, "b")},
    payload=b"\x00\xff",
    source=File("s3://b/f"),
    target=Directory("s3://b/d"),
    table=StructuredDataset("s3://b/t", "parquet"),
    parent=None,
)


def theirs(literal: core.Literal) -> literals_pb2.Literal:
    return literals_pb2.Literal.FromString(bytes(literal))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "scalar { none_type { } }"),
        (True, "scalar { primitive { boolean: true } }"),
        (False, "scalar { primitive { boolean: false } }"),
        (0, "scalar { primitive { integer: 0 } }"),
        (-(2**63), "scalar { primitive { integer: -9223372036854775808 } }"),
        (2**63 - 1, "scalar { primitive { integer: 9223372036854775807 } }"),
        (0.0, "scalar { primitive { float_value: 0 } }"),
        (1.5, "scalar { primitive { float_value: 1.5 } }"),
        ("", 'scalar { primitive { string_value: "" } }'),
        (Colour.RED, 'scalar { primitive { string_value: "red" } }'),
        (Level.LOW, "scalar { primitive { integer: 1 } }"),
        (Name.FIRST, 'scalar { primitive { string_value: "first" } }'),
        (NOON, "scalar { primitive { datetime { seconds: 1772366400 nanos: 250000000 } } }"),
        (dt.timedelta(seconds=-1.5), "scalar { primitive { duration { seconds: -1 nanos: -500000000 } } }"),
        (b"\x00", 'scalar { binary { value: "\\000" } }'),
        ([], "collection { }"),
        ([1], "collection { literals { scalar { primitive { integer: 1 } } } }"),
        ({}, "map { }"),
        ({"a": None}, 'map { literals { key: "a" value { scalar { none_type { } } } } }'),
        ({1: 2}, 'scalar { binary { value: "\\201\\001\\002" tag: "msgpack" } }'),
        (Point(1, "a"), 'scalar { binary { value: "\\202\\241x\\001\\245label\\241a" tag: "msgpack" } }'),
        (
            File("s3://b/f", "csv"),
            'scalar { blob { uri: "s3://b/f" metadata { type { format: "csv" dimensionality: SINGLE } } } }',
        ),
        (
            Directory("s3://b/d"),
            'scalar { blob { uri: "s3://b/d" metadata { type { dimensionality: MULTIPART } } } }',
        ),
        (
            StructuredDataset("s3://b/t", "parquet"),
            'scalar { structured_dataset { uri: "s3://b/t" metadata { structured_dataset_type { format: "parquet" }}}}',
        ),
    ],
)
def test_a_value_is_the_literal_that_flytekit_would_write(value: object, text: str) -> None:
    assert theirs(to_literal(value)) == text_format.Parse(text, literals_pb2.Literal())


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -1, 1.0, "x", b"", NOON, dt.timedelta(microseconds=-1), [], {}),
        *([1, [True, {"a": [None]}]], {1: [2]}, File("u", "f"), Directory("u"), StructuredDataset("u", "f")),
    ],
)
def test_a_value_comes_back_by_itself_with_its_type(value: object) -> None:
    found = from_literal(decode_untrusted(core.Literal, bytes(to_literal(value))))
    assert (type(found), found) == (type(value), value)


def test_a_dataclass_is_msgpack_as_flytekit_writes_it() -> None:
    """Flytekit (through mashumaro) writes ISO text, seconds, enum values and {"path": ...} inside a dataclass."""
    binary = theirs(to_literal(JOB)).scalar.binary
    assert binary.tag == "msgpack"
    assert msgpack.unpackb(binary.value, strict_map_key=False) == {
        "name": "j",
        "when": "2026-03-01T12:00:00.250000+00:00",
        "every": 60.000005,
        "colour": "red",
        "points": [{"x": 1, "label": "origin"}],
        "by_number": {7: {"x": 2, "label": "b"}},
        "payload": b"\x00\xff",
        "source": {"path": "s3://b/f"},
        "target": {"path": "s3://b/d"},
        "table": {"uri": "s3://b/t", "file_format": "parquet"},
        "parent": None,
    }


def test_a_dataclass_comes_back_from_msgpack() -> None:
    assert from_literal(to_literal(JOB), Job) == JOB


def test_a_dataclass_comes_back_from_a_generic_struct_with_ints_where_ints_belong() -> None:
    """What flytekit wrote before msgpack, and what the console writes: JSON, where every number is a double."""
    generic = dict_to_struct(
        {
            "name": "j",
            "when": "2026-03-01T13:00:00.250000+01:00",
            "every": 60.000005,
            "colour": "red",
            "points": [{"x": 1.0}],
            "by_number": {"7": {"x": 2, "label": "b"}},
            "payload": "AP8=\n",
            "source": "s3://b/f",
            "target": {"path": "s3://b/d"},
            "table": {"uri": "s3://b/t", "file_format": "parquet"},
            "parent": None,
        }
    )
    literal = core.Literal(scalar=core.Scalar(generic=generic))
    found = from_literal(decode_untrusted(core.Literal, bytes(literal)), Job)
    assert found == JOB
    assert isinstance(found, Job)
    assert type(found.points[0].x) is int


def test_a_generic_struct_without_an_expected_type_has_ints_where_there_is_no_fraction() -> None:
    literal = core.Literal(scalar=core.Scalar(generic=dict_to_struct({"a": 3.0, "b": 0.5})))
    found: Any = from_literal(literal)
    assert found == {"a": 3, "b": 0.5}
    assert type(found["a"]) is int


def test_a_union_is_the_value_in_it() -> None:
    kind = types_pb2.LiteralType(simple=types_pb2.INTEGER, structure=types_pb2.TypeStructure(tag="int"))
    union = literals_pb2.Union(value=theirs(to_literal(5)), type=kind)
    literal = literals_pb2.Literal(scalar=literals_pb2.Scalar(union=union))
    assert from_literal(decode_untrusted(core.Literal, literal.SerializeToString()), int) == 5


def test_a_schema_of_old_is_a_structured_dataset() -> None:
    assert from_literal(core.Literal(scalar=core.Scalar(schema=core.Schema(uri="u")))) == StructuredDataset("u")


def test_a_blob_that_does_not_say_what_it_is_is_a_file() -> None:
    assert from_literal(core.Literal(scalar=core.Scalar(blob=core.Blob(uri="u")))) == File("u")
    dataset = core.Scalar(structured_dataset=core.StructuredDataset(uri="u"))
    assert from_literal(core.Literal(scalar=dataset)) == StructuredDataset("u")


def test_named_values_go_to_a_map_and_back() -> None:
    values = {"count": 3, "when": NOON, "job": JOB}
    literals = decode_untrusted(core.LiteralMap, bytes(to_literal_map(values)))
    assert from_literal_map(literals, {"job": Job, "count": int, "absent": str}) == values
    assert from_literal_map(core.LiteralMap()) == {}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (2**63, "does not fit into 64 bits"),
        (-(2**63) - 1, "does not fit into 64 bits"),
        ("\ud800", "lone surrogate"),
        (dt.datetime(2026, 1, 1), "no time zone"),  # noqa: DTZ001 - the very thing
        (dt.timedelta.max, "ten thousand years"),
        ((1, 2), "a tuple has no literal form"),
        ({1, 2}, "a set has no literal form"),
        (1j, "a complex has no literal form"),
        (Point, "a type has no literal form"),
        (Odd.PAIR, "a tuple has no literal form"),
        (File("\ud800"), "lone surrogate"),
        ({1: object()}, "a object has no literal form"),
        ({1: 2**64}, "does not fit into 64 bits"),
        ({1: dt.datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001 - the very thing
        ({1: dt.timedelta(days=999_999_999, microseconds=1)}, "too long to keep its microseconds"),
        ({(1, 2): 3}, "a key is of type tuple"),
        ({Colour.RED: 1, "red": 2}, "two keys are the same"),
        ({Name.FIRST: 1, "f": 2, "first ": 3, "\ud800": 4}, "lone surrogate"),
    ],
)
def test_what_has_no_literal_form_is_refused_with_its_place(value: object, problem: str) -> None:
    with pytest.raises(LiteralError, match=problem) as caught:
        to_literal_map({"rows": [0, {"cell": value}]})
    assert caught.value.path.startswith("rows[1]['cell']")
    assert str(caught.value) == f"{caught.value.path}: {caught.value.problem}"


def test_the_place_inside_a_dataclass_is_named() -> None:
    with pytest.raises(LiteralError) as caught:
        to_literal({"job": dataclasses.replace(JOB, points=[Point(0), Point(2**70)])})
    assert caught.value.path == "value['job'].points[1].x"


def test_two_keys_that_are_written_alike_are_refused() -> None:
    class Shout(enum.Enum):
        A = "a"

    with pytest.raises(LiteralError, match="two keys are the same"):
        to_literal({Shout.A: 1, "a": 2})


def test_a_key_that_is_an_enum_and_a_str_is_written_as_its_value() -> None:
    class Whisper(str, enum.Enum):  # noqa: UP042 - a str whose own text is not its value
        B = "b"

    assert from_literal(to_literal({Whisper.B: 1})) == {"b": 1}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"k": value}
    return value


def test_what_is_written_is_never_too_deep_for_flytes_decoders() -> None:
    """They count 100 messages, of which the answer around the outputs takes some."""
    resource = admin.Resource(outputs=to_literal_map({"o": nested(MAX_DEPTH_WRITTEN)}))
    encoded = bytes(admin.GetTaskResponse(resource=resource))
    decoded = decode_untrusted(admin.GetTaskResponse, encoded)
    assert decoded.resource is not None
    assert decoded.resource.outputs is not None
    assert from_literal_map(decoded.resource.outputs) == {"o": nested(MAX_DEPTH_WRITTEN)}
    from flyteidl.admin import agent_pb2  # noqa: PLC0415 - beside its only use

    assert agent_pb2.GetTaskResponse.FromString(encoded).HasField("resource")


@pytest.mark.parametrize("value", [nested(MAX_DEPTH_WRITTEN + 1), {1: nested(MAX_DEPTH_WRITTEN)}])
def test_what_would_be_too_deep_is_refused(value: object) -> None:
    with pytest.raises(LiteralError, match="nested more than 30 deep"):
        to_literal(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    rows: list[object] = []
    rows.append(rows)
    with pytest.raises(LiteralError, match="nested"):
        to_literal(rows)


def test_a_packed_value_that_would_not_fit_into_a_message_is_refused() -> None:
    with pytest.raises(LiteralError, match="are allowed"):
        to_literal({1: b"x" * MAX_MSGPACK_BYTES})


@pytest.mark.parametrize(
    ("literal", "problem"),
    [
        (core.Literal(), "the literal is empty"),
        (core.Literal(scalar=core.Scalar()), "the scalar is empty"),
        (core.Literal(scalar=core.Scalar(primitive=core.Primitive())), "the primitive is empty"),
        (core.Literal(scalar=core.Scalar(union=core.Union())), "the union is empty"),
        (core.Literal(scalar=core.Scalar(error=core.Error(message="m"))), "the error of the node"),
        (core.Literal(offloaded_metadata=core.LiteralOffloadedMetadata(uri="u")), "stored elsewhere"),
        (core.Literal(scalar=core.Scalar(binary=core.Binary(value=b"", tag="pickle"))), "tagged 'pickle'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_literal_that_holds_no_value_is_refused_with_its_place(literal: core.Literal, problem: str) -> None:
    rows = core.Literal(collection=core.LiteralCollection(literals=[literal]))
    with pytest.raises(LiteralError, match=problem) as caught:
        from_literal_map(core.LiteralMap(literals={"rows": rows}))
    assert caught.value.path == "rows[0]"


def test_no_value_is_shown_in_an_error() -> None:
    """An input may be a password."""
    with pytest.raises(LiteralError) as caught:
        from_literal(to_literal("hunter2"), int)
    assert "hunter2" not in str(caught.value)
