"""What a lane promises to those whose calls it runs."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
import signal
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from types import coroutine
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flytower.runtime.entity import Call, Raised, Returned, TimedOut
from flytower.runtime.host_errors import CallFailed, LaneFull
from flytower.runtime.lanes import Lane, LaneCall
from flytower.runtime.testing import run_virtual
from flytower.runtime.workers import TURN_SHARE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator

    from trio.testing import MockClock


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


@pytest.fixture
def lane() -> Lane:
    return Lane("polls", 1)


@pytest.fixture
def office(lane: Lane) -> Office:
    return Office(lane)


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


# ---- how a call ends ------------------------------------------------------------------------------------------


async def test_a_call_that_returns_comes_back_with_its_value(lane: Lane, office: Office) -> None:
    async with open_lane(lane):
        office.submit("a", at_once)
        await wait_all_tasks_blocked()
    assert office.only == Returned("a", "value")
    assert lane.statistics().done == 1


async def test_a_call_that_raises_comes_back_with_the_error_and_the_worker_goes_on(lane: Lane, office: Office) -> None:
    error = ValueError("no")
    async with open_lane(lane):
        office.submit("a", fail(error))
        office.submit("b", at_once)
        await wait_all_tasks_blocked()
        assert lane.statistics().workers == 1
    assert [outcome for _, outcome in office.outcomes] == [Raised("a", error), Returned("b", "value")]
    assert lane.statistics().failed == 1


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        BaseExceptionGroup("both", [SystemExit(1), ValueError()]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_no_call_should_raise_is_wrapped_and_the_worker_goes_on(
    lane: Lane, office: Office, error: BaseException
) -> None:
    async with open_lane(lane):
        office.submit("a", fail(error))
        office.submit("b", at_once)
        await wait_all_tasks_blocked()
        assert lane.statistics().workers == 1
    (_, raised), (_, after) = office.outcomes
    assert isinstance(raised.error, CallFailed)
    assert raised.error.error is raised.error.__cause__ is error
    assert type(error).__name__ in str(raised.error)
    assert after == Returned("b", "value")


async def test_a_cancellation_kept_by_user_code_and_raised_again_cancels_nobody(lane: Lane, office: Office) -> None:
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise
    async with open_lane(lane):
        office.submit("a", fail(kept[0]))
        office.submit("b", fail(BaseExceptionGroup("held", [kept[0]])))
        office.submit("c", at_once)
        await wait_all_tasks_blocked()
    assert [type(outcome) for _, outcome in office.outcomes] == [Raised, Raised, Returned]


async def test_what_is_no_coroutine_function_is_the_calls_error(lane: Lane, office: Office) -> None:
    call = LaneCall(lane, office, Call("polls", "a", lambda: 7, 1.0))  # type: ignore[arg-type, return-value]  # that is the point
    async with open_lane(lane):
        lane.submit(call)
        await wait_all_tasks_blocked()
    assert isinstance(office.only.error, TypeError)


async def test_a_call_times_out_so_many_seconds_after_it_began(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    async with open_lane(lane):
        office.submit("a", wait(3))
        office.submit("b", trio.sleep_forever, timeout=2)
        office.submit("c", wait(1.5), timeout=2)
        await trio.sleep(10)
        assert lane.statistics().workers == 1
    assert office.outcomes == [(3, Returned("a", 3)), (5, TimedOut("b", 2)), (6.5, Returned("c", 1.5))]
    assert lane.statistics()[4:] == (2, 0, 1, 0)


async def test_a_deadline_is_that_of_the_call_and_not_of_the_one_before(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    deadlines: list[float] = []

    async def look() -> None:
        deadlines.append(trio.current_effective_deadline() - trio.current_time())

    async with open_lane(lane):
        for timeout in (5, 60, 1, math.inf):
            office.submit(timeout, look, timeout=timeout)
        await trio.sleep(10)
    assert deadlines == [5, 60, 1, math.inf]


async def test_a_value_that_comes_after_the_deadline_is_kept(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    """Whatever created something must not be told that nothing was."""

    async def stubborn() -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        return "created"

    async with open_lane(lane):
        office.submit("a", stubborn, timeout=1)
        office.submit("b", wait(2), timeout=3)
        await trio.sleep(20)
    assert office.outcomes == [(5, Returned("a", "created")), (7, Returned("b", 2))]


async def test_a_call_that_turns_its_deadline_into_an_error_has_raised_it(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    async def translate() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            raise OSError("connection lost") from cancelled

    async def with_children() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(translate)
            nursery.start_soon(trio.sleep_forever)

    async with open_lane(lane):
        office.submit("a", translate, timeout=1)
        office.submit("b", with_children, timeout=1)
        office.submit("c", wait(1))
        await trio.sleep(10)
    (_, first), (_, second), (_, third) = office.outcomes
    assert isinstance(first.error, OSError)
    assert isinstance(second.error, ExceptionGroup)
    assert [type(error) for error in second.error.exceptions] == [OSError]
    assert third == Returned("c", 1)


async def test_a_parked_worker_outlives_the_deadline_of_its_last_call(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    async with open_lane(lane):
        office.submit("a", at_once, timeout=5)
        await trio.sleep(20)
        assert lane.statistics()[:3] == (1, 1, 0)
        office.submit("b", wait(1), timeout=5)
        await trio.sleep(20)
    assert office.outcomes == [(0, Returned("a", "value")), (21, Returned("b", 1))]


async def test_a_call_handed_over_in_the_turn_in_which_the_last_deadline_passes_is_run(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    async with open_lane(lane):
        office.submit("a", at_once, timeout=5)
        await wait_all_tasks_blocked()
        autojump_clock.autojump_threshold = math.inf
        autojump_clock.jump(5)
        office.submit("b", at_once, timeout=5)
        await wait_all_tasks_blocked()
        assert [outcome for _, outcome in office.outcomes] == [Returned("a", "value"), Returned("b", "value")]


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


# ---- what calls cannot do to one another ----------------------------------------------------------------------


async def test_a_call_that_leaves_a_scope_open_is_blamed_itself_and_the_next_is_not_hit(
    lane: Lane, office: Office, autojump_clock: MockClock
) -> None:
    left_open = trio.CancelScope(deadline=5)

    async def sloppy() -> None:
        left_open.__enter__()

    async with open_lane(lane):
        office.submit("a", sloppy)
        office.submit("b", wait(10))
        await trio.sleep(20)
    (_, first), second = office.outcomes
    assert isinstance(first.error, RuntimeError)
    assert "Cancel scope stack corrupted" in str(first.error)
    assert second == (10, Returned("b", 10))


async def test_what_a_call_sets_in_context_variables_ends_with_it(lane: Lane, office: Office) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def bind(error: Exception | None) -> None:
        seen.append(variable.get())
        variable.set("leaked")
        if error is not None:
            raise error

    variable.set("of who opened the lane")
    async with open_lane(lane):
        variable.set("of who submits")
        for tag in range(3):
            office.submit(tag, partial(bind, ValueError() if tag == 1 else None))
        await wait_all_tasks_blocked()
        office.submit(3, partial(bind, None))
        await wait_all_tasks_blocked()
    assert seen == ["of who opened the lane"] * 4


def test_an_interrupt_from_the_keyboard_ends_the_program_and_not_a_call() -> None:
    lane = Lane("polls", 1)
    office = Office(lane)

    async def interrupted() -> str:
        signal.raise_signal(signal.SIGINT)
        return "undisturbed"

    async def main() -> None:
        async with open_lane(lane):
            office.submit("a", interrupted)
            await trio.sleep(60)

    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        run_virtual(main)
    assert office.only == Returned("a", "undisturbed")


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
