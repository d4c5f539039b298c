"""What the calendar of timers promises."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio

from flytower.runtime import timers as timers_module
from flytower.runtime.foreground import Foreground
from flytower.runtime.timers import BUSY, LATEST, QUIET, TICK, Pace, Timers
from tests.runtime.entities.owner import Owner
from tests.runtime.entities.turns import Turns

if TYPE_CHECKING:
    from trio.testing import MockClock


ALWAYS, NEVER = math.inf, -math.inf  # when somebody was answered last, for `Foreground`


@pytest.mark.parametrize(("due", "fired"), [(4.0, 4.0), (0.07, 0.07), (1.001, 1.01), (1.0099, 1.01), (0.0, 0.0)])
async def test_a_timer_comes_due_at_the_end_of_its_tick(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock, due: float, fired: float
) -> None:
    async with new_bench.running(timers):
        timers.schedule(Owner("a", log), due)
        await trio.sleep(10)
    ((name, at),) = log
    assert name == "a"
    assert at == pytest.approx(fired, abs=1e-9)


async def test_timers_come_due_in_order_of_ticks_and_inside_a_tick_in_order_of_setting(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    async with new_bench.running(timers):
        for name, due in (("late", 2.0), ("b", 1.009), ("a", 1.001), ("first", 0.5)):
            timers.schedule(Owner(name, log), due)
        await trio.sleep(10)
    assert [name for name, _ in log] == ["first", "b", "a", "late"]


async def test_an_instant_in_the_past_is_due_at_once(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    async with new_bench.running(timers):
        await trio.sleep(5)
        timers.schedule(Owner("a", log), -3.0)
        await trio.sleep(1)
    assert log == [("a", 5.0)]


async def test_a_cancelled_timer_does_not_come_due(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    owner = Owner("a", log)
    async with new_bench.running(timers):
        timers.schedule(owner, 1)
        timers.schedule(Owner("b", log), 1)
        timers.cancel(owner)
        timers.cancel(owner)
        assert timers.statistics().pending == 1
        await trio.sleep(10)
    assert log == [("b", 1.0)]


async def test_setting_a_timer_again_replaces_it(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    owner = Owner("a", log)
    async with new_bench.running(timers):
        for due in (5, 1, 3, 3):
            timers.schedule(owner, due)
        assert timers.statistics().pending == 1
        await trio.sleep(10)
    assert log == [("a", 3.0)]


async def test_an_earlier_timer_shortens_the_sleep_and_a_later_one_does_not(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    async with new_bench.running(timers):
        timers.schedule(Owner("b", log), 100)
        await trio.sleep(1)
        turns = timers.statistics().turns
        timers.schedule(Owner("c", log), 200)
        await trio.sleep(1)
        assert timers.statistics().turns == turns
        timers.schedule(Owner("a", log), 3)
        await trio.sleep(300)
    assert log == [("a", 3.0), ("b", 100.0), ("c", 200.0)]


async def test_timers_of_one_tick_wake_the_loop_once(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    async with new_bench.running(timers):
        for number in range(QUIET.least - 1):
            timers.schedule(Owner(number, log), 1 + number * TICK / 50)
        turns = timers.statistics().turns
        await trio.sleep(10)
        assert timers.statistics().turns - turns <= 3  # the sleep that was shortened, tick 1.00, tick 1.01
    assert len(log) == QUIET.least - 1


def due_at_once(timers: Timers, number: int, log: list[tuple[object, float]]) -> Counter[int]:
    """Have so many owners come due in second 1; return how many did in which turn of the loop, as it is filled."""
    turns, fired_in = Turns(), Counter[int]()
    trio.lowlevel.add_instrument(turns)
    for name in range(number):
        owner = Owner(name, log)
        owner.then = lambda: fired_in.update([turns.count])
        timers.schedule(owner, 1)
    return fired_in


async def test_no_turn_of_the_loop_fires_more_than_a_batch_and_none_is_idle_until_all_are_fired(
    log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    timers = Timers(quiet=Pace(800, 1, 800))
    fired_in = due_at_once(timers, 20_000, log)
    async with new_bench.running(timers):
        await trio.sleep(2)
    assert [name for name, _ in log] == list(range(20_000))
    assert set(fired_in.values()) == {800}
    assert max(fired_in) - min(fired_in) == 20_000 // 800 - 1
    assert {time for _, time in log} == {1.0}


@pytest.mark.parametrize(("answered", "pace"), [(ALWAYS, BUSY), (NEVER, QUIET)])
async def test_of_a_long_backlog_more_comes_due_in_a_turn_but_never_more_than_the_loop_can_bear(
    answered: float, pace: Pace, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    """What comes due in a turn is little while somebody asks, who has to wait for it."""
    timers = Timers(foreground=Foreground(answered))
    fired_in = due_at_once(timers, 2 * pace.most * pace.turns, log)
    async with new_bench.running(timers):
        await trio.sleep(2)
    assert max(fired_in.values()) == pace.most
    assert [fired_in[turn] for turn in sorted(fired_in)[-4:-1]] == [pace.least] * 3
    assert len(log) == 2 * pace.most * pace.turns


@pytest.mark.parametrize(("late", "waits"), [(0.9 * LATEST, True), (LATEST, False)])
async def test_while_calls_pile_up_the_least_comes_due_in_a_turn_until_timers_are_late(
    late: float, *, waits: bool, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    """What waits as a timer takes a few bytes, and a thousand as a call in a queue; but not all are for calls."""
    foreground = Foreground()
    fired_in = due_at_once(timers := Timers(foreground=foreground), 3 * QUIET.most, log)
    await trio.sleep(1 + late)
    foreground.fell_behind(trio.current_time())
    async with new_bench.running(timers):
        await trio.sleep(1)
    assert (max(fired_in.values()) == QUIET.least) == waits
    assert len(log) == 3 * QUIET.most


async def test_an_owner_may_set_its_timer_again_for_now_without_starving_the_others(
    log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    timers = Timers(quiet=Pace(4, 1, 4))
    busy, other = Owner("busy", log), Owner("other", log)
    left = iter(range(10))

    def again() -> None:
        if next(left, None) is not None:
            timers.schedule(busy, trio.current_time())

    busy.then = again
    async with new_bench.running(timers):
        timers.schedule(busy, 1)
        timers.schedule(other, 1)
        await trio.sleep(1.5)
    assert [name for name, _ in log].count("busy") == 11
    assert [name for name, _ in log].index("other") < 4
    assert timers.statistics().pending == 0


async def test_a_timer_cancelled_by_one_of_its_own_tick_does_not_come_due(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    first, second, third = (Owner(name, log) for name in "abc")

    def then() -> None:
        timers.cancel(second)
        timers.schedule(third, 9)

    first.then = then
    async with new_bench.running(timers):
        for owner in (first, second, third):
            timers.schedule(owner, 1)
        await trio.sleep(10)
    assert log == [("a", 1.0), ("c", 9.0)]
    assert timers.statistics().pending == 0


async def test_a_timer_set_again_for_the_tick_that_is_being_fired_comes_due_once(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    first, second = Owner("a", log), Owner("b", log)

    def then() -> None:
        timers.schedule(second, 1.0)
        timers.cancel(second)
        timers.schedule(second, 1.0)

    first.then = then
    async with new_bench.running(timers):
        timers.schedule(first, 1)
        timers.schedule(second, 1)
        await trio.sleep(10)
    assert log == [("a", 1.0), ("b", 1.0)]
    assert timers.statistics().pending == 0


@pytest.mark.parametrize("due", [math.nan, math.inf, -math.inf])
async def test_an_instant_that_is_no_number_is_refused_and_leaves_the_timer_as_it_was(
    timers: Timers, log: list[tuple[object, float]], due: float
) -> None:
    owner = Owner("a", log)
    timers.schedule(owner, 1)
    with pytest.raises(ValueError, match=r"give it an instant"):
        timers.schedule(owner, due)
    assert timers.statistics().pending == 1


async def test_an_alarm_calls_back_at_its_instant_unless_taken_back(
    timers: Timers, new_bench: Any, autojump_clock: MockClock
) -> None:
    calls: list[tuple[str, float]] = []
    async with new_bench.running(timers):
        timers.at(1, lambda: calls.append(("a", trio.current_time())))
        alarm = timers.at(2, lambda: calls.append(("b", trio.current_time())))
        late = timers.at(3, lambda: calls.append(("c", trio.current_time())))
        alarm.cancel()
        await trio.sleep(5)
        late.cancel()
    assert calls == [("a", 1.0), ("c", 3.0)]


async def test_what_an_owner_raises_is_logged_and_the_others_come_due(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock, logs: list[Any]
) -> None:
    async with new_bench.running(timers):
        timers.at(1, lambda: 1 // 0)
        timers.schedule(Owner("a", log), 1)
        await trio.sleep(5)
    assert log == [("a", 1.0)]
    assert [(entry["event"], entry["owner"]) for entry in logs] == [("timer raised", "Alarm")]


async def test_ticks_of_cancelled_timers_do_not_pile_up(
    timers: Timers, log: list[tuple[object, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers_module, "PRUNE_ABOVE", 10)
    keeper = Owner("keeper", log)
    timers.schedule(keeper, 5_000)
    owner = Owner("a", log)
    for second in range(1, 1_000):
        timers.schedule(owner, second)
        timers.cancel(owner)
        assert timers.statistics().ticks <= 13
    assert timers.statistics()[:2] == (1, timers.statistics().ticks)
    assert timers._ticks[0] <= timers._ticks[-1]


async def test_one_cancelled_timer_leaves_the_others_of_its_tick(
    timers: Timers, log: list[tuple[object, float]], new_bench: Any, autojump_clock: MockClock
) -> None:
    owners = [Owner(number, log) for number in range(3)]
    async with new_bench.running(timers):
        for owner in owners:
            timers.schedule(owner, 1)
        timers.cancel(owners[1])
        await trio.sleep(2)
    assert [name for name, _ in log] == [0, 2]
