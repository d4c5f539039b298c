"""An asyncio coroutine that is run from trio begins at once, in a task like any other."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import TYPE_CHECKING

import pytest
import sniffio
import trio

from flytower.protocol.eager import begin, run_at_once
from flytower.protocol.loop import open_event_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import trio_asyncio

variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(name="loop")
async def _loop() -> AsyncIterator[trio_asyncio.TrioEventLoop]:
    async with open_event_loop() as loop:
        yield loop


async def test_a_coroutine_that_never_waits_takes_no_turn_of_the_loop(loop: trio_asyncio.TrioEventLoop) -> None:
    async def at_once() -> int:
        return 7

    assert begin(loop, at_once()).result() == 7


async def test_a_coroutine_that_waits_goes_on_in_the_same_task(loop: trio_asyncio.TrioEventLoop) -> None:
    async def waiting() -> bool:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.sleep(0.001), 60)
        return before is not None and asyncio.current_task() is before

    assert await run_at_once(loop, waiting)


async def test_it_sees_the_loop_and_the_library_that_it_is_for(loop: trio_asyncio.TrioEventLoop) -> None:
    async def look() -> tuple[object, str]:
        return asyncio.get_running_loop(), sniffio.current_async_library()

    assert await run_at_once(loop, look) == (loop, "asyncio")
    assert sniffio.current_async_library() == "trio"


async def test_what_it_sets_in_context_variables_stays_its_own(loop: trio_asyncio.TrioEventLoop) -> None:
    async def set_it() -> str:
        variable.set("set")
        await asyncio.sleep(0)
        return variable.get()

    assert await run_at_once(loop, set_it) == "set"
    assert variable.get() == "unset"


async def test_a_timeout_that_it_enters_before_it_waits_cancels_it(loop: trio_asyncio.TrioEventLoop) -> None:
    async def slow() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(3600)

    with pytest.raises(TimeoutError):
        await run_at_once(loop, slow)


async def test_a_task_group_in_it_runs(loop: trio_asyncio.TrioEventLoop) -> None:
    async def grouped() -> int:
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return sum(part.result() for part in parts)

    assert await run_at_once(loop, grouped) == 3


@pytest.mark.parametrize("pauses", [0, 1])
async def test_what_it_raises_comes_out(loop: trio_asyncio.TrioEventLoop, pauses: int) -> None:
    async def failing() -> None:
        for _ in range(pauses):
            await asyncio.sleep(0)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await run_at_once(loop, failing)


async def test_trios_cancellation_cancels_it_and_waits_for_its_end(loop: trio_asyncio.TrioEventLoop) -> None:
    ended = []

    async def endless() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    with trio.move_on_after(0.001) as scope:
        await run_at_once(loop, endless)
    assert scope.cancelled_caught
    assert ended


async def test_nothing_is_begun_when_it_was_cancelled_before(loop: trio_asyncio.TrioEventLoop) -> None:
    begun = []

    async def begin_it() -> None:
        begun.append(True)

    with trio.CancelScope() as scope:
        scope.cancel()
        await run_at_once(loop, begin_it)
    assert not begun


@pytest.mark.parametrize("pauses", [0, 1])
async def test_a_coroutine_that_awaits_trio_leaves_no_scope_open_behind_it(
    loop: trio_asyncio.TrioEventLoop, pauses: int
) -> None:
    async def mistaken() -> None:
        for _ in range(pauses):
            await asyncio.sleep(0)
        with trio.move_on_after(60):
            await trio.sleep(30)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="Task got bad yield"):
            await run_at_once(loop, mistaken)
    with trio.move_on_after(60):
        await trio.lowlevel.checkpoint()


async def test_two_mistaken_tasks_do_not_mix_up_their_scopes(loop: trio_asyncio.TrioEventLoop) -> None:
    async def mistaken() -> None:
        with trio.move_on_after(60):
            await trio.sleep(30)

    tasks = [loop.create_task(mistaken()) for _ in range(2)]
    await loop.synchronize()
    await loop.synchronize()
    assert [str(task.exception())[:18] for task in tasks] == ["Task got bad yield"] * 2


async def test_a_coroutine_that_awaits_trio_again_and_again_is_given_up(loop: trio_asyncio.TrioEventLoop) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await trio.lowlevel.checkpoint()
            except RuntimeError:
                continue

    with pytest.raises(RuntimeError, match="again and again"):
        await run_at_once(loop, stubborn)


async def test_a_coroutine_for_a_loop_that_is_closed_is_not_left_unawaited() -> None:
    """Its warning would be an error here."""
    async with open_event_loop() as loop:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        await run_at_once(loop, lambda: asyncio.sleep(0))
    gc.collect()
