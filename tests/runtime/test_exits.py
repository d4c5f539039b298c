from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from flytower.runtime.exits import NORMAL, ExitKind, crashed, leaves, stopped

trees = st.recursive(
    st.integers().map(ValueError),
    lambda inner: st.lists(inner, min_size=1, max_size=4).map(lambda errors: ExceptionGroup("group", errors)),
    max_leaves=12,
)


def flat(error: BaseException) -> list[BaseException]:
    return [leaf for inner in error.exceptions for leaf in flat(inner)] if hasattr(error, "exceptions") else [error]


@given(trees)
def test_an_exception_group_is_taken_apart_in_order_however_deep(error: Exception) -> None:
    assert list(leaves(error)) == flat(error)
    assert crashed(error).errors == tuple(flat(error))


async def test_a_cancellation_is_no_leaf() -> None:
    async def fail() -> None:
        raise OSError("the one")

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the siblings are the point
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail)
            await trio.sleep_forever()
    assert [str(leaf) for leaf in leaves(caught.value)] == ["the one"]
    with trio.move_on_after(0), pytest.raises(trio.Cancelled) as bare:
        await trio.sleep(1)
    assert list(leaves(bare.value)) == []
    error = KeyError()
    assert list(leaves(BaseExceptionGroup("both", [bare.value, error]))) == [error]


def test_an_exit_says_in_a_sentence_how_and_why() -> None:
    assert str(NORMAL) == "normal"
    assert str(stopped("told to")) == "stopped: told to"
    assert str(crashed(ExceptionGroup("", [OSError("a"), KeyError("b")]))) == "crashed: OSError: a; KeyError: 'b'"
    assert [exit_.crashed for exit_ in (NORMAL, stopped(""), crashed(OSError()))] == [False, False, True]
    assert crashed(OSError()).kind is ExitKind.CRASHED


def test_the_cause_of_an_exit_is_one_exception_or_none() -> None:
    error, other = OSError(), KeyError()
    assert NORMAL.cause is None
    assert crashed(ExceptionGroup("", [error])).cause is error
    both = crashed(ExceptionGroup("", [error, other])).cause
    assert isinstance(both, BaseExceptionGroup)
    assert both.exceptions == (error, other)
