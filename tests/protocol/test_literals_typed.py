"""Reading a literal as the type that is expected of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from typing import Annotated, Any, Optional, TypeVar, Union

import msgpack
import pytest

from flytower.protocol.generated.flyteidl import core
from flytower.protocol.literals import (
    Directory,
    File,
    LiteralError,
    StructuredDataset,
    from_literal,
    from_literal_map,
    to_literal,
)

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


@dataclasses.dataclass
class Point:
    x: int
    label: str = "origin"


@dataclasses.dataclass
class Tree:
    value: float
    children: list[Tree] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Picky:
    x: int
    made: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("secret detail")


@dataclasses.dataclass
class Unresolved:
    x: NotDefinedAnywhere  # type: ignore[name-defined]  # noqa: F821 - the very thing


def packed(value: object) -> core.Literal:
    binary = core.Binary(value=msgpack.packb(value), tag="msgpack")
    return core.Literal(scalar=core.Scalar(binary=binary))


@pytest.mark.parametrize(
    ("value", "expected", "found"),
    [
        (3.0, int, 3),
        (-(2.0**60), int, -(2**60)),
        (3, float, 3.0),
        (True, bool, True),
        ("2026-03-01T12:00:00Z", dt.datetime, NOON),
        ("2026-03-01T12:00:00", dt.datetime, NOON),
        ("2026-03-01T14:00:00+02:00", dt.datetime, NOON),
        (1.5, dt.timedelta, dt.timedelta(seconds=1.5)),
        (-1, dt.timedelta, dt.timedelta(seconds=-1)),
        ("AP8=", bytes, b"\x00\xff"),
        (b"x", bytes, b"x"),
        ([None], list[None], [None]),
        (None, type(None), None),
        ("red", Colour, Colour.RED),
        (1, Colour, Colour.ONE),
        ([1.0, 2], list[int], [1, 2]),
        ([1, "a"], list, [1, "a"]),
        ([1.0, 2], tuple[int, ...], (1, 2)),
        ([1.0, "a"], tuple[int, str], (1, "a")),
        ([1, "a"], tuple, (1, "a")),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ({"a": 1}, dict, {"a": 1}),
        ({"-7": 1}, dict[int, int], {-7: 1}),
        ({7: 1}, dict[int, int], {7: 1}),
        ({"red": 1}, dict[Colour, int], {Colour.RED: 1}),
        (None, int | None, None),
        (3.0, int | None, 3),
        (3, Optional[int], 3),  # noqa: UP045 - users still write it
        (3, Union[str, int], 3),  # noqa: UP007 - likewise
        (3, float | int, 3),
        (3, str | float, 3.0),
        ({"x": 1}, str | Point, Point(1)),
        (3.0, Annotated[int, "metres"], 3),
        ([1], Any, [1]),
        ([1], object, [1]),
        ({"x": 1.0, "added later": True}, Point, Point(1)),
        ({"value": 1, "children": [{"value": 2}]}, Tree, Tree(1.0, [Tree(2.0)])),
        ({"path": "u"}, File, File("u")),
        ("u", Directory, Directory("u")),
        ({"uri": "u", "file_format": "csv"}, StructuredDataset, StructuredDataset("u", "csv")),
        ({"uri": "u"}, StructuredDataset, StructuredDataset("u")),
        ({"x": 2, "made": 5}, Picky, Picky(2)),
    ],
)
def test_a_value_is_read_as_the_type_that_is_expected(value: object, expected: Any, found: object) -> None:
    result = from_literal(packed(value), expected)
    assert (type(result), result) == (type(found), found)


@pytest.mark.parametrize(
    ("value", "expected", "problem"),
    [
        (True, int, "it is of type bool, and int is expected"),
        (1, bool, "it is of type int, and bool is expected"),
        (True, float, "it is of type bool, and float is expected"),
        (True, dt.timedelta, "timedelta is expected"),
        (1.5, int, "int is expected"),
        (float("nan"), int, "int is expected"),
        (float("inf"), int, "int is expected"),
        ("1", int, "int is expected"),
        (1, str, "str is expected"),
        (b"a", str, "str is expected"),
        ([0], list[None], "NoneType is expected"),
        ("yesterday", dt.datetime, "no date and time"),
        ("0001-01-01T00:00:00+01:00", dt.datetime, "years 1 and 9999"),
        (1, dt.datetime, "datetime is expected"),
        (float("nan"), dt.timedelta, "no timedelta"),
        (1e300, dt.timedelta, "no timedelta"),
        ("*", bytes, "no base64"),
        (1, bytes, "bytes is expected"),
        ("blue", Colour, "the value of no member of Colour"),
        (True, Colour, "the value of no member of Colour"),
        ({"a": 1}, list, "list is expected"),
        ([], dict, "dict is expected"),
        ({}, tuple[int, ...], "tuple is expected"),
        ([1], tuple[int, int], "it has 1 items, and 2 are expected"),
        ({"one": 1}, dict[int, int], "the key is no whole number"),
        ({"01": 1}, dict[int, int], "the key is no whole number"),
        ({"9" * 100: 1}, dict[int, int], "the key is no whole number"),
        ("x", int | float, "int or float is expected"),
        ({}, Point, "Point needs it, and it is not there"),
        ([], Point, "Point is expected"),
        ({"x": -1}, Picky, r"Picky refuses these values \(ValueError\)$"),
        ({"x": 1}, Unresolved, "annotations of Unresolved cannot be resolved"),
        ({"path": 1}, File, "File is expected"),
        ({"uri": 1}, StructuredDataset, "StructuredDataset is expected"),
        (1, complex, "complex is no type that a literal can have"),
        (1, TypeVar("T"), "is no type that a literal can have"),
        ([], set[int], "set is no type that a literal can have"),
    ],
)
def test_a_value_of_another_type_is_refused(value: object, expected: Any, problem: str) -> None:
    with pytest.raises(LiteralError, match=problem):
        from_literal(packed(value), expected)


def test_a_reference_is_read_only_as_its_own_kind() -> None:
    for value in (File("u"), Directory("u"), StructuredDataset("u")):
        assert from_literal(to_literal(value), type(value)) == value
    with pytest.raises(LiteralError, match="File is expected"):
        from_literal(to_literal(Directory("u")), File)
    with pytest.raises(LiteralError, match="StructuredDataset is expected"):
        from_literal(to_literal(File("u")), StructuredDataset)


@pytest.mark.parametrize("value", [True, 1, 1.5, "a", b"a", NOON, dt.timedelta(seconds=-1)])
def test_a_value_is_read_as_its_own_type_and_as_no_type_without_likeness(value: object) -> None:
    literal = to_literal(value)
    assert from_literal(literal, type(value)) == value
    with pytest.raises(LiteralError):
        from_literal(literal, Point)


def test_a_list_of_literals_is_read_item_by_item() -> None:
    """A dataclass in a list is msgpack in a collection."""
    assert from_literal(to_literal([Point(1), Point(2)]), list[Point]) == [Point(1), Point(2)]
    assert from_literal(to_literal({"a": [Point(1)]}), dict[str, list[Point]]) == {"a": [Point(1)]}


def test_the_place_of_the_trouble_is_named() -> None:
    literals = core.LiteralMap(literals={"tree": packed({"value": 1, "children": [{"value": "?"}]})})
    with pytest.raises(LiteralError) as caught:
        from_literal_map(literals, {"tree": Tree})
    assert caught.value.path == "tree.children[0].value"


def test_the_msgpack_timestamp_is_a_datetime() -> None:
    """Writers in Go use the extension type that the specification reserves for it."""
    literal = packed(msgpack.Timestamp.from_datetime(NOON))
    assert from_literal(literal) == NOON
    assert from_literal(literal, dt.datetime) == NOON


def test_what_a_json_encoder_made_of_a_dataclass_is_read_too() -> None:
    """Flytekit sends a DataClassJSONMixin through JSON before it packs it, which turns int keys into text."""
    through_json = json.loads(json.dumps({"x": 1.0, "label": "a"}))
    assert from_literal(packed({"1": through_json}), dict[int, Point]) == {1: Point(1, "a")}
