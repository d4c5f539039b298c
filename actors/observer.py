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
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from flytower.actors.http import HttpServer, Reply, open_http_server, text_reply
from flytower.actors.metrics import CONTENT_TYPE
from flytower.runtime.tree import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

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

    version: str
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


# ---- the page -------------------------------------------------------------------------------------------------

STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--dim:#8889;--good:#2a8a4a;--bad:#c33}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}
p{margin:.2rem 0;color:var(--dim)}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
td.path{font-family:ui-monospace,monospace;font-size:.9em;white-space:pre}
.good{color:var(--good)}.bad{color:var(--bad)}
"""


def status_page(views: Views) -> Iterator[str]:
    """Yield the status page piece by piece. Every value that is not ours is escaped."""
    root = views.tree()
    serving = views.serving()
    state = '<span class="good">serving</span>' if serving else '<span class="bad">not serving</span>'
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Flytower</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
    yield f"<h1>Flytower {escape(views.version)}: {state}</h1><p>up for {duration(root.age)}</p>"
    yield from _section("Connectors", ("Name", "Task types (version)", "Kind"), _connector_rows(views.connectors()))
    yield from _section("Live tasks", ("Task type", "Phase", "#Tasks"), _task_rows(views.tasks()))
    yield from _section("Actors", ("Actor", "Class", "State", "#Mailbox", "#Restarts", "#Age"), _actor_rows(root, ""))
    yield '<p><a href="/metrics">metrics</a> &middot; <a href="/tree.json">tree.json</a> &middot; '
    yield '<a href="/tasks.json">tasks.json</a></p></body></html>'


def duration(seconds: float) -> str:
    """Return a length of time for a person: "3 d 4 h", "4 h 5 min", "12.3 s"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _connector_rows(connectors: Iterable[ConnectorView]) -> Iterator[Sequence[object]]:
    for view in connectors:
        yield view.name, ", ".join(view.task_types), "sync" if view.is_sync else "async"


def _task_rows(tasks: Mapping[tuple[str, str], int]) -> Iterator[Sequence[object]]:
    for (task_type, phase), count in sorted(tasks.items()):
        yield task_type, phase, count


def _actor_rows(node: Node, indent: str) -> Iterator[Sequence[object]]:
    name = node.path.rsplit("/", 1)[-1] or node.path
    yield f"{indent}{name}", node.kind, node.state, node.mailbox, node.restarts, duration(node.age)
    for child in node.children[:MAX_CHILDREN]:
        yield from _actor_rows(child, indent + "    ")
    if len(node.children) > MAX_CHILDREN:
        yield f"{indent}    ... and {len(node.children) - MAX_CHILDREN} more", "", "", "", "", ""


def _section(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield a table. A column whose title begins with # holds figures; the first column of actors keeps its indent."""
    yield f"<h2>{title}</h2><table><tr>"
    for column in columns:
        yield f'<th class="n">{column[1:]}</th>' if column.startswith("#") else f"<th>{column}</th>"
    yield "</tr>"
    empty = True
    for row in rows:
        empty = False
        yield "<tr>" + "".join(_cell(column, value) for column, value in zip(columns, row, strict=True)) + "</tr>"
    yield "</table>" + ("<p>none</p>" if empty else "")


def _cell(column: str, value: object) -> str:
    kind = "n" if column.startswith("#") else "path" if column == "Actor" else ""
    return f"<td{f' class={kind}' if kind else ''}>{escape(str(value))}</td>"
