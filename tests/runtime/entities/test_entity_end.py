"""How an entity ends: by itself, by others, and by its own mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flytower.runtime.entity import (
    Behaviour,
    Call,
    End,
    Reply,
    Returned,
    Wake,
    Woke,
)
from flytower.runtime.exits import NORMAL, ExitKind
from flytower.runtime.intensity import Intensity
from tests.runtime.entities.deeds import five

if TYPE_CHECKING:
    from trio.testing import MockClock


# ---- the end --------------------------------------------------------------------------------------------------


async def test_an_entity_that_ends_lets_go_of_everything_and_everybody_hears_of_it(
    bench: Any, autojump_clock: MockClock
) -> None:
    told: list[object] = []
    async with bench.run():
        bench.host.start("a", "", [Wake(5), Call("fast", 1, trio.sleep_forever, 60)])
        bench.host.monitor("a", lambda *facts: told.append(facts))
        bench.host.monitor("a", lambda *facts: told.append(facts))
        await trio.sleep(1)
        bench.tell("a", End(), state="last")
        ((key, state, exit_),) = bench.behaviour.ends
        assert (key, state, exit_.kind) == ("a", "last", ExitKind.NORMAL)
        assert told == [("a", exit_)] * 2
        assert not bench.host.has("a")
        await trio.sleep(10)
        assert bench.behaviour.times(Woke) == []
        assert bench.host.statistics().lanes["fast"].running == 0


async def test_the_effects_after_an_end_are_performed_too(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "")
        promise = bench.host.ask("a", lambda promise: bench.Do((End(), Reply(promise, 1), Wake(1))))
        assert promise.result() == 1
        assert bench.host._timers.statistics().pending == 0


async def test_an_entity_may_end_in_its_first_step(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "brief", [End()])
        assert [end[:2] for end in bench.behaviour.ends] == [("a", "brief")]


async def test_a_stopped_entity_ends_with_the_reason_given(bench: Any) -> None:
    async with bench.run():
        bench.host.start("a", "")
        assert bench.host.stop_entity("a", "nobody wants it")
        assert not bench.host.stop_entity("a", "nobody wants it")
        assert str(bench.behaviour.ends[0][2]) == "stopped: nobody wants it"


async def test_an_entity_that_is_stopped_from_inside_a_step_ends_right_after_it(bench: Any) -> None:
    def stop() -> None:
        bench.host.stop_entity("a", "enough")
        assert bench.host.has("a")

    async with bench.run():
        bench.host.start("a", "")
        bench.tell("a", stop, "next effect")
        assert [effect for _, _, effect in bench.behaviour.performed][1:] == ["next effect"]
        assert not bench.host.has("a")


async def test_watching_nobody_says_so_at_once(bench: Any) -> None:
    told: list[Any] = []
    async with bench.run():
        bench.host.monitor("nobody", lambda *facts: told.append(facts))
    ((key, exit_),) = told
    assert (key, str(exit_)) == ("nobody", "stopped: no entity has that key")


async def test_who_hears_of_an_end_and_raises_harms_only_itself(bench: Any, logs: list[Any]) -> None:
    told: list[object] = []

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    async with bench.run():
        bench.behaviour.ended = broken
        bench.host.start("a", "")
        bench.host.monitor("a", broken)
        bench.host.monitor("a", lambda *facts: told.append(facts))
        bench.tell("a", End())
        assert len(told) == 1
    assert [entry["event"] for entry in logs] == ["callback raised"] * 2


async def test_a_key_is_free_again_as_soon_as_its_entity_has_ended(bench: Any) -> None:
    """And messages for the old entity never reach the new one."""
    async with bench.run():
        bench.host.start("a", "old")
        bench.host.monitor("a", lambda *_: bench.host.start("a", "new", ["hello"]))
        bench.tell("a", lambda: bench.tell("a", "for the old one"), End())
        assert bench.host.state("a") == "new"
        assert ("a", "new", "hello") in bench.behaviour.performed
        assert "for the old one" not in [effect for _, _, effect in bench.behaviour.performed]


# ---- crashes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["transition", "perform"])
@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3)], ids=["Exception", "SystemExit"])
async def test_an_entity_that_raises_is_restarted_from_its_last_durable_state(
    bench: Any, autojump_clock: MockClock, logs: list[Any], where: str, error: BaseException
) -> None:
    bench.behaviour.restorable["a"] = [bench.Do(("resumed",), "durable")]
    async with bench.run():
        bench.host.start("a", "first", [Wake(5), Call("fast", 1, trio.sleep_forever, 60)])
        bench.host.start("b", "untouched", [Wake(5)])
        await trio.sleep(1)
        failure = bench.Fail(error)
        bench.host.tell("a", failure if where == "transition" else bench.Do((failure,)))
        assert bench.host.state("a") == "durable"
        assert bench.behaviour.performed[-1] == ("a", "durable", "resumed")
        assert bench.behaviour.ends == []
        await trio.sleep(10)
        assert len(bench.behaviour.times(Woke)) == 1, "of b only: the timer of a is gone"
        assert bench.host.statistics().lanes["fast"].cancelled == 1
        assert bench.host.statistics().crashes == 1
        node = bench.host.inspect("/bench", trio.current_time()).find("/bench/a")
        assert (node.restarts, node.age) == (1, 10)
    assert [(entry["event"], entry["entity"], entry["log_level"]) for entry in logs] == [
        ("entity crashed", "a", "error")
    ]


async def test_the_tags_of_a_crashed_incarnation_are_free_for_the_next(bench: Any) -> None:
    bench.behaviour.restorable["a"] = [bench.Do((Call("fast", 1, five, 9),), "durable")]
    async with bench.run():
        bench.host.start("a", "", [Call("fast", 1, trio.sleep_forever, 9)])
        bench.host.tell("a", bench.Fail(ValueError("bad")))
        await wait_all_tasks_blocked()
        assert bench.behaviour.messages(Returned) == [Returned(1, 5)]


@pytest.mark.parametrize("restored", [None, OSError("the store is gone"), "nonsense"])
async def test_an_entity_that_cannot_be_restored_ends_as_crashed(bench: Any, logs: list[Any], restored: Any) -> None:
    if restored == "nonsense":
        bench.behaviour.restore = lambda _: 7 if len(logs) < 2 else None
    else:
        bench.behaviour.restorable["a"] = [restored]
    async with bench.run():
        bench.host.start("a", "")
        bench.host.tell("a", bench.Fail(ValueError("bad")))
        ((_, _, exit_),) = bench.behaviour.ends
        assert exit_.crashed
        assert not bench.host.has("a")
    events = [entry["event"] for entry in logs]
    if isinstance(restored, OSError):
        assert events == ["entity crashed", "entity cannot be restored"]
        assert exit_.reason == "ValueError: bad"


async def test_an_entity_that_crashes_too_often_ends_as_crashed(new_bench: Any, autojump_clock: MockClock) -> None:
    bench = new_bench(intensity=Intensity(restarts=2, within=10.0))
    bench.behaviour.restorable["a"] = [bench.Do(state=str(number)) for number in range(9)]
    async with bench.run():
        bench.host.start("a", "")
        for pause in (0, 9, 2, 9):
            await trio.sleep(pause)
            bench.host.tell("a", bench.Fail(ValueError("bad")))
            assert bench.host.has("a")
        await trio.sleep(0.5)
        bench.host.tell("a", bench.Fail(ValueError("once too often")))
        assert not bench.host.has("a")
        assert bench.behaviour.ends[0][2].reason == "ValueError: once too often"


async def test_restoring_that_crashes_again_counts_as_a_crash_each_time(new_bench: Any) -> None:
    bench = new_bench(intensity=Intensity(restarts=2, within=10.0))
    bench.behaviour.restorable["a"] = [bench.Do((bench.Fail(ValueError(text)),), "s") for text in ("1st", "2nd", "3rd")]
    async with bench.run():
        bench.host.start("a", "", [bench.Fail(ValueError("0th"))])
        assert bench.behaviour.ends[0][2].reason == "ValueError: 2nd"
        assert bench.host.statistics().crashes == 3


async def test_a_restored_entity_may_end_in_its_first_step(bench: Any) -> None:
    bench.behaviour.restorable["a"] = [bench.Do((End(),), "over")]
    async with bench.run():
        bench.host.start("a", "")
        bench.host.tell("a", bench.Fail(ValueError("bad")))
        assert [end[:2] for end in bench.behaviour.ends] == [("a", "over")]


async def test_an_entity_that_raises_after_its_end_in_the_same_step_is_restored(bench: Any) -> None:
    bench.behaviour.restorable["a"] = [bench.Do(state="restored")]
    async with bench.run():
        bench.host.start("a", "")
        bench.tell("a", End(), bench.Fail(ValueError("the publish failed")))
        assert bench.host.state("a") == "restored"
        assert bench.behaviour.ends == []


@pytest.mark.parametrize("where", ["transition", "first effects", "restore"])
async def test_an_interrupt_from_the_keyboard_is_nobodys_crash(bench: Any, where: str) -> None:
    interrupt = bench.Fail(KeyboardInterrupt())
    bench.behaviour.restorable["b"] = [KeyboardInterrupt()]
    async with bench.run():
        bench.host.start("a", "")
        bench.host.start("b", "")
        happen = {
            "transition": lambda: bench.host.tell("a", interrupt),
            "first effects": lambda: bench.host.start("c", "", [interrupt]),
            "restore": lambda: bench.host.tell("b", bench.Fail(ValueError("bad"))),
        }
        with pytest.raises(KeyboardInterrupt):
            happen[where]()
        assert bench.tell("a", state="goes on")
        assert bench.host.state("a") == "goes on"
        assert bench.behaviour.ends == []


async def test_the_behaviour_that_is_subclassed_performs_and_restores_nothing_by_itself() -> None:
    behaviour: Behaviour[str] = Behaviour()
    with pytest.raises(NotImplementedError):
        behaviour.transition("", None, 0.0)
    with pytest.raises(TypeError, match="no way to perform 'x' for 'key'"):
        behaviour.perform("key", "", "x")
    assert behaviour.restore("key") is None
    assert behaviour.describe("") == "str"
    behaviour.ended("key", "", NORMAL)
