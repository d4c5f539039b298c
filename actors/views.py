"""What the observer shows of a node."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import TYPE_CHECKING

import trio

from flytower.actors.observer import ConnectorView, Views

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flytower.actors.node import Node

DISTRIBUTION = "flytower"
"""What the package is called where it was installed from."""


def views_of(node: Node) -> Views:
    """Say where the observer of a node gets what it shows."""
    return Views(
        version=installed_version,
        metrics=node.metrics.render_in_turns,
        serving=lambda: node.serving,
        tree=node.tree,
        connectors=lambda: _connectors(node),
        tasks=node.directory.census,
        task_rows=lambda most: _task_rows(node, most),
    )


def watch(node: Node) -> None:
    """Have a node's gauges read at each scrape."""
    node.metrics.watch(
        tasks=node.directory.census,
        tree=node.summary,
        connections=lambda: node.connections,
        calls_in_flight=lambda: node.calls_in_flight,
        dead_letters=lambda: node.dead_letters,
        ledger_failing=lambda: int(node.ledger.trouble is not None),
    )


def installed_version() -> str:
    """Return the version of the installed distribution; "unknown" in a tree that was never installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def _connectors(node: Node) -> Iterable[ConnectorView]:
    for agent in node.config.registry.list_connectors():
        types = [f"{category.name} ({category.version})" for category in agent.supported_task_categories]
        yield ConnectorView(agent.name, types, agent.is_sync)


def _task_rows(node: Node, most: int) -> Iterable[Mapping[str, object]]:
    now = trio.current_time()
    for entry in islice(node.directory.entries(), most):
        yield {
            "id": entry.task,
            "type": entry.category.name,
            "version": entry.category.version,
            "phase": entry.phase.name if entry.phase is not None else None,
            "attempt": entry.state.attempt,
            "generation": entry.state.generation,
            "seconds_since_read": round(now - entry.read_at, 3) if entry.read else None,
        }
