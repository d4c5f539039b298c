"""The end of a host, in order and by force."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flytower.runtime.entity import Call, End, Reply, Returned, Stopping, Wake, Woke
from flytower.runtime.exits import ExitKind
from flytower.runtime.host import BATCH, ENDING_BATCH, Phase
from flytower.runtime.host_errors import EntityGone, HostStopped
from flytower.runtime.lanes import Lane
from flytower.runtime.testing import CancelAtStep, run_virtual
from flytower.runtime.timers import Timers
from tests.runtime.entities.deeds import five
from tests.runtime.entities.turns import Turns

if TYPE_CHECKING:
    from trio.testing import MockClock


async def two_seconds() -> None:
    await trio.sleep(2)


async def five_seconds() -> None:
    await trio.sleep(5)


# ---- a graceful stop ------------------------------------------------------------------------------------------


async def test_a_host_that_is_stopped_tells_its_entities_and_waits_for_their_calls(
    bench: Any, autojump_clock: MockClock
) -> None:
    async def slow() -> str:
        await trio.sleep(5)
        return "saved"

    bench.behaviour.reactions[Returned] = lambda state, _: bench.Do((), state + " and saved")
    async with bench.run():
        bench.host.start("a", "polled", [Call("slow", 1, slow, 60), Call("slow", 2, slow, 60)])
        bench.host.start("b", "idle", [Wake(3)])
        await trio.sleep(1)
    assert trio.current_time() == 10
    assert bench.behaviour.times(Stopping) == [1, 1]
    assert bench.behaviour.times(Woke) == []
    assert [(key, state, str(exit_)) for key, state, exit_ in bench.behaviour.ends] == [
        ("a", "polled and saved and saved", "stopped: host 'bench' has stopped"),
        ("b", "idle", "stopped: host 'bench' has stopped"),
    ]
    bench.nothing_is_left()


async def test_a_call_that_is_begun_because_of_the_stop_is_waited_for_too(
    bench: Any, autojump_clock: MockClock
) -> None:
    """Such as: write down where you are; and in another lane than those that were busy."""
    bench.behaviour.reactions[Stopping] = lambda *_: bench.Do((Call("slow", 1, two_seconds, 9), Wake(1)))
    bench.behaviour.reactions[Returned] = lambda state, message: (
        bench.Do((Call("fast", 2, two_seconds, 9),), "saved") if message.tag == 1 else bench.Do((), "told")
    )
    async with bench.run():
        bench.host.start("a", "")
    assert trio.current_time() == 4
    assert bench.behaviour.ends[0][1] == "told"
    assert bench.behaviour.times(Woke) == []


async def test_a_host_that_is_stopping_answers_but_starts_nothing(bench: Any, autojump_clock: MockClock) -> None:
    async with bench.run() as context:
        bench.host.start("a", "", [Call("fast", 1, five_seconds, 9)])
        await trio.sleep(1)
        context.stop_requested.set()
        await trio.sleep(1)
        assert bench.host.statistics().phase is Phase.STOPPING
        with pytest.raises(HostStopped, match="'bench' is stopping and starts no entity 'b'"):
            bench.host.start("b", "")
        assert bench.host.ask("a", lambda promise: bench.Do((Reply(promise, 1),))).result() == 1
        assert bench.tell("a", End())
        assert not bench.host.has("a")


async def test_an_entity_that_ends_while_others_are_told_is_told_no_more(bench: Any, autojump_clock: MockClock) -> None:
    def react(state: str, _: object) -> Any:
        return bench.Do((lambda: bench.host.stop_entity("2", "no more"),) if state == "1" else ())

    bench.behaviour.reactions[Stopping] = react
    async with bench.run():
        for state in "123":
            bench.host.start(state, state)
    assert [state for _, state, message in bench.behaviour.heard if isinstance(message, Stopping)] == ["1", "3"]


async def test_no_timer_comes_due_while_the_entities_are_told(bench: Any, autojump_clock: MockClock) -> None:
    async with bench.run():
        for key in range(3 * BATCH):
            bench.host.start(key, "", [Wake(1)])
        await trio.sleep(1)
        autojump_clock.autojump_threshold = float("inf")
        bench.context.stop_requested.set()
        await wait_all_tasks_blocked()
    heard = [type(message) for message in bench.behaviour.messages()]
    assert heard.count(Stopping) == 3 * BATCH
    assert 0 < heard.count(Woke) == heard.index(Stopping) < 3 * BATCH


async def test_a_host_that_is_over_takes_nothing(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "")
    assert not bench.tell("a")
    assert not bench.host.stop_entity("a", "")
    with pytest.raises(HostStopped, match="is over"):
        bench.host.start("b", "")
    with pytest.raises(EntityGone):
        bench.host.ask("a", lambda _: bench.Do()).result()
    bench.nothing_is_left()


async def test_a_host_can_be_run_again_and_starts_empty(bench: Any, autojump_clock: MockClock) -> None:
    for _ in range(2):
        async with bench.run():
            assert bench.host.keys() == []
            bench.host.start("a", "", [Wake(1), Call("fast", 1, five, 9)])
            await trio.sleep(2)
            bench.host.ask("a", lambda _: bench.Do())
        bench.nothing_is_left()
        bench.context.__init__()
    assert len(bench.behaviour.messages(Woke)) == len(bench.behaviour.messages(Returned)) == 2


async def test_a_host_runs_once_at_a_time(bench: Any) -> None:
    async with bench.run():
        with pytest.raises(RuntimeError, match="'bench' runs already"):
            await bench.host.run(bench.Context())
        bench.host.start("a", "")
        assert bench.host.has("a")


# ---- a stop by force, and crashes -----------------------------------------------------------------------------


async def test_a_host_that_is_cancelled_ends_everything_all_the_same(bench: Any, autojump_clock: MockClock) -> None:
    unwound = []

    async def careful() -> None:
        try:
            await trio.sleep_forever()
        finally:
            unwound.append(bench.behaviour.ends == [])

    asked = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.host.run, bench.context)
        await bench.context.is_ready.wait()
        for key in range(2 * ENDING_BATCH + 1):
            bench.host.start(key, "", [Wake(5)])
        bench.tell(0, Call("slow", 1, careful, 60), Call("slow", 2, five, 60))
        asked.append(bench.host.ask(1, lambda _: bench.Do()))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert unwound == [True], "calls are over before their entity hears that it is"
    assert len(bench.behaviour.ends) == 2 * ENDING_BATCH + 1
    assert {str(exit_) for _, _, exit_ in bench.behaviour.ends} == {"stopped: host 'bench' was cancelled"}
    with pytest.raises(EntityGone, match="was cancelled"):
        asked[0].result()
    bench.nothing_is_left()


async def test_the_outcome_of_a_call_that_finishes_under_cancellation_still_reaches_its_entity(
    bench: Any, autojump_clock: MockClock
) -> None:
    async def create() -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(3)
        return "job-7"

    refused: list[object] = []
    bench.behaviour.reactions[Returned] = lambda _, message: bench.Do(
        (Call("fast", 2, five, 9), Wake(1), lambda: refused.append(bench.tell("b"))), message.value
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.host.run, bench.context)
        await bench.context.is_ready.wait()
        bench.host.start("a", "creating", [Call("slow", 1, create, 60)])
        bench.host.start("b", "")
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 3
    assert bench.behaviour.ends[0][:2] == ("a", "job-7")
    assert bench.behaviour.messages(Returned) == [Returned(1, "job-7")]
    assert refused == [False]
    bench.nothing_is_left()


async def test_shared_timers_wake_nobody_while_a_cancelled_host_waits_for_its_calls(
    new_bench: Any, autojump_clock: MockClock
) -> None:
    async def stubborn() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)

    timers = Timers()
    bench = new_bench(timers=timers)
    async with bench.running(timers), trio.open_nursery() as nursery:
        nursery.start_soon(bench.host.run, bench.context)
        await bench.context.is_ready.wait()
        bench.host.start("a", "", [Call("slow", 1, stubborn, 60), Wake(2)])
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 5
    assert bench.behaviour.messages(Woke) == []
    bench.nothing_is_left()


async def test_others_run_while_a_host_ends_its_many_entities(bench: Any) -> None:
    turns = Turns()
    ended_in: list[int] = []
    bench.behaviour.ended = lambda *_: ended_in.append(turns.count)
    trio.lowlevel.add_instrument(turns)
    async with bench.run():
        for key in range(3 * ENDING_BATCH):
            bench.host.start(key, "")
    assert [ended_in.count(turn) for turn in sorted(set(ended_in))] == [ENDING_BATCH] * 3


async def test_a_host_that_crashes_ends_its_entities_as_crashed(new_bench: Any) -> None:
    """Here: another host has one of its lanes open."""
    lane = Lane("shared", 1)
    one, two = new_bench(lanes=[lane]), new_bench(lanes=[lane])
    two.host.start("a", "")
    async with one.run():
        with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="'shared' is open already")):
            await two.host.run(two.context)
        ((_, _, exit_),) = two.behaviour.ends
        assert exit_.kind is ExitKind.CRASHED
        one.host.start("a", "", [Call("shared", 1, five, 9)])
        await wait_all_tasks_blocked()
        assert one.behaviour.messages(Returned), "the lane of the other one is not harmed"


async def test_what_waited_when_a_host_is_cancelled_before_it_is_ready_is_refused(bench: Any) -> None:
    for key in range(3 * BATCH):
        bench.host.start(key, "", ["begun"])
    asked = bench.host.ask(0, lambda promise: bench.Do((Reply(promise, 1),)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.host.run, bench.context)
        for _ in range(2):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert 0 < len(bench.behaviour.performed) < 3 * BATCH
    assert len(bench.behaviour.ends) == 3 * BATCH
    with pytest.raises(EntityGone):
        asked.result()
    bench.nothing_is_left()


def test_cancelled_at_any_of_its_steps_a_host_leaves_nothing_behind(new_bench: Any) -> None:
    """A life with polls, a hanging call, an ask without an answer and a graceful stop, cut at each step of any task."""

    async def cut_at(k: int) -> bool:
        bench = new_bench(lanes=[Lane("fast", 2), Lane("slow", 1)])
        started: set[object] = set()
        promises = []
        calls: list[str] = []

        async def call() -> None:
            calls.append("begun")
            try:
                await trio.sleep(2)
            finally:
                calls.append("over")

        async def live() -> None:
            await trio.lowlevel.checkpoint()
            bench.host.start("early", "", [Wake(1), Call("slow", "x", call, 3)])
            started.add("early")
            promises.append(bench.host.ask("early", lambda _: bench.Do()))
            async with bench.run():
                for key in range(3):
                    if bench.host.statistics().phase is Phase.OVER:  # cut just before
                        return
                    bench.host.start(key, "", [Wake(1), Call("slow", "x", call, 3)])
                    started.add(key)
                promises.append(bench.host.ask(0, lambda _: bench.Do()))
                promises.append(bench.host.ask(1, lambda promise: bench.Do((Reply(promise, 1),))))
                await trio.sleep(12)

        bench.behaviour.reactions[Woke] = lambda *_: bench.Do((Call("fast", "poll", call, 5),))
        bench.behaviour.reactions[Returned] = lambda *_: bench.Do((Wake(1),))
        with CancelAtStep(k, every_task=True) as cut:
            await live()
        if bench.host.statistics().phase is Phase.NEW:
            return cut.hit  # it never ran
        bench.nothing_is_left()
        assert {key for key, _, _ in bench.behaviour.ends} == started
        assert len(bench.behaviour.ends) == len(started)
        assert all(promise.done for promise in promises)
        assert calls.count("begun") == calls.count("over")
        return cut.hit

    steps = next(k for k in itertools.count(1) if not run_virtual(cut_at, k))
    assert steps > 40
