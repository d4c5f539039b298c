"""One clock for all deadlines: exact, and with nothing left of what was cancelled."""

from __future__ import annotations

import functools
import gc
import weakref
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from flytower.protocol.timers import SWEEP_AT, Timers


def _note(ran: list[Any], when: float) -> None:
    ran.append((when, trio.current_time()))


def _fail() -> None:
    raise ValueError


async def test_actions_run_at_their_instants_in_order(nursery: Any, autojump_clock: Any) -> None:
    timers, ran = Timers(), list[Any]()
    nursery.start_soon(timers.run)
    for when in (3.0, 1.0, 2.0):
        timers.at(when, functools.partial(_note, ran, when))
    await trio.sleep(2.5)
    assert ran == [(1.0, 1.0), (2.0, 2.0)]
    await trio.sleep(1)
    assert ran[2:] == [(3.0, 3.0)]
    assert len(timers) == 0


async def test_a_timer_set_later_for_an_earlier_instant_wakes_the_sleeper(nursery: Any, autojump_clock: Any) -> None:
    timers, ran = Timers(), list[Any]()
    nursery.start_soon(timers.run)
    timers.at(100.0, lambda: ran.append(100))
    await trio.sleep(1)
    timers.at(2.0, lambda: ran.append(trio.current_time()))
    await trio.sleep(10)
    assert ran == [2.0]


async def test_equal_instants_run_in_the_order_of_their_setting(nursery: Any, autojump_clock: Any) -> None:
    timers, ran = Timers(), list[Any]()
    nursery.start_soon(timers.run)
    for number in range(20):
        timers.at(1.0, functools.partial(ran.append, number))
    await trio.sleep(2)
    assert ran == list(range(20))


async def test_a_cancelled_timer_lets_go_at_once_of_what_it_refers_to() -> None:
    class Call:
        def late(self) -> None:
            raise AssertionError

    timers, call = Timers(), Call()
    timer = timers.at(60.0, call.late)
    gone = weakref.ref(call)
    timer.cancel()
    timer.cancel()
    del call
    gc.collect()
    assert gone() is None
    assert len(timers) == 0


async def test_shells_of_cancelled_timers_are_swept() -> None:
    timers = Timers()
    keep = timers.at(60.0, lambda: None)
    for number in range(10_000):
        timers.at(60.0 + number, lambda: None).cancel()
        assert timers.shells <= SWEEP_AT
    assert len(timers) == 1
    assert keep.action is not None


async def test_an_action_that_fails_is_logged_and_the_next_one_runs(nursery: Any, autojump_clock: Any) -> None:
    timers, ran = Timers(), list[Any]()
    nursery.start_soon(timers.run)
    timers.at(1.0, _fail)
    timers.at(1.0, lambda: ran.append("next"))
    with capture_logs() as logs:
        await trio.sleep(2)
    assert ran == ["next"]
    assert [entry["event"] for entry in logs] == ["A timer's action failed"]


async def test_an_action_may_set_the_next_timer(nursery: Any, autojump_clock: Any) -> None:
    timers, ran = Timers(), list[Any]()

    def tick() -> None:
        ran.append(trio.current_time())
        timers.at(trio.current_time() + 1, tick)

    nursery.start_soon(timers.run)
    timers.at(1.0, tick)
    await trio.sleep(5.5)
    assert ran == [1, 2, 3, 4, 5]


@given(st.lists(st.tuples(st.floats(0.1, 10), st.booleans()), max_size=200))
def test_exactly_the_uncancelled_run_and_each_when_it_is_due(plan: Any) -> None:
    timers, ran = Timers(), list[Any]()
    handles = [timers.at(when, functools.partial(ran.append, when)) for when, _ in plan]
    for handle, (_, cancelled) in zip(handles, plan, strict=True):
        if cancelled:
            handle.cancel()
    expected = [when for when, cancelled in plan if not cancelled]
    assert len(timers) == len(expected)
    timers._run_due(5.0)
    assert ran == sorted(when for when in expected if when <= 5.0)
    timers._run_due(10.0)
    assert ran == sorted(expected)
    assert len(timers) == 0
