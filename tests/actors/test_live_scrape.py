"""A scrape of a node with many tasks: as quick as with few, and exact."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from prometheus_client.parser import text_string_to_metric_families

import flytower.actors
import flytower.runtime
from flytower.runtime.host import INSPECT_LIMIT
from tests.actors.census import recount
from tests.actors.external_system import ExternalSystem, Weather
from tests.actors.live.client import Client, running
from tests.actors.live.connectors import NeitherConnector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

OURS = tuple(str(Path(package.__file__).parent) for package in (flytower.actors, flytower.runtime) if package.__file__)

MANY = INSPECT_LIMIT + 100
"""Tasks; the tree names no more than the limit."""


@contextmanager
def steps() -> Iterator[list[str]]:
    """Count how often a function or a generator of ours is entered."""
    taken: list[str] = []

    def look(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            taken.append(frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield taken
    finally:
        sys.setprofile(before)


def samples(client: Client) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.node.metrics.render().decode())
        for sample in family.samples
    }


async def create(client: Client, count: int) -> None:
    for number in range(count):
        await client.create("neither", f"s3://bucket/{len(client.stages('neither'))}/{number}")


async def test_a_scrape_takes_no_more_steps_with_many_tasks_than_with_one(autojump_clock: MockClock) -> None:
    async with running(NeitherConnector(ExternalSystem())) as client:
        await create(client, 1)
        await trio.sleep(60)
        client.node.metrics.render()
        with steps() as few:
            client.node.metrics.render()
        await create(client, MANY)
        await trio.sleep(60)
        with steps() as many:
            client.node.metrics.render()
    assert few
    assert many == few


async def test_a_task_of_which_nobody_knows_is_counted_as_such_until_somebody_has_looked_after_it(
    autojump_clock: MockClock,
) -> None:
    system = ExternalSystem()
    system.expect("create", Weather.LOST)
    async with running(NeitherConnector(system)) as client:
        meta = await client.create("neither", "s3://bucket/it/0")
        assert client.node.directory.census() == recount(client.node.directory) == {("neither", "UNKNOWN"): 1}
        await client.delete("neither", meta)
        assert client.node.directory.census() == recount(client.node.directory) == {("neither", "FAILED"): 1}


async def test_each_task_is_counted_and_each_restart_once_however_many_there_are(autojump_clock: MockClock) -> None:
    async with running(NeitherConnector(ExternalSystem())) as client:
        await create(client, MANY)
        await trio.sleep(60)
        host = client.host("neither")._host
        first, *_, last = host.keys()
        for key, crashes in ((first, 1), (last, 2)):
            for _ in range(crashes):
                host.tell(key, "no event at all")
        for gone in range(2):  # whose place in the tree is then another's
            found = samples(client)
            assert found["flytower_tasks", "RUNNING", "neither"] == MANY - gone
            assert found["flytower_actors", "TaskBehaviour"] == MANY - gone
            assert found["flytower_restarts_total", "TaskBehaviour"] == 3
            host.stop_entity(first, "as if it were over")
