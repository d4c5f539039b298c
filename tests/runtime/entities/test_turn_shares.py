"""What calls that never wait may take of one turn of the loop."""

from __future__ import annotations

import math
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flytower.runtime import workers
from flytower.runtime.workers import LONGEST_SHARE, TURN_SHARE
from tests.runtime.entities.office import open_lane

if TYPE_CHECKING:
    from trio.testing import MockClock

    from flytower.runtime.lanes import Lane
    from tests.runtime.entities.office import Office

CALL_SECONDS = 2.0**-14
"""What a call takes on the clock below: more than a share, and exact in binary."""


class Turns(trio.abc.Instrument):
    """A clock that only moves when a call or, once each turn, somebody else takes his time."""

    def __init__(self, others_take: float) -> None:
        self.now = 0.0
        self.calls = [0]  # by turn
        self._others_take = others_take

    def __call__(self) -> float:
        return self.now

    async def call(self) -> None:
        self.now += CALL_SECONDS
        self.calls[-1] += 1

    def after_io_wait(self, timeout: float) -> None:
        self.now += self._others_take
        self.calls.append(0)


@pytest.mark.parametrize(
    ("others_take", "share"),
    [(0.0, TURN_SHARE), (8 * CALL_SECONDS, 8 * CALL_SECONDS), (60.0, LONGEST_SHARE)],
    ids=["nobody else", "somebody", "a crowd"],
)
async def test_calls_take_as_long_in_a_turn_as_others_have_taken_between_two_bounds(
    lane: Lane, office: Office, monkeypatch: pytest.MonkeyPatch, others_take: float, share: float
) -> None:
    """A queue of polls does not grow in a flood of creates, and holds up nobody for longer than a millisecond."""
    turns = Turns(others_take)
    monkeypatch.setattr(workers, "perf_counter", turns)
    trio.lowlevel.add_instrument(turns)
    async with open_lane(lane):
        for tag in range(200):
            office.submit(tag, turns.call)
        await wait_all_tasks_blocked()
    first, *others, _ = filter(None, turns.calls)
    assert first == math.ceil(TURN_SHARE / CALL_SECONDS), "others have taken nothing yet that it knows of"
    assert set(others) == {math.ceil(share / CALL_SECONDS)}


def compute() -> None:
    """Take longer than a lane's share of a turn."""
    enough = perf_counter() + 2 * TURN_SHARE
    while perf_counter() < enough:
        pass


async def test_of_calls_that_never_wait_no_more_are_begun_in_a_turn_than_fit_into_their_share(
    office: Office, lane: Lane, autojump_clock: MockClock
) -> None:
    """Whether calls return or raise: none of these ever lets anybody else run."""

    async def slow() -> None:
        compute()

    async def broken() -> None:
        compute()
        raise ValueError

    async with open_lane(lane):
        for tag in range(5):
            office.submit(tag, slow)
            office.submit(-tag, broken)
        for turn in range(10):
            assert len(office.begun) <= turn
            await trio.lowlevel.cancel_shielded_checkpoint()
        await wait_all_tasks_blocked()
    assert len(office.outcomes) == 10
