"""The whole: what a program opens, sees, and is told when it fails."""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flytower.runtime.errors import NameTaken, SystemFailed, UnknownActor
from flytower.runtime.exits import ExitKind
from flytower.runtime.intensity import Intensity
from flytower.runtime.ref import Ref
from flytower.runtime.service import Service
from flytower.runtime.spec import Restart, ServiceSpec
from flytower.runtime.supervisor import Supervisor
from flytower.runtime.system import Statistics, open_system
from flytower.runtime.testing import no_leaks
from flytower.runtime.tree import Node, render

Lab = Any  # conftest's; tests cannot import it


class Echo(Service[str]):
    async def handle(self, message: str) -> str:
        return message


async def test_nothing_of_a_system_runs_when_its_block_is_over(lab: Lab, autojump_clock: MockClock) -> None:
    async with no_leaks():
        inner = Supervisor([lab.probe("b"), lab.probe("c")])
        async with lab.system(lab.probe("a"), inner.spec("inner")):
            assert lab.living.keys() == {"a", "b", "c"}
        assert not lab.living


async def test_an_empty_system_is_a_system(autojump_clock: MockClock) -> None:
    async with no_leaks(), open_system(name="alone") as system:
        assert system.name == "alone"
        assert render(system.tree()) == "alone (Supervisor) running, mailbox 0, 0 restarts, 0.0 s"


async def test_the_tree_shows_every_actor_with_its_state(lab: Lab, autojump_clock: MockClock) -> None:
    echo = ServiceSpec("echo", Echo)
    inner = Supervisor([lab.probe("b"), echo])
    async with lab.system(lab.probe("a"), inner.spec("inner")) as system:
        await trio.sleep(5)
        lab.crash("a")
        await trio.sleep(3)
        assert system.tree() == Node(
            "/node",
            "Supervisor",
            "running",
            age=8,
            children=(
                Node("/node/a", "Probe", "up", restarts=1, age=2),
                Node(
                    "/node/inner",
                    "Supervisor",
                    "running",
                    age=8,
                    children=(
                        Node("/node/inner/b", "Probe", "up", age=8),
                        Node("/node/inner/echo", "Echo", "idle", age=8),
                    ),
                ),
            ),
        )
        assert "└── echo (Echo) idle, mailbox 0, 0 restarts, 8.0 s" in render(system.tree())


async def test_the_tree_shows_what_does_not_run_too(lab: Lab, autojump_clock: MockClock) -> None:
    echo = ServiceSpec("echo", Echo)
    echo.ref.tell("early")
    inner = Supervisor([lab.probe("a", start=10, stop=1), echo])
    async with lab.system() as system, trio.open_nursery() as nursery:
        nursery.start_soon(system.root.start_child, inner.spec("inner"))
        await wait_all_tasks_blocked()
        node = system.tree().find("/node/inner")
        assert node is not None
        assert node.state == "mending"
        assert [(child.kind, child.state, child.mailbox) for child in node.children] == [
            ("Probe", "up", 0),
            ("Child", "down", 1),
        ]
        await trio.sleep(10)
        async with trio.open_nursery() as stopping:
            stopping.start_soon(system.stop)
            await wait_all_tasks_blocked()
            assert system.tree().state == "stopping"


async def test_the_statistics_sum_the_tree_up(lab: Lab, autojump_clock: MockClock) -> None:
    echo = ServiceSpec("echo", Echo)
    async with lab.system(lab.probe("a"), echo) as system:
        lab.crash("a")
        await trio.sleep(2)
        echo.ref.tell("waiting")
        assert system.statistics() == Statistics(actors=3, pending=1, restarts=1, dead_letters=0, late=())


async def test_a_service_is_found_by_path_and_by_name(autojump_clock: MockClock) -> None:
    echo = ServiceSpec("echo", Echo)
    async with open_system([echo]) as system:
        assert system.ref("/node/echo") is echo.ref
        system.names.register("the echo", echo.ref)
        assert system.ref("the echo") is echo.ref
        assert list(system.names) == ["/node/echo", "the echo"]
        with pytest.raises(NameTaken, match="the echo is taken"):
            system.names.register("the echo", Ref("other"))
        await system.root.stop_child("echo")
        assert list(system.names) == []


async def test_an_unknown_name_is_answered_with_those_that_come_close(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.system(ServiceSpec("registry", Echo), lab.probe("probe")) as system:
        with pytest.raises(UnknownActor, match=r"nothing is called /node/regsitry; did you mean /node/registry\?"):
            system.ref("/node/regsitry")
        with pytest.raises(UnknownActor, match=r"see System\.tree\(\)"):
            system.ref("zzz")
        with pytest.raises(UnknownActor, match="is no service"):
            system.ref("/node/probe")
        assert system.address("/node/probe").path == "/node/probe"


@pytest.mark.parametrize("name", ["", "/node/x"])
def test_a_name_is_no_path(name: str) -> None:
    system_names = pytest.importorskip("flytower.runtime.names").Names()
    with pytest.raises(ValueError, match="does not begin with a slash"):
        system_names.register(name, Ref("x"))


async def test_a_name_given_to_the_dead_is_free_at_once(autojump_clock: MockClock) -> None:
    echo = ServiceSpec("echo", Echo, Restart.TEMPORARY)
    async with open_system([echo]) as system:
        await system.root.stop_child("echo")
        system.names.register("echo", echo.ref)
        assert list(system.names) == []


async def test_randomness_and_identifiers_come_from_outside(lab: Lab, autojump_clock: MockClock) -> None:
    inner = Supervisor([lab.probe("a")])
    async with lab.system(inner.spec("inner")):
        context = lab.living["a"].context
        assert context.new_id() == "a"
        assert context.rng.random() == random.Random(0).random()  # noqa: S311 - the seed of lab.system
        assert (context.path, context.name, context.grace) == ("/node/inner/a", "a", 5)


async def test_without_a_source_identifiers_are_unique(lab: Lab, autojump_clock: MockClock) -> None:
    async with open_system([lab.probe("a")]):
        context = lab.living["a"].context
        assert len({context.new_id() for _ in range(100)}) == 100


async def test_when_the_root_gives_up_the_block_is_cancelled_and_the_failure_comes_out_of_it(
    lab: Lab, autojump_clock: MockClock
) -> None:
    reached: list[str] = []
    with pytest.raises(SystemFailed, match=r"the system node failed \(crashed: RestartIntensityExceeded: "):  # noqa: PT012 - it comes out of the block
        async with no_leaks(), lab.system(lab.probe("a"), intensity=Intensity(0)):
            lab.crash("a")
            try:
                await trio.sleep_forever()
            finally:
                reached.append("cancelled")
    assert reached == ["cancelled"]


async def test_a_block_that_fails_together_with_its_system_hides_neither(lab: Lab, autojump_clock: MockClock) -> None:
    with pytest.RaisesGroup(SystemFailed, OSError):
        async with lab.system(lab.probe("a"), lab.probe("b", stop=3), intensity=Intensity(0)):
            lab.crash("a")
            await trio.sleep(1)
            raise OSError("the block")


async def test_a_block_that_is_cancelled_while_its_system_fails_tells_of_the_failure(
    lab: Lab, autojump_clock: MockClock
) -> None:
    with pytest.raises(SystemFailed), trio.move_on_after(1):  # noqa: PT012 - it comes out of the block
        async with lab.system(lab.probe("a"), lab.probe("b", stop=3), intensity=Intensity(0)):
            lab.crash("a")
            await trio.sleep_forever()


async def test_what_the_block_raises_comes_out_as_it_is(lab: Lab, autojump_clock: MockClock) -> None:
    error = OSError("the block")
    with pytest.raises(OSError, match="the block") as caught:
        async with lab.system(lab.probe("a")):
            raise error
    assert caught.value is error


async def test_the_block_goes_on_after_a_stop(lab: Lab, autojump_clock: MockClock) -> None:
    spec = lab.probe("a")
    async with lab.system(spec) as system:
        await system.stop()
        assert (await spec.address.terminated()).kind is ExitKind.STOPPED
        await system.stop()
        await trio.sleep(5)
        assert system.tree().children == ()


async def test_cancelling_the_wait_for_a_stop_does_not_keep_it_from_stopping(
    lab: Lab, autojump_clock: MockClock
) -> None:
    async with lab.system(lab.probe("a", stop=3)) as system:
        with trio.move_on_after(1):
            await system.stop()
        await trio.sleep(3)
        assert not lab.living


def test_ctrl_c_ends_the_program_in_order_and_is_no_crash_of_an_actor(lab: Lab) -> None:
    """Whatever runs when the signal comes (here a handler of an actor): it is delivered to the main task."""

    class Pressed(Service[str]):
        async def handle(self, message: str) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # time for the interpreter to look at signals: it must not be raised here
                pass
            lab.note("the handler went on")

    spec = ServiceSpec("pressed", Pressed)

    async def main() -> None:
        async with lab.system(spec, lab.probe("a", stop=1)):
            spec.ref.tell("now")
            await trio.sleep_forever()

    # trio takes over only the handler that Python installs
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        signal.signal(signal.SIGINT, previous)
    assert lab.log == ["a starts", "a up", "the handler went on", "a told", "a over"]
