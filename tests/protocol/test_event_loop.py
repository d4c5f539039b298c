"""What goes wrong in the asyncio loop stays there, and is logged."""

from __future__ import annotations

import asyncio
import gc

import pytest
import trio
import trio_asyncio
from structlog.testing import capture_logs

from flytower.protocol.loop import open_event_loop


async def test_a_stray_failed_task_is_logged_and_harms_nothing_beside_it() -> None:
    """trio_asyncio would raise its error here, and cancel everything that runs in the same block."""

    async def fail() -> None:
        raise ValueError("stray")

    with capture_logs() as logs:
        async with open_event_loop() as loop:
            task = loop.create_task(fail())
            while not task.done():
                await loop.synchronize()
            del task
            gc.collect()
            await loop.synchronize()
            assert await trio_asyncio.aio_as_trio(asyncio.sleep)(0, "still running") == "still running"
    assert [str(entry["exc_info"]) for entry in logs] == ["stray"]


async def test_a_callback_that_fails_is_logged_and_harms_nothing_beside_it() -> None:
    with capture_logs() as logs:
        async with open_event_loop() as loop:
            loop.call_soon(int, "no number")
            await loop.synchronize()
            await trio.lowlevel.checkpoint()
    assert [type(entry["exc_info"]) for entry in logs] == [ValueError]
    assert logs[0]["event"] == "An asyncio task or callback failed with nobody waiting for it"


async def test_a_complaint_without_an_exception_is_logged_too() -> None:
    with capture_logs() as logs:
        async with open_event_loop() as loop:
            loop.call_exception_handler({"message": "something is odd"})
    assert [entry["reason"] for entry in logs] == ["something is odd"]


async def test_an_error_of_the_block_itself_is_raised() -> None:
    with pytest.RaisesGroup(ValueError, flatten_subgroups=True, allow_unwrapped=True):
        async with open_event_loop():
            raise ValueError
