"""Calls of a lane that are cancelled, and a model of all that can happen to one."""

from __future__ import annotations

import heapq
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flytower.runtime.entity import Raised, Returned, TimedOut
from flytower.runtime.lanes import Lane, LaneCall
from flytower.runtime.testing import run_virtual
from tests.runtime.entities.office import Office, at_once, fail, open_lane, wait

if TYPE_CHECKING:
    from trio.testing import MockClock


# ---- cancelling a call ----------------------------------------------------------------------------------------


async def test_a_cancelled_call_that_waits_is_never_begun(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    async with open_lane(lane):
        office.submit("a", wait(1))
        second = office.submit("b", wait(1))
        office.submit("c", wait(1))
        lane.cancel(second)
        assert lane.statistics().queued == 1
        await trio.sleep(10)
    assert office.begun == office.tags() == ["a", "c"]
    assert lane.statistics().cancelled == 1


@pytest.mark.parametrize("worker", ["new", "parked"])
async def test_a_call_cancelled_before_its_worker_has_begun_it_is_never_begun(
    lane: Lane, office: Office, worker: str
) -> None:
    async with open_lane(lane):
        if worker == "parked":
            office.submit("first", at_once)
            await wait_all_tasks_blocked()
        lane.cancel(office.submit("a", at_once))
        await wait_all_tasks_blocked()
        assert not lane.busy
        office.submit("b", at_once)
        await wait_all_tasks_blocked()
    assert "a" not in office.begun
    assert office.tags()[-1] == "b"
    assert lane.statistics().cancelled == 1


async def test_a_cancelled_call_that_runs_is_unwound_and_not_heard_of_again(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    unwound: list[float] = []

    async def careful() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await trio.sleep(2)
            unwound.append(trio.current_time())

    async with open_lane(lane):
        call = office.submit("a", careful)
        office.submit("b", wait(1))
        await trio.sleep(1)
        lane.cancel(call)
        assert lane.statistics().running == 1
        await trio.sleep(10)
    assert unwound == [3]
    assert office.outcomes == [(4, Returned("b", 1))]
    assert lane.statistics()[4:] == (1, 0, 0, 1)


@pytest.mark.parametrize("end", [at_once, fail(ValueError())])
async def test_what_a_cancelled_call_returns_or_raises_all_the_same_is_dropped(
    lane: Lane, office: Office, autojump_clock: MockClock, end: Any
) -> None:
    async def stubborn() -> object:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
            answer: object = await end()
        return answer

    async with open_lane(lane):
        call = office.submit("a", stubborn)
        await trio.sleep(1)
        lane.cancel(call)
        office.submit("b", wait(1))
        await trio.sleep(10)
    assert office.outcomes == [(3, Returned("b", 1))]
    assert lane.statistics().cancelled == 1


async def test_cancelling_a_call_that_is_over_does_nothing(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    async with open_lane(lane):
        call = office.submit("a", at_once)
        await wait_all_tasks_blocked()
        lane.cancel(call)
        office.submit("b", wait(1))
        await trio.sleep(5)
    assert office.tags() == ["a", "b"]
    assert lane.statistics().cancelled == 0


# ---- a model --------------------------------------------------------------------------------------------------

JOBS = st.lists(
    st.tuples(
        st.integers(0, 4),  # pause before it is submitted
        st.integers(0, 6),  # how long it takes
        st.integers(1, 4),  # its timeout
        st.booleans(),  # whether it raises
    ),
    max_size=25,
)


@settings(deadline=None)
@given(jobs=JOBS, limit=st.integers(1, 4))
def test_every_call_begins_and_ends_when_a_model_of_a_queue_says(jobs: list[Any], limit: int) -> None:
    """Times are odd thirds apart, so that no two events of different kinds fall on the same instant."""
    expected: list[tuple[float, object, type]] = []
    free = [0.0] * limit
    submitted = 0.0
    for tag, (pause, takes, timeout, raises) in enumerate(jobs):
        submitted += pause
        begins = max(submitted, heapq.heappop(free))
        over = begins + min(takes + 0.25, timeout)
        heapq.heappush(free, over)
        kind = TimedOut if takes + 0.25 > timeout else Raised if raises else Returned
        expected.append((over, tag, kind))

    async def job(takes: float, *, raises: bool) -> None:
        await trio.sleep(takes)
        if raises:
            raise ValueError

    async def main() -> list[tuple[float, object, type]]:
        lane = Lane("polls", limit)
        office = Office(lane)
        async with open_lane(lane):
            for tag, (pause, takes, timeout, raises) in enumerate(jobs):
                await trio.sleep(pause)
                office.submit(tag, partial(job, takes + 0.25, raises=raises), timeout)
            await lane.drained()
        assert office.begun == list(range(len(jobs)))
        assert sum(lane.statistics()[4:]) == len(jobs)
        return sorted((time, outcome.tag, type(outcome)) for time, outcome in office.outcomes)

    assert run_virtual(main) == sorted(expected)


@settings(deadline=None)
@given(
    jobs=JOBS,
    cancels=st.lists(st.tuples(st.integers(0, 24), st.integers(0, 30)), max_size=15),
    limit=st.integers(1, 3),
    until=st.integers(0, 40),
)
def test_every_call_is_heard_of_once_unless_it_was_cancelled(
    jobs: list[Any], cancels: list[Any], limit: int, until: int
) -> None:
    async def main() -> None:
        lane = Lane("polls", limit)
        office = Office(lane)
        calls: dict[int, LaneCall] = {}
        cancelled: set[object] = set()
        running: set[object] = set()

        async def job(tag: object, takes: float, *, raises: bool) -> None:
            running.add(tag)
            assert len(running) <= limit
            try:
                await trio.sleep(takes)
                if raises:
                    raise ValueError
            finally:
                running.discard(tag)

        async def cancel_later(tag: int, at: float) -> None:
            await trio.sleep(at)
            if tag in calls:
                if tag not in office.tags():
                    cancelled.add(tag)
                lane.cancel(calls[tag])

        async with open_lane(lane), trio.open_nursery() as nursery:
            for tag, at in cancels:
                nursery.start_soon(cancel_later, tag, at)
            with trio.move_on_after(until):
                for tag, (pause, takes, timeout, raises) in enumerate(jobs):
                    await trio.sleep(pause)
                    calls[tag] = office.submit(tag, partial(job, tag, takes, raises=raises), timeout)
                await lane.drained()
            nursery.cancel_scope.cancel()
        assert len(set(office.tags())) == len(office.outcomes)
        assert not cancelled & set(office.tags())
        assert not running
        assert sum(lane.statistics()[4:]) == len(calls)

    run_virtual(main)
