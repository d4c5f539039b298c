"""A task on the asyncio loop that raises SystemExit ends alone."""

from __future__ import annotations

import asyncio
import gc

import pytest
import trio_asyncio

from flytower.protocol.loop import TaskExited, open_event_loop


async def exiting(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
async def test_a_task_that_tries_to_end_everything_ends_alone(error: BaseException) -> None:
    async def parent() -> str:
        child = asyncio.create_task(exiting(error), name="child")
        with pytest.raises(TaskExited, match="not for a task to raise"):
            await child
        assert child.get_name() == "child"
        return "alive"

    async with open_event_loop():
        assert await trio_asyncio.aio_as_trio(parent)() == "alive"


async def test_results_errors_and_cancellations_of_tasks_are_as_ever() -> None:
    async def parent() -> int:
        sleeping = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        with pytest.raises(ValueError, match="plain"):
            await asyncio.create_task(exiting(ValueError("plain")))
        return await asyncio.create_task(asyncio.sleep(0, 7))

    async with open_event_loop():
        assert await trio_asyncio.aio_as_trio(parent)() == 7


async def test_a_task_that_is_cancelled_before_its_first_step_leaves_no_coroutine_unawaited() -> None:
    """Its warning would be an error here."""

    async def parent() -> None:
        unborn = asyncio.create_task(asyncio.sleep(3600))
        unborn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unborn

    async with open_event_loop():
        await trio_asyncio.aio_as_trio(parent)()
    gc.collect()
