from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flytower.runtime.promise import Promise

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_a_promise_is_answered_once_and_keeps_its_answer() -> None:
    promise: Promise[int] = Promise()
    assert not promise.done
    assert promise.resolve(1)
    assert not promise.resolve(2)
    assert not promise.reject(OSError())
    assert promise.done
    assert promise.result() == await promise.wait() == 1


async def test_none_is_an_answer_too() -> None:
    promise: Promise[int | None] = Promise()
    promise.resolve(None)
    assert promise.done
    assert await promise.wait() is None


async def test_an_error_is_raised_by_whoever_takes_the_answer() -> None:
    promise: Promise[int] = Promise()
    assert promise.reject(OSError("refused"))
    assert not promise.resolve(1)
    with pytest.raises(OSError, match="refused"):
        promise.result()
    with pytest.raises(OSError, match="refused"):
        await promise.wait()


async def test_a_waiter_wakes_up_with_the_answer(autojump_clock: MockClock) -> None:
    promise: Promise[str] = Promise()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def answer() -> None:
            await trio.sleep(2)
            promise.resolve("here")

        assert await promise.wait() == "here"
        assert trio.current_time() == 2


async def test_cancelling_the_wait_withdraws_the_promise(autojump_clock: MockClock) -> None:
    promise: Promise[str] = Promise()
    with trio.move_on_after(1):
        await promise.wait()
    assert promise.withdrawn
    assert not promise.done
    assert not promise.resolve("too late")
    assert not promise.reject(OSError("too late"))
    with pytest.raises(RuntimeError, match="withdrawn"):
        promise.result()
    with pytest.raises(RuntimeError, match="withdrawn"):
        await promise.wait()


async def test_an_answer_that_came_first_is_not_withdrawn() -> None:
    promise: Promise[int] = Promise()
    promise.resolve(1)
    promise.withdraw()
    assert not promise.withdrawn


async def test_a_wait_that_is_cancelled_together_with_the_answer_still_returns_it() -> None:
    promise: Promise[int] = Promise()
    with trio.CancelScope() as scope:

        async def wait() -> None:
            assert await promise.wait() == 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            promise.resolve(1)
            scope.cancel()


@pytest.mark.parametrize("settle", [lambda p: p.resolve(1), lambda p: p.reject(OSError()), lambda p: p.withdraw()])
def test_callbacks_hear_of_an_answer_or_of_its_withdrawal_once_and_late_ones_at_once(
    settle: Callable[[Promise[int]], object],
) -> None:
    promise: Promise[int] = Promise()
    heard: list[str] = []
    promise.add_done_callback(lambda _: heard.append("first"))
    promise.add_done_callback(lambda _: heard.append("second"))
    settle(promise)
    promise.withdraw()
    promise.add_done_callback(lambda _: heard.append("late"))
    assert heard == ["first", "second", "late"]


def test_the_result_of_an_open_promise_is_a_mistake_to_ask_for() -> None:
    with pytest.raises(RuntimeError, match="await wait"):
        Promise().result()
