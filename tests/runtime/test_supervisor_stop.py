"""Stopping: in reverse order, each inside its grace, all inside the budget, whatever the reason."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flytower.runtime.exits import ExitKind
from flytower.runtime.intensity import Intensity
from flytower.runtime.spec import ChildSpec
from flytower.runtime.strategy import Strategy
from flytower.runtime.supervisor import Supervisor
from flytower.runtime.testing import no_leaks

Lab = Any  # conftest's; tests cannot import it


@pytest.mark.parametrize("strategy", Strategy)
async def test_children_stop_in_reverse_order_each_after_the_one_behind_it(
    strategy: Strategy, lab: Lab, autojump_clock: MockClock
) -> None:
    async with lab.system(*(lab.probe(name, stop=1) for name in "abc"), strategy=strategy):
        lab.log.clear()
        lab.times.clear()
    assert lab.log == ["c told", "c over", "b told", "b over", "a told", "a over"]
    assert lab.times == [0, 1, 1, 2, 2, 3]


async def test_a_child_that_outlasts_its_grace_is_cancelled_named_and_waited_for(
    lab: Lab, logs: list[dict[str, Any]], autojump_clock: MockClock
) -> None:
    late = lab.probe("b", heed=False, grace=3)
    async with lab.system(lab.probe("a"), late, lab.probe("c")) as system:
        await system.stop()
        assert trio.current_time() == 3
        assert system.statistics().late == ("/node/b",)
    assert lab.only("over", "cancelled") == ["c over", "b cancelled", "b over", "a over"]
    assert "outlasted its grace of 3 s and was cancelled" in str(late.address.exit)
    assert [entry["path"] for entry in logs if "outlasted" in entry["event"]] == ["/node/b"]


async def test_a_child_that_stops_in_time_is_not_called_late(lab: Lab, autojump_clock: MockClock) -> None:
    spec = lab.probe("a", stop=2.9, grace=3)
    async with lab.system(spec) as system:
        await system.stop()
        assert system.statistics().late == ()
    assert str(spec.address.exit) == "stopped: /node stops it for good"


async def test_when_the_budget_is_over_all_that_is_left_is_cancelled_together(
    lab: Lab, logs: list[dict[str, Any]], autojump_clock: MockClock
) -> None:
    deaf = [lab.probe(name, heed=False, grace=4) for name in "abc"]
    async with lab.system(*deaf, budget=6) as system:
        await system.stop()
        assert trio.current_time() == 6
    assert lab.when("c cancelled") == [4]
    assert lab.when("b cancelled") == lab.when("a cancelled") == [6]
    named = [entry["path"] for entry in logs if "no time is left" in entry["event"]]
    assert named == ["/node/b", "/node/a"]


async def test_the_budget_cuts_clean_up_short_too_also_below_a_nested_supervisor(
    lab: Lab, autojump_clock: MockClock
) -> None:
    class Stubborn:
        """Cleans up for an hour, under a shield that its supervisor can cut."""

        async def run(self, context: Any) -> None:
            try:
                context.ready()
                await trio.sleep_forever()
            finally:
                with context.shielded(3600) as scope:
                    lab.note("cleaning")
                    await trio.sleep(3600)
                lab.note("cut" if scope.cancelled_caught else "clean")

        def inspect(self, path: str, now: float) -> Any:
            raise NotImplementedError

    inner = Supervisor([ChildSpec("stubborn", Stubborn, grace=1)])
    async with lab.system(inner.spec("inner"), budget=5) as system:
        await system.stop()
        assert trio.current_time() == 5
    assert lab.log == ["cleaning", "cut"]


async def test_a_stop_may_be_given_less_time_than_the_budget(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a", heed=False, grace=100)) as system:
        await system.stop(grace=2)
        assert trio.current_time() == 2
        await system.stop(grace=50)  # it is over, so this does not wait
        assert trio.current_time() == 2


@pytest.mark.parametrize("how", ["cancelled", "error", "ctrl-c"])
async def test_the_ordered_stop_happens_however_the_block_ends(how: str, lab: Lab, autojump_clock: MockClock) -> None:
    async def block() -> None:
        async with lab.system(*(lab.probe(name, stop=1) for name in "abc")):
            lab.log.clear()
            if how == "error":
                raise OSError("the block")
            if how == "ctrl-c":
                raise KeyboardInterrupt
            await trio.sleep_forever()

    async with no_leaks():
        if how == "cancelled":
            with trio.move_on_after(2):
                await block()
        else:
            with pytest.raises(KeyboardInterrupt if how == "ctrl-c" else OSError):
                await block()
    assert lab.only("told", "over") == ["c told", "c over", "b told", "b over", "a told", "a over"]
    assert not lab.only("cancelled")


async def test_the_ordered_stop_happens_when_a_task_beside_the_system_fails(
    lab: Lab, autojump_clock: MockClock
) -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise OSError("beside")

    with pytest.RaisesGroup(OSError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            async with lab.system(*(lab.probe(name, stop=1) for name in "ab")):
                await trio.sleep_forever()
    assert lab.only("over", "cancelled") == ["b over", "a over"]
    assert trio.current_time() == 3


async def test_the_grace_is_kept_when_the_system_is_cancelled_from_outside(lab: Lab, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        async with lab.system(lab.probe("a"), lab.probe("b", heed=False, grace=3)):
            await trio.sleep_forever()
    assert lab.only("over", "cancelled") == ["b cancelled", "b over", "a over"]
    assert lab.when("b cancelled") == [4]


async def test_a_cancellation_while_it_starts_stops_what_has_started(lab: Lab, autojump_clock: MockClock) -> None:
    async with no_leaks():
        with trio.move_on_after(5):
            async with lab.system(lab.probe("a"), lab.probe("b", start=100, grace=2), lab.probe("c")):
                pytest.fail("the block must not be entered")  # pragma: no cover
    assert lab.starts == {"a": 1, "b": 1}
    assert lab.only("over", "cancelled") == ["b cancelled", "b over", "a over"]


async def test_a_crash_while_stopping_is_no_restart_and_does_not_hold_up_the_others(
    lab: Lab, logs: list[dict[str, Any]], autojump_clock: MockClock
) -> None:
    spec = lab.probe("b", heed=False)
    async with lab.system(lab.probe("a"), spec) as system, trio.open_nursery() as nursery:
        nursery.start_soon(system.stop)
        await wait_all_tasks_blocked()
        lab.crash("b", OSError("while stopping"))
    assert lab.starts == {"a": 1, "b": 1}
    assert lab.log[-1] == "a over"
    assert spec.address.exit.kind is ExitKind.CRASHED
    assert [entry["path"] for entry in logs if entry["event"] == "an actor crashed"] == ["/node/b"]


async def test_a_stop_during_a_pause_does_not_wait_for_it(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a"), lab.probe("b")):
        lab.crash("a")
        await wait_all_tasks_blocked()
    assert trio.current_time() == 0
    assert lab.starts == {"a": 1, "b": 1}


async def test_a_stop_in_the_middle_of_a_group_restart_leaves_nothing(lab: Lab, autojump_clock: MockClock) -> None:
    async with no_leaks():
        children = (lab.probe(name, start=1, stop=1) for name in "abc")
        async with lab.system(*children, strategy=Strategy.ONE_FOR_ALL):
            lab.crash("b")
            await trio.sleep(0.5)
    assert lab.starts == {"a": 1, "b": 1, "c": 1}
    assert not lab.living


async def test_a_supervisor_that_gives_up_stops_its_children_in_reverse_order(
    lab: Lab, autojump_clock: MockClock
) -> None:
    inner = Supervisor([lab.probe(name, stop=1) for name in "abc"], intensity=Intensity(0))
    async with lab.system(inner.spec("inner")):
        lab.log.clear()
        lab.crash("b")
        await trio.sleep(2.5)
        assert lab.only("told", "over") == ["b over", "c told", "c over", "a told", "a over"]


async def test_a_monitor_hears_of_a_stop_when_all_is_over(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a"), lab.probe("b", stop=1)) as system:
        system.address("/node/b").monitor(lambda _: lab.note("heard"))
        await system.root.stop_child("b")
        assert lab.log[-2:] == ["b over", "heard"]
