"""The janitor gives an actor back to each task that has lost it, and carries out what operators ask of the ledger."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
import trio

from flytower.actors.events import DeleteAsked, ForgetAsked
from flytower.actors.janitor import COMMAND_SECONDS, SWEEP_SECONDS, Janitor
from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.service import Ledger
from flytower.actors.ledger.store import LedgerError
from flytower.connectors.category import TaskCategory
from flytower.runtime.spec import ChildSpec
from flytower.runtime.system import open_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, MutableMapping

    from flytower.actors.connector_host import ConnectorHost
    from flytower.actors.directory import Directory
    from flytower.actors.ledger.store import Command

DAY = 86400.0

NOW = 100 * DAY
"""The time on the wall."""

SPARK, DASK = TaskCategory("spark", 0), TaskCategory("dask", 0)


class Host:
    """As much of a connector's host as the janitor knows."""

    def __init__(self, name: str, *orphans: int) -> None:
        self.connector = SimpleNamespace(name=name)
        self.rounds: list[float] = []
        self.told: list[tuple[str, object]] = []
        self._orphans = list(orphans)

    async def resume_orphans(self) -> int:
        self.rounds.append(trio.current_time())
        return self._orphans.pop(0) if self._orphans else 0

    def tell(self, task: str, event: object) -> bool:
        self.told.append((task, event))
        return True


class Office(Ledger):
    """A ledger whose store looks like one that operators can reach; it answers in the same breath."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.failing = False

    async def commands(self) -> list[Command]:
        if self.failing:
            raise LedgerError("the database is away")
        return list(await super().commands())


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def wall() -> float:
    return NOW


@asynccontextmanager
async def at_work(
    hosts: dict[TaskCategory, Host], ledger: Ledger, tasks: dict[str, TaskCategory] | None = None, period: float = 10.0
) -> AsyncIterator[Janitor]:
    entries = {task: SimpleNamespace(category=category) for task, category in (tasks or {}).items()}
    janitors: list[Janitor] = []

    def make() -> Janitor:
        running = cast("dict[TaskCategory, ConnectorHost]", hosts)
        janitors.append(
            Janitor(running, ledger, cast("Directory", entries), lambda: hosts, retention=DAY, period=period, wall=wall)
        )
        return janitors[-1]

    async with open_system([ChildSpec("janitor", make)], rng=random.Random(0)):  # noqa: S311 - seeded
        yield janitors[0]


async def test_every_host_is_visited_once_a_period_until_the_stop(
    autojump_clock: object, logs: list[MutableMapping[str, Any]]
) -> None:
    hosts = {SPARK: Host("spark", 0, 2, 1), DASK: Host("dask")}
    begun = trio.current_time()
    async with at_work(hosts, Office()) as janitor:
        await trio.sleep(35)
        assert "3 orphans adopted" in janitor.inspect("/janitor", trio.current_time()).state
    await trio.sleep(100)
    assert [round(at - begun) for at in hosts[SPARK].rounds] == [10, 20, 30]
    assert hosts[SPARK].rounds == hosts[DASK].rounds
    found = [(entry["connector"], entry["tasks"]) for entry in logs if entry["event"] == "orphans adopted"]
    assert found == [("spark", 2), ("spark", 1)]


async def test_a_stop_is_heeded_at_once(autojump_clock: object) -> None:
    begun = trio.current_time()
    async with at_work({}, Office(), period=3600.0):
        pass
    assert trio.current_time() == begun


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Office:
    """A ledger that operators can reach."""
    office = Office()
    monkeypatch.setattr(Office, "_read", _at_once)
    office.store.blocking = True
    return office


async def _at_once(_ledger: Ledger, read: Any) -> Any:
    return read()


async def test_commands_are_carried_out(office: Office, autojump_clock: object) -> None:
    spark = Host("spark")
    office.store.put([Row("a", 1, "spark", 0, "live"), Row("b", 1, "spark", 0, "live")])
    office.store.post("a", "delete", 1.0)
    office.store.post("b", "forget", 2.0)
    async with at_work({SPARK: spark}, office, {"a": SPARK, "b": SPARK}) as janitor:
        await trio.sleep(COMMAND_SECONDS * 1.5)
        assert "2 commands carried out" in janitor.inspect("/janitor", 0.0).state
    assert spark.told == [("a", DeleteAsked()), ("b", ForgetAsked())]


async def test_a_delete_is_settled_when_the_ledger_has_the_wish_and_not_before(
    office: Office, autojump_clock: object, logs: list[MutableMapping[str, Any]]
) -> None:
    spark = Host("spark")
    office.store.put([Row("a", 1, "spark", 0, "live")])
    office.store.post("a", "delete", 1.0)
    async with at_work({SPARK: spark}, office, {"a": SPARK}) as janitor:
        await trio.sleep(COMMAND_SECONDS * 2.5)
        assert spark.told == [("a", DeleteAsked())] * 2, "until the ledger has it"
        assert len(office.store.commands()) == 1
        assert "1 commands carried out" in janitor.inspect("/janitor", 0.0).state
        office.store.put([Row("a", 2, "spark", 0, "deleting", wish=True)])
        await trio.sleep(COMMAND_SECONDS * 2)
    assert office.store.commands() == []
    assert len(spark.told) == 2
    assert len([entry for entry in logs if entry["event"] == "an operator's command"]) == 1


@pytest.mark.parametrize("stage", ["unknown", "finished"])
async def test_an_earlier_wish_does_not_stand_for_a_delete_of_what_is_over(
    office: Office, autojump_clock: object, stage: str
) -> None:
    spark = Host("spark")
    office.store.put([Row("a", 1, "spark", 0, stage, wish=True)])
    office.store.post("a", "delete", 1.0)
    async with at_work({SPARK: spark}, office, {"a": SPARK}):
        await trio.sleep(COMMAND_SECONDS * 1.5)
    assert spark.told == [("a", DeleteAsked())]


async def test_what_is_forgotten_takes_the_command_with_it(office: Office, autojump_clock: object) -> None:
    """In one transaction: a task that begins anew under the same key must not be forgotten as well."""
    office.store.put([Row("a", 1, "spark", 0, "live")])
    office.store.post("a", "forget", 1.0)
    async with at_work({SPARK: Host("spark")}, office, {"a": SPARK}):
        await trio.sleep(COMMAND_SECONDS * 1.5)
        assert len(office.store.commands()) == 1
        office.store.remove(["a"])
        assert office.store.commands() == []


async def test_a_delete_waits_for_a_server_with_its_connector(office: Office, autojump_clock: object) -> None:
    office.store.put([Row("a", 1, "spark", 0, "live")])
    office.store.post("a", "delete", 1.0)
    office.store.post("gone", "delete", 2.0)
    async with at_work({}, office):
        await trio.sleep(COMMAND_SECONDS * 2.5)
    assert [command.task for command in office.store.commands()] == ["a"]


async def test_what_no_connector_serves_can_be_forgotten(office: Office, autojump_clock: object) -> None:
    office.store.put([Row("a", 1, "spark", 0, "unknown")])
    office.store.post("a", "forget", 1.0)
    async with at_work({}, office):
        await trio.sleep(COMMAND_SECONDS * 1.5)
    assert [entry.row for entry in office._queue] == ["a"]


async def test_a_ledger_that_cannot_be_read_is_read_again_later(
    office: Office, autojump_clock: object, logs: list[MutableMapping[str, Any]]
) -> None:
    office.failing = True
    spark = Host("spark")
    office.store.put([Row("a", 1, "spark", 0, "live")])
    office.store.post("a", "delete", 1.0)
    async with at_work({SPARK: spark}, office, {"a": SPARK}):
        await trio.sleep(COMMAND_SECONDS * 1.5)
        assert [entry["reason"] for entry in logs if "cannot read" in entry["event"]] == ["the database is away"]
        office.failing = False
        await trio.sleep(COMMAND_SECONDS)
    assert len(spark.told) == 1


async def test_nobody_looks_for_commands_in_a_ledger_that_no_operator_can_reach(autojump_clock: object) -> None:
    office = Office()
    office.store.post("a", "forget", 1.0)
    async with at_work({}, office):
        await trio.sleep(COMMAND_SECONDS * 2.5)
    assert len(office.store.commands()) == 1


async def test_what_is_over_goes_after_its_retention_although_no_connector_serves_it(
    office: Office, autojump_clock: object, logs: list[MutableMapping[str, Any]]
) -> None:
    over = NOW - DAY - 1
    office.store.put(
        [
            Row("over", 1, "dask", 0, "finished", ended_at=over),
            Row("over-too", 1, "spark", 1, "deleted", ended_at=over),
            Row("fresh", 1, "dask", 0, "finished", ended_at=NOW - DAY + 1),
            Row("live", 1, "dask", 0, "live", changed_at=over),
            Row("unknown", 1, "dask", 0, "unknown", changed_at=over),
            Row("served", 1, "spark", 0, "finished", ended_at=over),
        ]
    )
    async with at_work({SPARK: Host("spark")}, office):
        await trio.sleep(SWEEP_SECONDS * 1.5)
    assert [entry.row for entry in office._queue] == ["over", "over-too"]
    assert [entry["tasks"] for entry in logs if entry["event"] == "leftovers forgotten"] == [2]
