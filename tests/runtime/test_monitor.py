from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flytower.runtime.address import Address
from flytower.runtime.dead_letters import DeadLetters
from flytower.runtime.exits import NORMAL, ExitKind, stopped
from flytower.runtime.monitor import Down
from flytower.runtime.service import Service
from flytower.runtime.spec import Restart, ServiceSpec

Lab = Any  # conftest's; tests cannot import it


async def test_a_monitor_is_told_once_when_the_actor_ends_and_why(lab: Lab, autojump_clock: MockClock) -> None:
    spec = lab.probe("a", restart=Restart.TEMPORARY)
    news: list[Down] = []
    async with lab.system(spec):
        spec.address.monitor(news.append)
        lab.crash("a", OSError("broken"))
        await wait_all_tasks_blocked()
    assert [(down.path, str(down.exit)) for down in news] == [("/node/a", "crashed: OSError: broken")]


async def test_a_monitor_of_the_dead_is_told_at_once(lab: Lab, autojump_clock: MockClock) -> None:
    spec = lab.probe("a")
    news: list[Down] = []
    async with lab.system(spec):
        pass
    spec.address.monitor(news.append)
    assert news[0].exit.kind is ExitKind.STOPPED


async def test_a_restart_is_no_end(lab: Lab, autojump_clock: MockClock) -> None:
    spec = lab.probe("a")
    news: list[Down] = []
    async with lab.system(spec):
        spec.address.monitor(news.append)
        lab.crash("a")
        await trio.sleep(5)
        assert news == []
    assert len(news) == 1


async def test_a_cancelled_monitor_is_not_told_and_cancelling_late_does_no_harm() -> None:
    address = Address("a")
    news: list[Down] = []
    monitor = address.monitor(news.append)
    monitor.cancel()
    address.close(NORMAL)
    monitor.cancel()
    assert news == []


async def test_a_monitor_that_raises_is_logged_and_hurts_no_other(logs: list[dict[str, Any]]) -> None:
    address = Address("a")
    news: list[Down] = []

    def broken(_: Down) -> None:
        raise ValueError("broken")

    address.monitor(broken)
    address.monitor(news.append)
    address.close(NORMAL)
    assert news == [Down("a", NORMAL)]
    assert [(entry["event"], entry["of"]) for entry in logs] == [("a monitor raised", "a")]


async def test_a_service_can_be_told_as_a_message(lab: Lab, autojump_clock: MockClock) -> None:
    heard: list[Down] = []

    class Watcher(Service[Down]):
        async def handle(self, message: Down) -> None:
            heard.append(message)

    watcher, spec = ServiceSpec("watcher", Watcher), lab.probe("a", restart=Restart.TEMPORARY)
    async with lab.system(watcher, spec):
        spec.address.monitor(watcher.ref)
        lab.end("a")
        await wait_all_tasks_blocked()
    assert heard == [Down("/node/a", NORMAL)]


async def test_terminated_waits_for_the_end_and_returns_how(autojump_clock: MockClock) -> None:
    address = Address("a")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def end() -> None:
            await trio.sleep(3)
            address.close(stopped("in time"))

        assert await address.terminated() == stopped("in time")
        assert trio.current_time() == 3
    assert await address.terminated() == stopped("in time")


async def test_giving_up_the_wait_leaves_no_monitor_behind(autojump_clock: MockClock) -> None:
    address = Address("a")
    with trio.move_on_after(1):
        await address.terminated()
    assert len(address._monitors) == 0


def test_an_address_tells_a_human_where_and_how_it_is() -> None:
    address = Address("a")
    assert (repr(address), address.pending) == ("<Address a open>", 0)
    address.attach("/node/a", DeadLetters())
    address.seal(stopped("soon"))
    assert repr(address) == "<Address /node/a ending>"
    address.close(stopped("now"))
    assert repr(address) == "<Address /node/a stopped: now>"
