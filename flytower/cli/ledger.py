"""`flytower tasks`: what the ledger knows, also while no server runs."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from flytower.actors.ledger.opening import open_to_read
from flytower.actors.ledger.store import LedgerError
from flytower.actors.task import Stage
from flytower.cli.output import meta_to_text, print_json, resource_data
from flytower.cli.table import print_table
from flytower.protocol.generated.flyteidl.admin import Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.setting_sources import load
from flytower.settings import SettingsError, ledger_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flytower.actors.ledger.row import Row
    from flytower.actors.ledger.store import Action, Change, Store

STATES: Final = tuple(stage.value for stage in Stage)
"""What `--state` takes: the stages of a task's life."""

UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

MESSAGE_WIDTH: Final = 60
"""Characters of a task's last message in the list; `show` has all of it."""


def _read_age(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Return the seconds of a length of time: 90, 90s, 15m, 2h, 7d."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no age; write 90s, 15m, 2h or 7d.")
    return float(match[1]) * UNITS[match[2] or "s"]


@click.group(name="tasks", invoke_without_command=True)
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, help="Only tasks in this state; repeatable."
)
@click.option("--type", "task_type", metavar="TYPE", help="Only tasks of this type.")
@click.option("--older-than", callback=_read_age, metavar="AGE", help="Only tasks begun longer ago: 90s, 15m, 2h, 7d.")
@click.option("--newer-than", callback=_read_age, metavar="AGE", help="Only tasks begun since then.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--ledger", metavar="URL", help="The ledger, as `flytower serve` has it.  [FLYTOWER_LEDGER]")
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file.  [FLYTOWER_CONFIG]")
@click.pass_context
def tasks(
    ctx: click.Context,
    *,
    states: tuple[str, ...],
    task_type: str | None,
    older_than: float | None,
    newer_than: float | None,
    as_json: bool,
    ledger: str | None,
    config: Path | None,
) -> None:
    """List the tasks in the ledger, the oldest first; whether or not a server runs.

    `flytower tasks --state unknown` lists those of which nobody knows whether their job exists: look in the external
    system, then `flytower tasks delete` or `forget` them.
    """
    ctx.obj = _url(ledger, config)
    if ctx.invoked_subcommand is not None:
        return
    now = time.time()
    with _opened(ctx.obj) as store:
        rows = sorted(store.rows(), key=lambda row: (row.created_at, row.id))
    rows = [
        row
        for row in rows
        if (not states or row.stage in states)
        and task_type in (None, row.category_name)
        and (older_than is None or now - row.created_at > older_than)
        and (newer_than is None or now - row.created_at <= newer_than)
    ]
    if as_json:
        print_json([_data(row) for row in rows])
    else:
        print_table(("Id", "Type", "State", "Phase", "Deleted", "Age", "Message"), [_listed(row, now) for row in rows])


@tasks.command()
@click.argument("task", metavar="ID")
@click.option(
    "--meta", "with_meta", is_flag=True, help="Print its resource_meta too; some connectors keep secrets there."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(url: str, task: str, *, with_meta: bool, as_json: bool) -> None:
    """Show one task, and all that has happened to it. ID may be the beginning of one."""
    with _opened(url) as store:
        row = _find(store, task)
        history = store.history(row.id)
    data = _data(row)
    if with_meta:
        data["resource_meta"] = None if row.meta is None else meta_to_text(row.meta)
    if as_json:
        print_json({**data, "history": [{**change._asdict(), "phase": Phase(change.phase).name} for change in history]})
        return
    for name, value in data.items():
        click.echo(f"{name.replace('_', ' ')}: {value}")
    click.echo()
    print_table(("Change", "When", "State", "Phase", "Deleted", "Why"), [_change(change) for change in history])


@tasks.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.pass_obj
def delete(url: str, ids: Sequence[str]) -> None:
    """Have tasks deleted, jobs included.

    The wish is left in the ledger. The server that owns it sees to it within seconds, or as soon as it starts; it
    repeats the delete until the external system says that the job is gone.
    """
    _ask(url, ids, "delete")


@tasks.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.pass_obj
def forget(url: str, ids: Sequence[str]) -> None:
    """Have tasks forgotten. Their jobs are left alone, whatever they do: nobody follows or deletes them any more."""
    _ask(url, ids, "forget")


def _ask(url: str, ids: Sequence[str], action: Action) -> None:
    with _opened(url) as store:
        found = [_find(store, task) for task in ids]  # all of them, before anything is asked for
        for row in found:
            store.post(row.id, action, time.time())
    for row in found:
        click.echo(f"{action} {row.id}: asked; the server does it within seconds, or when it starts")


def _url(ledger: str | None, config: Path | None) -> str:
    try:
        return ledger_url(load({"ledger": ledger}, os.environ, config))
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


@contextmanager
def _opened(url: str) -> Iterator[Store]:
    """Open the ledger beside the server that may own it."""
    try:
        store = open_to_read(url)
        try:
            yield store
        finally:
            store.close()
    except LedgerError as error:
        raise click.ClickException(str(error)) from None


def _find(store: Store, task: str) -> Row:
    """Return the one row whose id begins like this."""
    row = store.get(task)
    if row is not None:
        return row
    found = [row for row in store.rows() if row.id.startswith(task)]
    if len(found) == 1:
        return found[0]
    known = "no task" if not found else f"{len(found)} tasks"
    raise click.ClickException(f"The ledger has {known} whose id begins with {task!r}; see `flytower tasks`.")


def _data(row: Row) -> dict[str, Any]:
    resource = Resource.parse(row.resource)
    return {
        "id": row.id,
        "type": row.category_name,
        "version": row.category_version,
        "state": row.stage,
        "phase": Phase(row.phase).name,
        "message": resource_data(resource).get("message", ""),
        "deletion_wanted": row.wish,
        "attempt": row.attempt,
        "generation": row.generation,
        "created": _time(row.created_at),
        "changed": _time(row.changed_at),
    }


def _listed(row: Row, now: float) -> tuple[str, ...]:
    data = _data(row)
    message = " ".join(data["message"].split())
    if len(message) > MESSAGE_WIDTH:
        message = message[: MESSAGE_WIDTH - 1] + "…"
    kind = row.category_name if not row.category_version else f"{row.category_name} ({row.category_version})"
    return (row.id, kind, row.stage, data["phase"], "wanted" if row.wish else "", _age(now - row.created_at), message)


def _change(change: Change) -> tuple[str, ...]:
    wanted = "wanted" if change.wish else ""
    return (str(change.seq), _time(change.at), change.stage, Phase(change.phase).name, wanted, change.note)


def _time(seconds: float) -> str:
    """Return a time in UTC, for people and for JSON."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else ""


def _age(seconds: float) -> str:
    """Return how long ago, in the largest unit that fits."""
    unit = next((unit for unit in "dhm" if seconds >= UNITS[unit]), "s")
    return f"{max(0.0, seconds) / UNITS[unit]:.0f}{unit}"
