"""The status page: what runs, for a person."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from flytower.actors.observer import MAX_CHILDREN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from flytower.actors.observer import ConnectorView, Views
    from flytower.runtime.tree import Node

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
    yield f"<h1>Flytower {escape(views.version())}: {state}</h1><p>up for {duration(root.age)}</p>"
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
