"""Timers as a child of a supervisor: from before they run until they run again, and what is seen of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import trio

from flytower.runtime.timers import Pace, Timers
from tests.runtime.entities.owner import Owner

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_idle_timers_do_not_wake(timers: Timers, new_bench: Any, autojump_clock: MockClock) -> None:
    async with new_bench.running(timers):
        await trio.sleep(1)
        turns = timers.statistics().turns
        await trio.sleep(86_400)
        assert timers.statistics().turns == turns


async def test_timers_set_before_the_start_come_due_after_it(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    timers.schedule(Owner("a", log), 1)
    await trio.sleep(5)
    assert log == []
    async with new_bench.running(timers):
        await trio.sleep(1)
    assert log == [("a", 5.0)]


async def test_timers_can_be_stopped_and_run_again_with_what_was_set(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    async with new_bench.running(timers):
        timers.schedule(Owner("a", log), 10)
    await trio.sleep(20)
    assert log == []
    async with new_bench.running(timers):
        await trio.sleep(1)
    assert log == [("a", 20.0)]


@pytest.mark.parametrize(
    "options", [{"tick": 0}, {"tick": math.nan}, {"tick": -1}, {"busy": Pace(0, 1, 1)}, {"quiet": Pace(1, 0, 1)}]
)
def test_a_tick_and_a_pace_must_be_positive(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="timers need"):
        Timers(**options)


async def test_timers_that_run_cannot_be_run_again(timers: Timers, new_bench: Any, autojump_clock: MockClock) -> None:
    async with new_bench.running(timers):
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="run already"):
            await timers.fire_for_ever()


async def test_timers_are_seen_in_the_tree(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    timers.schedule(Owner("a", log), 100)
    node = timers.inspect("/node/timers", 0.0)
    assert (node.path, node.kind, node.state, node.mailbox, node.age) == ("/node/timers", "Timers", "stopped", 1, 0.0)
    async with new_bench.running(timers):
        await trio.sleep(3)
        node = timers.inspect("/node/timers", trio.current_time())
        assert (node.state, node.age) == ("sleeping", 3.0)
        states: list[str] = []
        timers.at(4, lambda: states.append(timers.inspect("", 4.0).state))
        await trio.sleep(2)
        assert states == ["firing"]
