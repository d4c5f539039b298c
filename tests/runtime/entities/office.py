"""Callers of a lane, for its tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from flytower.runtime.entity import Call
from flytower.runtime.lanes import Lane, LaneCall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Office:
    """A caller: submits calls by tag, and writes down what comes of them, and when."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.outcomes: list[tuple[float, Any]] = []
        self.begun: list[object] = []

    def submit(self, tag: object, run: Callable[[], Awaitable[object]], timeout: float = 60.0) -> LaneCall:
        async def body() -> object:
            self.begun.append(tag)
            return await run()

        call = LaneCall(self.lane, self, Call(self.lane.name, tag, body, timeout))
        self.lane.submit(call)
        return call

    def call_over(self, call: LaneCall, outcome: object) -> None:
        assert call.scope is None
        self.outcomes.append((trio.current_time(), outcome))

    @property
    def only(self) -> Any:
        ((_, outcome),) = self.outcomes
        return outcome

    def tags(self) -> list[Any]:
        return [outcome.tag for _, outcome in self.outcomes]


@asynccontextmanager
async def open_lane(lane: Lane) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        lane.open(nursery)
        yield
        nursery.cancel_scope.cancel()
    lane.close()
    assert lane.statistics()[1:4] == (0, 0, 0)


def wait(seconds: float) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        await trio.sleep(seconds)
        return seconds

    return run


async def at_once() -> object:
    return "value"


def fail(error: BaseException) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        await trio.lowlevel.checkpoint()
        raise error

    return run
