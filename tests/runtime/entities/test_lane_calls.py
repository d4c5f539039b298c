"""How the calls of a lane end, and what they cannot do to one another."""

from __future__ import annotations

import asyncio
import contextvars
import math
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flytower.runtime.entity import Call, Raised, Returned, TimedOut
from flytower.runtime.host_errors import CallFailed
from flytower.runtime.lanes import Lane, LaneCall
from flytower.runtime.testing import run_virtual
from flytower.runtime.workers import DEADLINE_TICK
from tests.runtime.entities.office import Office, at_once, fail, open_lane, wait

if TYPE_CHECKING:
    from trio.testing import MockClock


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
        for timeout in (5, 60, 1, math.inf, 7 * DEADLINE_TICK + 1e-5):
            office.submit(timeout, look, timeout=timeout)
        await trio.sleep(10)
    assert deadlines == pytest.approx([5, 60, 1, math.inf, 8 * DEADLINE_TICK])


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
