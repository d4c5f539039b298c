"""Messages become dataclasses when they are first used, and nobody can tell."""

from __future__ import annotations

import copy
import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import betterproto2
import pytest

from flytower.protocol.deferred import FIELDS, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = 8


@message
class Other(betterproto2.Message):
    """Is in a field of the one below."""

    text: str = betterproto2.field(1, betterproto2.TYPE_STRING)


@message
class Kept(betterproto2.Message):
    """A message that tests use."""

    other: Other | None = betterproto2.field(1, betterproto2.TYPE_MESSAGE, optional=True)
    numbers: list[int] = betterproto2.field(2, betterproto2.TYPE_INT64, repeated=True)


def fresh() -> type[Other]:
    """A message that nobody has used yet."""

    @message
    class Fresh(betterproto2.Message):
        """Has a field of each kind."""

        number: int = betterproto2.field(1, betterproto2.TYPE_INT64)
        text: str = betterproto2.field(2, betterproto2.TYPE_STRING)
        many: list[str] = betterproto2.field(3, betterproto2.TYPE_STRING, repeated=True)

    return Fresh  # type: ignore[return-value]  # the same for what is done with it here


def is_made(kind: type) -> bool:
    return isinstance(vars(kind)[FIELDS], dict)


@pytest.mark.parametrize(
    "use",
    [
        lambda kind: kind(),
        lambda kind: kind(text="it"),
        lambda kind: kind(1, "it", []),
        dataclasses.fields,
        dataclasses.is_dataclass,
        lambda kind: kind.parse(b""),
        lambda kind: dataclasses.replace(kind(text="it"), text="that"),
        lambda kind: copy.deepcopy(kind(text="it")),
        lambda kind: type("Sub", (kind,), {})(text="it"),
    ],
)
def test_the_first_use_whatever_it_is_makes_a_message_a_dataclass(use: Callable[[type[Other]], object]) -> None:
    kind = fresh()
    assert not is_made(kind)
    assert use(kind) is not None
    assert is_made(kind)
    assert [field.name for field in dataclasses.fields(kind)] == ["number", "text", "many"]


def test_a_message_is_what_a_dataclass_would_have_been() -> None:
    kind = fresh()
    one, other = kind(text="it"), kind(text="it")
    assert (one, repr(one), bytes(one)) == (other, "Fresh(text='it')", b"\x12\x02it")
    assert vars(one) == {"number": 0, "text": "it", "many": [], "_unknown_fields": b""}
    assert one.many is not other.many  # type: ignore[attr-defined]
    assert not hasattr(kind, "text")  # a default is made for each instance, as with any dataclass
    with pytest.raises(TypeError, match="unexpected keyword argument 'txet'"):
        kind(txet="it")  # type: ignore[call-arg]


def test_a_copy_is_equal() -> None:
    kept = Kept(other=Other(text="it"), numbers=[1])
    assert copy.deepcopy(kept) == kept
    assert Kept.parse(bytes(kept)) == kept


@pytest.fixture(name="_restless")
def _restless() -> Iterator[None]:
    """Have threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_restless")
def test_threads_that_use_a_message_first_and_at_once_all_get_a_whole_one() -> None:
    for _ in range(20):
        kind, together = fresh(), Barrier(THREADS)

        def use(number: int, kind: type[Other] = kind, together: Barrier = together) -> dict[str, object]:
            together.wait()
            return vars(kind(text=str(number)))

        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(use, range(THREADS)))
        assert found == [
            {"number": 0, "text": str(number), "many": [], "_unknown_fields": b""} for number in range(THREADS)
        ]
