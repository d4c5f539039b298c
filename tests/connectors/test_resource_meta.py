"""ResourceMeta: a dataclass without the decorator, strict JSON, and one kind of error for hostile bytes."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from collections.abc import Iterable  # noqa: TC003 - resolved when metadata is decoded
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.connectors import ConnectorError, ResourceMeta, ResourceMetaError
from flytower.connectors.resource_meta import RESOURCE_META_LIMIT

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]  # what an author imports for type checkers only


class Colour(Enum):
    RED = "red"
    BLUE = 2


@dataclass
class Place:
    host: str
    port: int = 80


class Plain(ResourceMeta):
    job_id: str


class Everything(ResourceMeta):
    text: str
    whole: int
    number: float
    flag: bool
    nothing: None
    maybe: str | None
    old_maybe: Optional[int]  # noqa: UP045 - authors write it
    words: list[str]
    pair: tuple[int, str]
    many: tuple[int, ...]
    table: dict[str, list[int]]
    colour: Colour
    place: Place
    places: list[Place]
    choice: Literal["a", 1]
    either: float | int
    loose: list  # type: ignore[type-arg]  # a bare one is checked as far as it goes
    anything: Any


class WithDefaults(ResourceMeta):
    job_id: str
    region: str = "eu"
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Decorated(ResourceMeta):
    job_id: str
    tags: list[str] = field(default_factory=list)


class Child(Plain):
    step: int = 0


class FrozenChild(Decorated):
    step: int = 0


class Foreign(ResourceMeta):
    job_id: str
    thing: Unknown


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise RuntimeError("it is odd")


class Nested(ResourceMeta):
    even: Even
    words: Iterable[str]


class Checked(ResourceMeta):
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise RuntimeError("size must not be negative")


class OwnInit(ResourceMeta):
    job_id: str

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id.lower()


def full() -> Everything:
    return Everything(
        text="ünï\n\u2028",
        whole=2**70,
        number=1.5,
        flag=True,
        nothing=None,
        maybe=None,
        old_maybe=7,
        words=["a", ""],
        pair=(1, "x"),
        many=(1, 2, 3),
        table={"k": [1]},
        colour=Colour.BLUE,
        place=Place("h", 1),
        places=[Place("i")],
        choice=1,
        either=3,
        loose=[1, None],
        anything={"deep": [1, {"x": None}]},
    )


# ---- a dataclass without being told ---------------------------------------------------------------------------


def test_a_subclass_needs_no_decorator() -> None:
    meta = Plain(job_id="1")
    assert meta == Plain("1")
    assert repr(meta) == "Plain(job_id='1')"
    assert meta != Plain("2")


def test_a_decorator_of_the_authors_counts() -> None:
    meta = Decorated(job_id="1")
    assert meta.tags == []
    with pytest.raises(dataclasses.FrozenInstanceError):
        meta.job_id = "2"  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        Decorated("1")  # keyword only
    assert Decorated.decode(meta.encode()) == meta


def test_defaults_and_factories_work_and_are_not_shared() -> None:
    first, second = WithDefaults("1"), WithDefaults("1")
    first.tags.append("x")
    assert second.tags == []
    assert WithDefaults.decode(b'{"job_id":"1"}') == second


@pytest.mark.parametrize(("kind", "arguments"), [(Child, ("1", 2)), (Plain, ("1",))])
def test_a_subclass_of_a_subclass_has_the_fields_of_both(kind: Any, arguments: tuple[Any, ...]) -> None:
    meta = kind(*arguments)
    assert kind.decode(meta.encode()) == meta


def test_a_child_of_a_frozen_parent_is_frozen() -> None:
    meta = FrozenChild(job_id="1", step=2)
    assert FrozenChild.decode(meta.encode()) == meta
    with pytest.raises(dataclasses.FrozenInstanceError):
        meta.step = 3  # that is the point


def test_an_init_of_the_authors_is_kept() -> None:
    assert OwnInit("ABC").job_id == "abc"
    assert OwnInit.decode(b'{"job_id":"ABC"}').job_id == "abc"


def test_it_can_be_copied() -> None:
    assert copy.deepcopy(full()) == full()


# ---- bytes ----------------------------------------------------------------------------------------------------


def test_encoding_is_compact_json_in_field_order_and_utf8() -> None:
    assert WithDefaults("ü", tags=["b", "a"]).encode() == '{"job_id":"ü","region":"eu","tags":["b","a"]}'.encode()


def test_every_kind_of_field_comes_back_as_it_was() -> None:
    decoded = Everything.decode(full().encode())
    assert decoded == full()
    assert type(decoded.either) is int
    assert type(decoded.place) is Place


def test_decoding_works_before_the_first_instance() -> None:
    class Fresh(ResourceMeta):
        job_id: str

    assert Fresh.decode(b'{"job_id":"1"}').job_id == "1"


def test_a_field_that_only_type_checkers_understand_is_not_checked() -> None:
    assert Foreign.decode(b'{"job_id":"1","thing":[1]}').thing == [1]
    with pytest.raises(ResourceMetaError, match="field job_id"):
        Foreign.decode(b'{"job_id":1,"thing":[1]}')


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", float("nan"), float("inf"), "\ud800", {(1, 2): 3}])
def test_what_json_cannot_say_cannot_be_encoded(value: Any) -> None:
    meta = full()
    meta.anything = value
    with pytest.raises(ResourceMetaError, match="Everything"):
        meta.encode()


def test_metadata_that_is_too_long_is_refused_on_both_sides() -> None:
    with pytest.raises(ResourceMetaError, match="keep an id in it"):
        Plain("x" * RESOURCE_META_LIMIT).encode()
    with pytest.raises(ResourceMetaError, match=str(RESOURCE_META_LIMIT)):
        Plain.decode(json.dumps({"job_id": "x" * RESOURCE_META_LIMIT}).encode())
    longest = Plain("x" * (RESOURCE_META_LIMIT - len('{"job_id":""}')))
    assert Plain.decode(longest.encode()) == longest


# ---- hostile bytes --------------------------------------------------------------------------------------------


def test_an_error_names_every_field_that_is_wrong() -> None:
    with pytest.raises(ResourceMetaError) as caught:
        WithDefaults.decode(b'{"jobid":"1","region":5,"x":1}')
    text = str(caught.value)
    assert "unknown fields: jobid, x" in text
    assert "missing fields: job_id" in text
    assert "field region: must be a string, not a JSON int" in text


def test_an_error_is_an_error_of_connectors_and_a_value_error() -> None:
    assert issubclass(ResourceMetaError, ConnectorError)
    assert issubclass(ResourceMetaError, ValueError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 1),
        ("whole", True),
        ("whole", 1.0),
        ("whole", "1"),
        ("number", "1.5"),
        ("number", True),
        ("flag", 1),
        ("nothing", 0),
        ("maybe", 1),
        ("old_maybe", "1"),
        ("words", "ab"),
        ("words", ["a", 1]),
        ("pair", [1]),
        ("pair", [1, 2]),
        ("many", [1, "2"]),
        ("table", []),
        ("table", {"k": [1, "x"]}),
        ("colour", "RED"),
        ("colour", True),
        ("place", {"host": "h", "other": 1}),
        ("place", {"port": 1}),
        ("place", {"host": 1}),
        ("place", []),
        ("places", [{"host": "h"}, {}]),
        ("choice", True),
        ("choice", "b"),
        ("either", "x"),
        ("loose", {}),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    fields = json.loads(full().encode())
    fields[name] = value
    with pytest.raises(ResourceMetaError, match=f"field {name}"):
        Everything.decode(json.dumps(fields).encode())


def test_an_int_is_a_number_too() -> None:
    fields = json.loads(full().encode())
    fields["number"] = 2
    decoded = Everything.decode(json.dumps(fields).encode())
    assert (decoded.number, type(decoded.number)) == (2.0, float)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"42",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"job_id":NaN}',
        b'{"job_id":Infinity}',
        b'{"job_id":1e999}',
        b'{"job_id":"a","job_id":"b"}',
        b'{"job_id":{"a":1,"a":2}}',
        b'{"job_id":"\\ud800"}',
        b'{"job_id":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"\x80\x04\x95",
        b'{"job_id":"1"} x',
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"job_id":' + b"9" * 10_000 + b"}",
    ],
)
def test_bytes_that_are_no_strict_json_object_raise_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(ResourceMetaError):
        Plain.decode(data)


def test_the_check_of_a_nested_dataclass_is_one_of_the_field() -> None:
    assert Nested.decode(b'{"even":{"number":2},"words":["a"]}').even == Even(2)
    with pytest.raises(ResourceMetaError, match="field even: is no Even: it is odd"):
        Nested.decode(b'{"even":{"number":1},"words":["a"]}')


def test_what_the_authors_own_check_raises_is_the_same_kind_of_error() -> None:
    with pytest.raises(ResourceMetaError, match="size must not be negative"):
        Checked.decode(b'{"size":-1}')


def test_a_message_about_hostile_bytes_stays_short() -> None:
    data = json.dumps({"k" * 200 + str(number): number for number in range(200)}).encode()
    with pytest.raises(ResourceMetaError) as caught:
        Plain.decode(data)
    assert len(str(caught.value)) < 2000
    assert "and 190 more" in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_one_kind_of_error(data: bytes) -> None:
    for kind in (Plain, Everything):
        with contextlib.suppress(ResourceMetaError):
            kind.decode(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([name.name for name in dataclasses.fields(full())]), JSON))
def test_any_json_in_the_fields_decodes_or_raises_one_kind_of_error(changes: dict[str, Any]) -> None:
    fields = {**json.loads(full().encode()), **changes}
    try:
        decoded = Everything.decode(json.dumps(fields).encode())
    except ResourceMetaError:
        return
    assert Everything.decode(decoded.encode()) == decoded


@given(st.text(), st.text(), st.lists(st.text()))
def test_any_text_comes_back(job_id: str, region: str, tags: list[str]) -> None:
    meta = WithDefaults(job_id, region, tags)
    try:
        data = meta.encode()
    except ResourceMetaError:
        return  # too long, or half of a surrogate pair
    assert WithDefaults.decode(data) == meta
