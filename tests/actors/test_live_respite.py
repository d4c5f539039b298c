"""An external system that wants to be left alone is left alone, whoever is restarted meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flytower.actors.ledger.service import Ledger
from flytower.actors.ledger.store import LedgerError
from flytower.actors.respites import LONGEST, NEWS, SHORTEST, LastingRespite
from flytower.connectors.errors import RetryLater
from tests.actors.external_system import ExternalSystem
from tests.actors.live.client import Client, FlakyStore, running
from tests.actors.live.connectors import NeitherConnector

if TYPE_CHECKING:
    from trio.testing import MockClock

    from flytower.actors.ledger.memory import MemoryStore

CATEGORY = ("neither", 0)

HOUR = 3600.0


async def told_to_wait(client: Client, system: ExternalSystem) -> int:
    """Have the external system answer a poll with a wish for an hour of rest; return how often it was polled."""
    await client.create("neither")
    system.expect("get", RetryLater("HTTP 429", after=HOUR))
    await trio.sleep(60)
    return system.count("get")


async def test_a_server_that_is_restarted_asks_no_sooner(autojump_clock: MockClock) -> None:
    """What is left of the hour is counted on the wall clock, which stands still here."""
    system, store = ExternalSystem(), FlakyStore()
    async with running(NeitherConnector(system), store=store) as client:
        polls = await told_to_wait(client, system)
    async with running(NeitherConnector(system), store=store):
        await trio.sleep(HOUR - 60)
        assert system.count("get") == polls
        await trio.sleep(600)
    assert system.count("get") > polls


async def test_a_connector_s_host_that_is_restarted_asks_no_sooner(autojump_clock: MockClock) -> None:
    async def boom() -> None:
        raise RuntimeError("boom")

    system = ExternalSystem()
    async with running(NeitherConnector(system)) as client:
        polls = await told_to_wait(client, system)
        nursery = client.host("neither").lanes[0]._nursery
        assert nursery is not None
        nursery.start_soon(boom)
        await trio.sleep(HOUR - 120)
        assert sum(node.restarts for node in client.node.tree().walk()) == 1
        assert system.count("get") == polls


class Wall:
    """A wall clock."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def written(store: MemoryStore, wall: Wall, *asked: float) -> list[float]:
    """Return what the ledger says after each wish of the external system, which are a second apart."""
    respite, found = LastingRespite(Ledger(store), CATEGORY, wall), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(respite.write_for_ever)
        for seconds in asked:
            respite.asked(trio.current_time(), seconds)
            await wait_all_tasks_blocked()
            found.append(store.respite(CATEGORY))
        nursery.cancel_scope.cancel()
    return found


async def test_a_longer_one_is_written_and_what_is_no_news_or_soon_over_is_not(autojump_clock: MockClock) -> None:
    wishes = (SHORTEST - 1, HOUR, HOUR / 2, HOUR + NEWS / 2, 2 * HOUR)
    found = await written(FlakyStore(), Wall(), *wishes)
    assert found == [0.0, 1000 + HOUR, 1000 + HOUR, 1000 + HOUR, 1000 + 2 * HOUR]


async def test_what_is_left_of_one_counts_after_the_restart(autojump_clock: MockClock) -> None:
    store, wall = FlakyStore(), Wall()
    await written(store, wall, HOUR)
    wall.now += HOUR - 10
    respite = LastingRespite(Ledger(store), CATEGORY, wall)
    await respite.recall()
    assert respite.left(trio.current_time()) == pytest.approx(10)
    wall.now += 10
    other = LastingRespite(Ledger(store), CATEGORY, wall)
    await other.recall()
    assert other.left(trio.current_time()) == 0.0


async def test_a_clock_that_was_wrong_silences_a_connector_for_a_day_at_most(autojump_clock: MockClock) -> None:
    store, wall = FlakyStore(), Wall()
    await written(store, wall, HOUR)
    wall.now -= 100 * LONGEST
    respite = LastingRespite(Ledger(store), CATEGORY, wall)
    await respite.recall()
    assert respite.left(trio.current_time()) == LONGEST


async def test_a_ledger_that_cannot_write_it_ends_nothing_and_the_next_wish_is_written(
    autojump_clock: MockClock,
) -> None:
    class Full(FlakyStore):
        def note_respite(self, category: tuple[str, int], until: float) -> None:
            self._check()
            super().note_respite(category, until)

    store = Full()
    store.failing = True
    with pytest.raises(LedgerError):
        store.note_respite(CATEGORY, 1.0)
    respite = LastingRespite(Ledger(store), CATEGORY, Wall())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(respite.write_for_ever)
        respite.asked(trio.current_time(), HOUR)
        await wait_all_tasks_blocked()
        assert store.respite(CATEGORY) == 0.0
        store.failing = False
        respite.asked(trio.current_time(), HOUR)
        await wait_all_tasks_blocked()
        assert store.respite(CATEGORY) == 1000 + HOUR
        nursery.cancel_scope.cancel()
