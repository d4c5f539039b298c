"""What a lane promises to those whose calls it runs."""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flytower.runtime.entity import Call, Returned
from flytower.runtime.host_errors import LaneFull
from flytower.runtime.lanes import Lane, LaneCall
from tests.runtime.entities.office import Office, at_once, open_lane, wait

if TYPE_CHECKING:
    from collections.abc import Generator

    from trio.testing import MockClock


# ---- the pool -------------------------------------------------------------------------------------------------


async def test_workers_are_started_when_needed_up_to_the_limit_and_reused(autojump_clock: MockClock) -> None:
    lane = Lane("polls", 3)
    office = Office(lane)
    async with open_lane(lane):
        assert lane.statistics().workers == 0
        for tag in range(5):
            office.submit(tag, wait(1))
        assert lane.statistics()[:4] == (3, 3, 3, 2)
        await trio.sleep(1.5)
        assert lane.statistics()[:5] == (3, 3, 2, 0, 3)
        await trio.sleep(1)
        office.submit(9, wait(1))
        assert lane.statistics()[:5] == (3, 3, 1, 0, 5)
        await trio.sleep(2)
    assert [time for time, _ in office.outcomes] == [1, 1, 1, 2, 2, 3.5]


async def test_calls_begin_in_the_order_of_submission(lane: Lane, office: Office, autojump_clock: MockClock) -> None:
    async with open_lane(lane):
        for tag in range(20):
            office.submit(tag, wait(1))
        await trio.sleep(30)
    assert office.begun == office.tags() == list(range(20))


async def test_calls_submitted_before_the_lane_opens_begin_when_it_does(autojump_clock: MockClock) -> None:
    lane = Lane("polls", 2)
    office = Office(lane)
    for tag in range(3):
        office.submit(tag, wait(1))
    assert lane.statistics()[:4] == (2, 0, 0, 3)
    assert lane.busy
    async with open_lane(lane):
        assert lane.statistics()[:4] == (2, 2, 2, 1)
        await trio.sleep(5)
    assert sorted(office.tags()) == [0, 1, 2]


async def test_calls_that_never_wait_are_run_by_one_worker_in_a_row(autojump_clock: MockClock) -> None:
    lane = Lane("polls", 8)
    office = Office(lane)
    tasks = set()

    async def look() -> None:
        tasks.add(trio.lowlevel.current_task())

    async with open_lane(lane):
        office.submit("first", at_once)
        await wait_all_tasks_blocked()
        for tag in range(3):
            office.submit(tag, look)
        await wait_all_tasks_blocked()
        assert lane.statistics().workers == 1
    assert office.tags() == ["first", 0, 1, 2]
    assert len(tasks) == 1


async def test_when_one_call_waits_each_of_the_others_gets_a_worker(autojump_clock: MockClock) -> None:
    lane = Lane("polls", 3)
    office = Office(lane)
    async with open_lane(lane):
        office.submit("never waits", at_once)
        await wait_all_tasks_blocked()
        for tag in range(5):
            office.submit(tag, wait(1))
        await trio.sleep(0.5)
        assert lane.statistics()[:4] == (3, 3, 3, 2)
        await trio.sleep(2)
    assert [time for time, _ in office.outcomes] == [0, 1, 1, 1, 2, 2]


async def test_what_is_awaited_need_not_be_a_coroutine(lane: Lane, office: Office) -> None:
    class Answer:
        def __await__(self) -> Generator[Any, Any, object]:
            return at_once().__await__()

    call = LaneCall(lane, office, Call("polls", "a", Answer, 1.0))
    async with open_lane(lane):
        lane.submit(call)
        await wait_all_tasks_blocked()
    assert office.only == Returned("a", "value")


async def test_what_trio_throws_into_a_call_that_awaits_something_else_reaches_it(lane: Lane, office: Office) -> None:
    @coroutine
    def foreign() -> Generator[str, None, None]:
        yield "another event loop's"

    async with open_lane(lane):
        office.submit("a", foreign)
        await wait_all_tasks_blocked()
    assert "unrecognized yield message" in str(office.only.error)


async def test_a_lane_refuses_what_its_queue_cannot_hold() -> None:
    lane = Lane("polls", 1, queue_limit=2)
    office = Office(lane)
    async with open_lane(lane):
        for tag in range(3):
            office.submit(tag, trio.sleep_forever)
        with pytest.raises(LaneFull, match="'polls' runs 1 calls, and 2 more wait"):
            office.submit(3, trio.sleep_forever)
        assert lane.statistics()[:4] == (1, 1, 1, 2)


async def test_a_lane_without_a_queue_takes_as_many_calls_as_workers() -> None:
    lane = Lane("polls", 2, queue_limit=0)
    office = Office(lane)
    async with open_lane(lane):
        office.submit(0, at_once)
        office.submit(1, at_once)
        with pytest.raises(LaneFull):
            office.submit(2, at_once)
        await wait_all_tasks_blocked()
        office.submit(3, at_once)
        await wait_all_tasks_blocked()
    assert sorted(office.tags()) == [0, 1, 3]


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 1, "queue_limit": -1}])
def test_limits_must_make_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lane 'x' needs a limit"):
        Lane("x", **options)


async def test_a_lane_is_open_in_one_place_at_a_time(lane: Lane) -> None:
    async with open_lane(lane), trio.open_nursery() as nursery:
        with pytest.raises(RuntimeError, match="open already"):
            lane.open(nursery)
    async with open_lane(lane):
        pass


async def test_drained_waits_until_no_call_runs_or_waits(lane: Lane, office: Office, autojump_clock: MockClock) -> None:
    async with open_lane(lane):
        await lane.drained()
        for tag in range(2):
            office.submit(tag, wait(1))
        queued = office.submit(2, wait(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane.drained)
            await lane.drained()
            assert not lane.busy
        assert trio.current_time() == 3
        office.submit(3, wait(1))
        queued = office.submit(4, wait(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane.drained)
            await trio.sleep(0.5)
            lane.cancel(queued)
        assert trio.current_time() == 4


async def test_drained_goes_on_waiting_when_an_outcome_leads_to_a_new_call(
    lane: Lane, autojump_clock: MockClock
) -> None:
    again = iter([True])

    class Insisting(Office):
        def call_over(self, call: LaneCall, outcome: object) -> None:
            if next(again, False):
                self.submit("b", wait(1))

    office = Insisting(lane)
    async with open_lane(lane):
        office.submit("a", wait(1))
        await lane.drained()
    assert trio.current_time() == 2


# ---- the end of the lane --------------------------------------------------------------------------------------


async def test_the_end_of_the_lane_cancels_what_runs_and_drops_what_waits(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    async with open_lane(lane):
        for tag in range(3):
            office.submit(tag, wait(9))
        await trio.sleep(1)
    assert trio.current_time() == 1
    assert office.outcomes == []
    assert office.begun == [0]
    assert lane.statistics()[1:] == (0, 0, 0, 0, 0, 0, 3)


async def test_no_call_begins_once_the_lane_is_cancelled(autojump_clock: MockClock) -> None:
    lane = Lane("polls", 2)
    office = Office(lane)
    async with open_lane(lane):
        office.submit("parked", at_once)
        await wait_all_tasks_blocked()
        office.submit("handed over", at_once)
        office.submit("to a new worker", at_once)
    assert office.begun == ["parked"]
    assert lane.statistics().cancelled == 2


async def test_a_call_that_finishes_although_the_lane_ends_is_still_heard_of(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    async def stubborn() -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        return "created"

    async with open_lane(lane):
        office.submit("a", stubborn)
        office.submit("b", at_once)
        await trio.sleep(1)
    assert office.outcomes == [(2, Returned("a", "created"))]
    assert office.begun == ["a"]
