"""The observer actor: what a node shows over HTTP.

| path | for whom | what |
|---|---|---|
| `/` | a person | the status page: connectors, live tasks, the actor tree; no script |
| `/metrics` | Prometheus | `flytower.actors.metrics` |
| `/healthz` | a liveness probe | 200 while the process runs its event loop |
| `/readyz` | a readiness probe | 200 while the node takes calls, 503 when it starts or drains |
| `/tree.json` | scripts | the actor tree |
| `/tasks.json` | scripts | the live tasks |

It knows nothing of the gateway or of tasks: all that it shows it is given as functions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from flytower.actors.http import HttpServer, Reply, open_http_server, text_reply
from flytower.actors.metrics import CONTENT_TYPE
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from flytower.runtime.context import Context

MAX_CHILDREN: Final = 200
"""Children of one actor that are shown. A host has a child per task, and 50,000 of them are 10 MB that nobody reads."""

MAX_TASKS: Final = 1000
"""Tasks in `/tasks.json`: some 300 kB, made between two frames of the gRPC server."""


METRICS: Final = "/metrics"
"""Where Prometheus looks unless it is told otherwise; the one page that takes more than a turn of the loop."""


class ConnectorView(NamedTuple):
    """A connector as people know it.

    Args:
        name: What ListAgents calls it.
        task_types: Each task type with its version, "spark (1)".
        is_sync: Whether it answers in a single call.
    """

    name: str
    task_types: Sequence[str]
    is_sync: bool


class Views(NamedTuple):
    """Where an observer gets what it shows. All are called on the event loop; all but `metrics` return at once.

    Args:
        version: Of this program.
        metrics: Makes Prometheus' text format, and lets others run meanwhile.
        serving: Whether the node takes calls.
        tree: What runs.
        connectors: What is served.
        tasks: How many tasks are live, by (task type, phase).
        task_rows: Live tasks, at most as many as it is told, as data that JSON can say.
    """

    version: Callable[[], str]
    metrics: Callable[[], Awaitable[bytes]]
    serving: Callable[[], bool]
    tree: Callable[[], Node]
    connectors: Callable[[], Iterable[ConnectorView]]
    tasks: Callable[[], Mapping[tuple[str, str], int]]
    task_rows: Callable[[int], Iterable[Mapping[str, object]]]


class Observer:
    """Serves the pages; a child of the node.

    Args:
        views: What it shows.
        address: The host and port to listen on; port 0 picks one.
        listening: Takes the address that it listens on, so that a restarted observer comes up on the same port.
    """

    def __init__(
        self,
        views: Views,
        address: tuple[str, int],
        listening: Callable[[Observer, tuple[str, int]], object] = lambda _observer, _address: None,
    ) -> None:
        self.address = address
        self._views = views
        self._listening = listening
        self._server: HttpServer | None = None
        self._started = trio.current_time()
        self._pages: dict[str, Callable[[], Reply]] = {
            "/": self._status_page,
            "/healthz": lambda: text_reply(200, "ok"),
            "/readyz": self._readiness,
            "/tree.json": lambda: _json(tree_data(views.tree())),
            "/tasks.json": lambda: _json({"tasks": list(views.task_rows(MAX_TASKS))}),
        }

    async def run(self, context: Context) -> None:
        """Serve until the stop; an answer that is under way still leaves."""
        async with open_http_server(self.answer, *self.address) as server:
            self._server, self.address = server, server.address
            self._listening(self, server.address)
            context.ready()
            await context.stop_requested.wait()
        self._server = None

    async def answer(self, path: str) -> Reply:
        """Return the page at `path`."""
        if path == METRICS:
            return Reply(200, await self._views.metrics(), CONTENT_TYPE)
        page = self._pages.get(path)
        if page is None:
            return text_reply(404, f"There is no such page; there are {', '.join([*self._pages, METRICS])}.")
        return page()

    def inspect(self, path: str, now: float) -> Node:
        """Describe itself."""
        age = now - self._started
        if self._server is None:
            return Node(path, "Observer", "closed", age=age)
        return Node(path, "Observer", f"serving {self._server.connections} connections", age=age)

    def _readiness(self) -> Reply:
        return text_reply(200, "ready") if self._views.serving() else text_reply(503, "not serving")

    def _status_page(self) -> Reply:
        from flytower.actors.status_page import status_page  # noqa: PLC0415 - HTML's table of entities, for people only

        return Reply(200, "".join(status_page(self._views)).encode(), "text/html; charset=utf-8")


def _json(data: object) -> Reply:
    # `default=str` because a row may hold an enum or a time, and a status page must not fail for that.
    return Reply(200, json.dumps(data, default=str).encode(), "application/json")


def tree_data(node: Node) -> dict[str, object]:
    """Return the tree as data for JSON; where an actor has more than `MAX_CHILDREN`, "more" counts the others."""
    data: dict[str, object] = {
        "path": node.path,
        "kind": node.kind,
        "state": node.state,
        "mailbox": node.mailbox,
        "restarts": node.restarts,
        "age": round(node.age, 3),
    }
    if node.children:
        data["children"] = [tree_data(child) for child in node.children[:MAX_CHILDREN]]
    if len(node.children) > MAX_CHILDREN:
        data["more"] = len(node.children) - MAX_CHILDREN
    return data
