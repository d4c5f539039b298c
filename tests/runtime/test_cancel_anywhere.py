"""Starting, restarting, stopping, asking and sending, cancelled at every wait: all is still consistent."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flytower.runtime.errors import ActorDead
from flytower.runtime.ref import Request
from flytower.runtime.service import Service
from flytower.runtime.spec import ServiceSpec
from flytower.runtime.strategy import Strategy
from flytower.runtime.system import open_system
from flytower.runtime.testing import CancelAtStep, no_leaks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Lab = Any  # conftest's; tests cannot import it


class Question(Request[str]):
    pass


class Clerk(Service[Question]):
    """Answers after a while; says whether a request was in hand or skipped."""

    handled = 0

    async def handle(self, message: Question) -> str:
        Clerk.handled += 1
        await trio.sleep(1)
        return "answer"


@pytest.mark.parametrize("every_task", [False, True])
@pytest.mark.parametrize("strategy", Strategy)
async def test_a_whole_life_cancelled_anywhere_leaves_nothing_and_stops_in_reverse_order(
    strategy: Strategy, *, every_task: bool, new_lab: type[Lab], autojump_clock: MockClock
) -> None:
    for k in count(1):
        lab = new_lab()
        async with no_leaks():
            with CancelAtStep(k, every_task=every_task) as cut:
                async with lab.system(*(lab.probe(n, start=1, stop=1) for n in "abc"), strategy=strategy) as system:
                    lab.crash("b")
                    await trio.sleep(5)
                    await system.root.restart_child("a")
                    await system.root.start_child(lab.probe("d"))
                    await system.root.stop_child("c")
        assert not lab.living
        ended = [entry.split()[0] for entry in lab.only("over")]
        last = {name: len(ended) - ended[::-1].index(name) for name in ended}
        running = [name for name in "abd" if name in last]  # c is stopped on its own before the end
        if "d" in running:
            assert sorted(running, key=last.__getitem__, reverse=True) == running
        if not cut.hit:
            break
    assert k > 5


async def test_a_stop_cancelled_anywhere_is_still_in_order(new_lab: type[Lab], autojump_clock: MockClock) -> None:
    for k in count(1):
        lab = new_lab()
        async with lab.system(*(lab.probe(n, stop=1) for n in "abc")) as system:
            with CancelAtStep(k, every_task=True) as cut:
                await system.stop()
        assert lab.only("over", "cancelled") == ["c over", "b over", "a over"]
        if not cut.hit:
            break
    assert k > 10


async def _with_child(system: Any, lab: Lab, operation: Callable[[Any], Awaitable[object]], k: int) -> bool:
    with CancelAtStep(k, every_task=True) as cut:
        await operation(system.root)
    await trio.sleep(10)
    return cut.hit


@pytest.mark.parametrize("what", ["start", "stop", "restart"])
async def test_a_child_whose_start_or_stop_was_cancelled_anywhere_is_all_there_or_all_gone(
    what: str, new_lab: type[Lab], autojump_clock: MockClock
) -> None:
    for k in count(1):
        lab = new_lab()
        async with lab.system(lab.probe("a"), lab.probe("b", start=1, stop=1)) as system:
            spec = lab.probe("c", start=1)
            operations = {
                "start": methodcaller("start_child", spec),
                "stop": methodcaller("stop_child", "b"),
                "restart": methodcaller("restart_child", "b"),
            }
            hit = await _with_child(system, lab, operations[what], k)
            in_tree = {node.path.rsplit("/", 1)[-1]: node.state for node in system.tree().children}
            assert in_tree == dict.fromkeys(lab.living, "up")
            assert in_tree.keys() == {"start": {"a", "b", "c"}, "stop": {"a"}, "restart": {"a", "b"}}[what]
        assert not lab.living
        if not hit:
            break
    assert k > 3


@pytest.mark.parametrize("every_task", [False, True])
async def test_an_ask_cancelled_anywhere_leaves_the_service_free_for_the_next(
    *, every_task: bool, autojump_clock: MockClock
) -> None:
    for k in count(1):
        clerk = ServiceSpec("clerk", Clerk, mailbox=1)

        async with open_system([clerk]):
            await wait_all_tasks_blocked()
            with CancelAtStep(k, every_task=every_task) as cut:
                assert await clerk.ref.ask(Question(), timeout=30) == "answer"
            await trio.sleep(2)
            assert clerk.ref.pending == 0
            assert await clerk.ref.ask(Question()) == "answer"
        if not cut.hit:
            break


async def test_an_ask_cancelled_before_its_handler_ran_is_skipped(autojump_clock: MockClock) -> None:

    clerk, Clerk.handled = ServiceSpec("clerk", Clerk), 0
    async with open_system([clerk]):
        first = clerk.ref.ask_nowait(Question())
        with CancelAtStep(1):
            await clerk.ref.ask(Question())
        assert await first.wait() == "answer"
        await trio.sleep(5)
    assert Clerk.handled == 1


async def test_a_service_cancelled_anywhere_fails_what_it_owes(autojump_clock: MockClock) -> None:
    """The grace may end at any wait of the service: nobody is left waiting."""
    for grace in (0.0, 0.5, 1.5, 2.5, 5.0):
        clerk = ServiceSpec("clerk", Clerk, grace=grace, drain=True)
        async with open_system([clerk]) as system:
            promises = [clerk.ref.ask_nowait(Question()) for _ in range(3)]
            await wait_all_tasks_blocked()
            await system.stop()
            assert all(promise.done for promise in promises)
        answered = 0
        for promise in promises:
            with suppress(ActorDead):
                answered += promise.result() == "answer"
        assert answered == min(3, int(grace))


async def test_a_send_cancelled_anywhere_was_sent_or_was_not(autojump_clock: MockClock) -> None:

    for k in count(1):
        clerk, Clerk.handled = ServiceSpec("clerk", Clerk, mailbox=1), 0
        sent = 0
        async with open_system([clerk]):
            with CancelAtStep(k) as cut:
                for _ in range(5):
                    await clerk.ref.send(Question())
                    sent += 1
            await trio.sleep(20)
        assert Clerk.handled == sent
        if not cut.hit:
            break
    assert sent == 5
