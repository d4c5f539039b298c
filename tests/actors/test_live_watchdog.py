"""A connector whose coroutine blocks the event loop is named: in the log, and on the metrics page."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

import flytower
from flytower.actors.metrics import Metrics
from flytower.connectors.flavour import Flavour
from tests.actors.live.client import running

LATE = 0.02


@dataclass
class Meta(flytower.ResourceMeta):
    job: str


class Blocking(flytower.AsyncConnectorBase):
    """Its create runs on the loop, and gives it back when it was noticed."""

    name = "Blocking connector"

    def __init__(self, flavour: Flavour) -> None:
        super().__init__(task_type_name="blocking", metadata_type=Meta)
        self.flavour = flavour
        self.noticed = threading.Event()

    async def create(self, task_template: Any, *args: Any, **kwargs: Any) -> Meta:
        while not self.noticed.is_set():
            pass
        return Meta("job")

    async def get(self, resource_meta: Meta, **kwargs: Any) -> flytower.Resource:
        return flytower.Resource(phase=flytower.Phase.RUNNING)

    async def delete(self, resource_meta: Meta, **kwargs: Any) -> None:
        pass


@pytest.mark.parametrize("flavour", [Flavour.TRIO, Flavour.ASYNCIO])
async def test_the_method_that_blocks_is_named(flavour: Flavour, monkeypatch: pytest.MonkeyPatch) -> None:
    connector = Blocking(flavour)
    counted = Metrics.blocked

    def noticed(metrics: Metrics, blockage: Any) -> None:
        counted(metrics, blockage)
        connector.noticed.set()

    monkeypatch.setattr(Metrics, "blocked", noticed)
    with capture_logs() as logs:
        async with running(connector, watchdog=LATE) as client:
            await client.create("blocking", "s3://b/0")
            page = client.node.metrics.render().decode()
            said = [entry for entry in [*client.logs, *logs] if "blocked" in entry["event"]]
    assert 'flytower_loop_blocked_total{culprit="create of Blocking connector"} 1.0' in page
    assert said[0]["culprit"] == "create of Blocking connector"


async def test_a_node_with_a_watchdog_counts_how_late_its_loop_was(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, looked = Metrics.loop_delayed, trio.Event()

    def delayed(metrics: Metrics, seconds: float) -> None:
        counted(metrics, seconds)
        looked.set()

    monkeypatch.setattr(Metrics, "loop_delayed", delayed)
    async with running(Blocking(Flavour.TRIO), watchdog=LATE) as client:
        await looked.wait()
        assert 'flytower_loop_delay_seconds_bucket{le="+Inf"} 0.0' not in client.node.metrics.render().decode()
