"""What calls that never wait may take of one turn of the loop."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flytower.runtime import workers
from flytower.runtime.entity import Call, Wake, Woke
from flytower.runtime.foreground import BEHIND_SECONDS, Foreground
from flytower.runtime.lanes import Lane
from flytower.runtime.timers import QUIET, Timers
from flytower.runtime.workers import LONGEST_SHARE, QUIET_SHARE, TURN_SHARE
from tests.runtime.entities.office import Office, open_lane
from tests.runtime.entities.turns import Turns

if TYPE_CHECKING:
    from trio.testing import MockClock

ALWAYS, NEVER = math.inf, -math.inf
"""When somebody was answered last, for `Foreground`."""

CALL_SECONDS = 2.0**-14
"""What a call takes on the clock below: more than a share, and exact in binary."""


class CallClock(trio.abc.Instrument):
    """A clock that only moves when a call or, once each turn, somebody else takes his time."""

    def __init__(self, others_take: float, call_takes: float = CALL_SECONDS) -> None:
        self.now = 0.0
        self.calls = [0]  # by turn
        self._others_take = others_take
        self._call_takes = call_takes

    def __call__(self) -> float:
        return self.now

    async def call(self) -> None:
        self.now += self._call_takes
        self.calls[-1] += 1

    def after_io_wait(self, timeout: float) -> None:
        self.now += self._others_take
        self.calls.append(0)


@pytest.mark.parametrize(
    ("answered", "others_take", "share"),
    [
        (ALWAYS, 0.0, TURN_SHARE),
        (ALWAYS, 8 * CALL_SECONDS, 8 * CALL_SECONDS),
        (ALWAYS, 60.0, LONGEST_SHARE),
        (NEVER, 0.0, QUIET_SHARE),
        (NEVER, 60.0, LONGEST_SHARE),
    ],
    ids=["nobody else", "somebody", "a crowd", "nobody at all", "a crowd that waits for nothing"],
)
async def test_calls_take_as_long_in_a_turn_as_others_have_taken_between_two_bounds(
    monkeypatch: pytest.MonkeyPatch, answered: float, others_take: float, share: float
) -> None:
    """A queue of polls does not grow in a flood of creates, and holds up nobody for longer than a millisecond."""
    lane, clock = Lane("polls", 1, foreground=Foreground(answered)), CallClock(others_take)
    office = Office(lane)
    least = TURN_SHARE if answered == ALWAYS else QUIET_SHARE
    monkeypatch.setattr(workers, "perf_counter", clock)
    trio.lowlevel.add_instrument(clock)
    async with open_lane(lane):
        for tag in range(200):
            office.submit(tag, clock.call)
        await wait_all_tasks_blocked()
    first, *others, _ = filter(None, clock.calls)
    assert first == math.ceil(least / CALL_SECONDS), "others have taken nothing yet that it knows of"
    assert set(others) == {math.ceil(share / CALL_SECONDS)}


@pytest.mark.parametrize("left", [0, 1])
async def test_timers_hear_of_calls_that_are_left_to_the_next_turn(
    monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock, left: int
) -> None:
    lane, clock = Lane("polls", 1), CallClock(0.0)
    office = Office(lane)
    monkeypatch.setattr(workers, "perf_counter", clock)
    async with open_lane(lane):
        for tag in range(math.ceil(QUIET_SHARE / CALL_SECONDS) + left):
            office.submit(tag, clock.call)
        await wait_all_tasks_blocked()
        assert lane.foreground.is_behind(trio.current_time()) == bool(left)
        assert not lane.foreground.is_behind(trio.current_time() + 2 * BEHIND_SECONDS)


async def test_what_is_due_at_once_waits_in_the_calendar_and_not_as_calls_in_a_queue(
    monkeypatch: pytest.MonkeyPatch, new_bench: Any, autojump_clock: MockClock
) -> None:
    """After a first batch, or two, no more comes due in a turn than is polled in it."""
    lane, clock, waiting = Lane("polls", 1), CallClock(0.0, QUIET_SHARE / (QUIET.least + 1)), []

    async def poll() -> None:
        waiting.append(len(lane.queue))
        await clock.call()

    monkeypatch.setattr(workers, "perf_counter", clock)
    timers = Timers(foreground=lane.foreground)
    bench = new_bench(timers=timers, lanes=[lane])
    bench.behaviour.reactions[Woke] = lambda _state, _message: bench.Do((Call("polls", "poll", poll, 60.0),))
    async with bench.running(timers), bench.run():
        for key in range(10 * QUIET.most):
            bench.host.start(key, "", [Wake(1.0)])
        await trio.sleep(2)
    assert len(waiting) == 10 * QUIET.most
    assert max(waiting) < 2 * QUIET.most


@pytest.mark.parametrize(
    ("answered", "takes", "turns"),
    [(NEVER, 0.0, 1), (ALWAYS, 0.0, 2), (NEVER, CALL_SECONDS, 2)],
    ids=["nobody asks", "somebody asks", "a call takes long"],
)
async def test_who_comes_back_from_waiting_takes_the_next_call_at_once_unless_somebody_asks_or_calls_take_long(
    monkeypatch: pytest.MonkeyPatch, answered: float, takes: float, turns: int
) -> None:
    """All workers may come back in one turn: each then ends a call or begins one, so that the turn stays short."""
    lane, passed, clock = Lane("polls", 1, foreground=Foreground(answered)), Turns(), CallClock(0.0)
    office, begun = Office(lane), []

    async def waits_once() -> None:
        begun.append(passed.count)
        clock.now += takes
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(workers, "perf_counter", clock)
    trio.lowlevel.add_instrument(passed)
    async with open_lane(lane):
        for tag in range(5):
            office.submit(tag, waits_once)
        await wait_all_tasks_blocked()
    assert [later - earlier for earlier, later in pairwise(begun)] == [turns] * 4
    assert office.tags() == list(range(5))


async def test_of_calls_that_raise_one_is_begun_in_a_turn(lane: Lane, office: Office) -> None:
    clock = CallClock(0.0)

    async def broken() -> None:
        await clock.call()
        raise ValueError

    trio.lowlevel.add_instrument(clock)
    async with open_lane(lane):
        for tag in range(5):
            office.submit(tag, broken)
        await wait_all_tasks_blocked()
    assert list(filter(None, clock.calls)) == [1] * 5
    assert len(office.outcomes) == 5
