"""The janitor gives an actor back to each task that has lost it, round after round."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
import trio

from flytower.actors.janitor import Janitor
from flytower.runtime.spec import ChildSpec
from flytower.runtime.system import open_system

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from flytower.actors.connector_host import ConnectorHost


class Host:
    """As much of a connector's host as the janitor knows."""

    def __init__(self, name: str, *orphans: int) -> None:
        self.connector = SimpleNamespace(name=name)
        self.rounds: list[float] = []
        self._orphans = list(orphans)

    def resume_orphans(self) -> int:
        self.rounds.append(trio.current_time())
        return self._orphans.pop(0) if self._orphans else 0


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


async def test_every_host_is_visited_once_a_period_until_the_stop(
    autojump_clock: object, logs: list[MutableMapping[str, Any]]
) -> None:
    hosts = [Host("spark", 0, 2, 1), Host("dask")]
    janitors: list[Janitor] = []

    def make() -> Janitor:
        janitors.append(Janitor(lambda: cast("list[ConnectorHost]", hosts), period=10.0))
        return janitors[-1]

    begun = trio.current_time()
    async with open_system([ChildSpec("janitor", make)], rng=random.Random(0)):  # noqa: S311 - seeded
        await trio.sleep(35)
        assert janitors[0].inspect("/janitor", trio.current_time()).state == "3 orphans adopted"
    await trio.sleep(100)
    assert [round(at - begun) for at in hosts[0].rounds] == [10, 20, 30]
    assert hosts[0].rounds == hosts[1].rounds
    found = [(entry["connector"], entry["tasks"]) for entry in logs if entry["event"] == "orphans adopted"]
    assert found == [("spark", 2), ("spark", 1)]


async def test_a_stop_is_heeded_at_once(autojump_clock: object) -> None:
    janitor = Janitor(list, period=3600.0)
    async with open_system([ChildSpec("janitor", lambda: janitor)], rng=random.Random(0)) as system:  # noqa: S311 - seeded
        begun = trio.current_time()
        await system.stop()
    assert trio.current_time() == begun
    assert janitor.inspect("/janitor", begun).state == "0 orphans adopted"
