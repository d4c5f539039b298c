"""Children that are started, stopped and restarted by name, while their supervisor runs."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flytower.runtime.errors import (
    ActorDead,
    NameTaken,
    SystemFailed,
    UnknownActor,
)
from flytower.runtime.exits import ExitKind
from flytower.runtime.intensity import Intensity
from flytower.runtime.spec import Restart
from flytower.runtime.supervisor import Supervisor

Lab = Any  # conftest's; tests cannot import it


async def test_a_dynamic_child_is_up_when_start_child_returns(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a")) as system:
        await system.root.start_child(lab.probe("b", start=3))
        assert lab.log[-1] == "b up"
        assert trio.current_time() == 3
        assert [node.path for node in system.tree().children] == ["/node/a", "/node/b"]


async def test_start_child_tells_of_a_child_that_ends_before_it_is_ready(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system() as system:
        with pytest.raises(ActorDead, match="OSError: no luck"):
            await system.root.start_child(lab.probe("a", fails=[OSError("no luck")], restart=Restart.TEMPORARY))


async def test_start_child_waits_through_restarts(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system() as system:
        await system.root.start_child(lab.probe("a", fails=[OSError()]))
        assert lab.starts["a"] == 2


async def test_names_are_unique_and_a_spec_runs_in_one_place(lab: Lab, autojump_clock: MockClock) -> None:
    spec = lab.probe("a")
    inner = Supervisor()
    async with lab.system(spec, inner.spec("inner")) as system:
        with pytest.raises(NameTaken, match="/node/a is taken"):
            await system.root.start_child(lab.probe("a"))
        with pytest.raises(NameTaken, match="already runs as /node/a"):
            await inner.start_child(spec)
        with pytest.raises(UnknownActor):
            system.address("/node/inner/a")


async def test_two_children_of_one_name_keep_a_system_from_starting(lab: Lab, autojump_clock: MockClock) -> None:
    first = lab.probe("a")
    with pytest.raises(SystemFailed, match="NameTaken"):
        async with lab.system(first, lab.probe("a")):
            pytest.fail("the block must not be entered")  # pragma: no cover
    assert lab.starts["a"] == 0
    assert first.address.exit is not None


async def test_a_stopped_child_is_forgotten_and_its_spec_can_be_started_again(
    lab: Lab, autojump_clock: MockClock
) -> None:
    spec = lab.probe("a", stop=2)
    async with lab.system(spec) as system:
        exit_ = await system.root.stop_child("a")
        assert exit_.kind is ExitKind.STOPPED
        assert trio.current_time() == 2
        assert system.tree().children == ()
        await system.root.start_child(spec)
        assert spec.address.exit is None


async def test_a_child_that_pauses_before_a_restart_is_stopped_at_once(lab: Lab, autojump_clock: MockClock) -> None:
    spec = lab.probe("a")
    async with lab.system(spec) as system:
        lab.crash("a")
        await wait_all_tasks_blocked()
        assert [node.state for node in system.tree().children] == ["paused"]
        assert (await system.root.stop_child("a")).kind is ExitKind.STOPPED
        await trio.sleep(10)
        assert trio.current_time() == 10
        assert lab.starts["a"] == 1


async def test_a_child_that_was_told_to_stop_in_its_first_moment_is_never_made(
    lab: Lab, autojump_clock: MockClock
) -> None:
    async with lab.system() as system:
        system.root._add(lab.probe("a"))
        system.root._reconcile()  # the child's task is spawned, and has not run
        assert (await system.root.stop_child("a")).kind is ExitKind.STOPPED
    assert lab.starts["a"] == 0


async def test_restarting_a_child_makes_no_pause_and_counts_as_no_crash(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a"), intensity=Intensity(0)) as system:
        for _ in range(5):
            await system.root.restart_child("a")
        assert lab.starts["a"] == 6
        assert trio.current_time() == 0


async def test_restarting_a_child_that_pauses_ends_the_pause(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a")) as system:
        lab.crash("a")
        await wait_all_tasks_blocked()
        await system.root.restart_child("a")
        assert lab.starts["a"] == 2
        assert trio.current_time() == 0


async def test_a_child_that_is_being_stopped_cannot_be_restarted(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a", stop=2)) as system, trio.open_nursery() as nursery:
        nursery.start_soon(system.root.stop_child, "a")
        await wait_all_tasks_blocked()
        with pytest.raises(UnknownActor, match="is being stopped for good"):
            await system.root.restart_child("a")
        await system.root.stop_child("a")  # twice is fine: both wait for the same end


async def test_restarting_tells_of_a_child_that_does_not_come_up_again(lab: Lab, autojump_clock: MockClock) -> None:
    errors = [OSError("once")]
    async with lab.system() as system:
        await system.root.start_child(lab.probe("a", fails=errors, restart=Restart.TRANSIENT))
        async with trio.open_nursery() as nursery:

            async def restart() -> None:
                with pytest.raises(ActorDead):
                    await system.root.restart_child("a")

            nursery.start_soon(restart)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(system.stop)


async def test_an_unknown_child_is_named_with_those_that_there_are(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(lab.probe("a"), lab.probe("b")) as system:
        with pytest.raises(UnknownActor, match="no child c, but a, b"):
            await system.root.stop_child("c")


async def test_a_supervisor_that_does_not_run_takes_no_children(lab: Lab, autojump_clock: MockClock) -> None:
    with pytest.raises(ActorDead, match="its supervisor does not run"):
        await Supervisor().start_child(lab.probe("a"))
    async with lab.system(lab.probe("a")) as system:
        await system.stop()
        with pytest.raises(ActorDead):
            await system.root.start_child(lab.probe("b"))


def test_a_spec_says_how_its_child_is_run(lab: Lab) -> None:
    assert repr(lab.probe("a", restart=Restart.TEMPORARY)) == "<ChildSpec a, temporary, grace 5 s>"
