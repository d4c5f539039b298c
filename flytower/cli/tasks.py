"""`flytower submit`, `get`, `delete`, `logs`, `connectors`: a client of any connector server."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

import click

from flytower.cli.output import meta_to_text, print_json
from flytower.cli.params import read_custom, read_endpoint, read_inputs, read_meta
from flytower.cli.session import Session, run_session
from flytower.cli.table import print_table
from flytower.cli.template import template_and_inputs
from flytower.protocol.client import DEFAULT_TIMEOUT
from flytower.protocol.generated.flyteidl import admin

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_ENDPOINT: Final = "127.0.0.1:8000"
"""Where `flytower serve` listens unless told otherwise."""

Endpoint = tuple[str, int]

task_type_argument = click.argument("task_type", metavar="TYPE")
meta_argument = click.argument("meta", metavar="RESOURCE_META", callback=read_meta)
version_option = click.option("--version", "type_version", default=0, show_default=True, help="Of the task type.")
wait_option = click.option("--wait", is_flag=True, help="Wait for the end; exit with 1 unless the task succeeds.")
timeout_option = click.option("--timeout", default=DEFAULT_TIMEOUT, show_default=True, help="Seconds for one request.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
endpoint_option = click.option(
    "--endpoint",
    envvar="FLYTOWER_ENDPOINT",
    default=DEFAULT_ENDPOINT,
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    callback=read_endpoint,
    help="The server.",
)


@click.command()
@task_type_argument
@click.argument("args", nargs=-1, metavar="[-- ARGS...]")
@version_option
@click.option("--custom", callback=read_custom, default="{}", metavar="JSON|@FILE", help="The task's configuration.")
@click.option(
    "--input", "inputs", callback=read_inputs, multiple=True, metavar="NAME=VALUE", help="An input, the value as JSON."
)
@click.option("--output-prefix", help="Where outputs go, and what identifies the task.  [a fresh one]")
@wait_option
@endpoint_option
@timeout_option
@json_option
def submit(
    task_type: str,
    args: Sequence[str],
    type_version: int,
    custom: dict[str, Any],
    inputs: dict[str, Any],
    output_prefix: str | None,
    endpoint: Endpoint,
    timeout: float,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Create a task of TYPE, and print its resource_meta, with which `get`, `delete` and `logs` find it.

    ARGS become the arguments of the task's container: `flytower submit shell -- echo hello`. A task whose connector is
    synchronous is executed, and its result printed.
    """
    category = admin.TaskCategory(name=task_type, version=type_version)
    template, literals = template_and_inputs(f"flytower.submit.{task_type}", category, args, custom, inputs)
    header = admin.CreateRequestHeader(template=template, output_prefix=output_prefix or _fresh_prefix())

    async def use(session: Session) -> int:
        if await session.is_sync(template):
            return await session.execute(header, literals if inputs else None)
        meta = await session.create(header, literals if inputs else None)
        if wait:
            click.echo(f"created {meta_to_text(meta)}", err=True)
            return await session.wait(category, meta)
        if as_json:
            print_json({"task_type": task_type, "version": type_version, "resource_meta": meta})
        else:
            click.echo(meta_to_text(meta))
        return 0

    run_session(endpoint, timeout, use, as_json=as_json)


@click.command()
@task_type_argument
@meta_argument
@version_option
@wait_option
@endpoint_option
@timeout_option
@json_option
def get(
    task_type: str, meta: bytes, type_version: int, endpoint: Endpoint, timeout: float, *, wait: bool, as_json: bool
) -> None:
    """Print where a task stands."""
    category = admin.TaskCategory(name=task_type, version=type_version)

    async def use(session: Session) -> int:
        if wait:
            return await session.wait(category, meta)
        session.show(await session.get(category, meta))
        return 0

    run_session(endpoint, timeout, use, as_json=as_json)


@click.command()
@task_type_argument
@meta_argument
@version_option
@endpoint_option
@timeout_option
def delete(task_type: str, meta: bytes, type_version: int, endpoint: Endpoint, timeout: float) -> None:
    """End a task."""
    category = admin.TaskCategory(name=task_type, version=type_version)

    async def use(session: Session) -> int:
        await session.delete(category, meta)
        return 0

    run_session(endpoint, timeout, use)


@click.command()
@task_type_argument
@meta_argument
@version_option
@click.option("--lines", default=0, help="At most so many; 0 for all that there are.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the task has ended.")
@endpoint_option
@timeout_option
def logs(
    task_type: str, meta: bytes, type_version: int, lines: int, endpoint: Endpoint, timeout: float, *, follow: bool
) -> None:
    """Print a task's log."""
    category = admin.TaskCategory(name=task_type, version=type_version)

    async def use(session: Session) -> int:
        await session.print_log(category, meta, lines, follow=follow)
        return 0

    run_session(endpoint, timeout, use)


@click.command()
@endpoint_option
@timeout_option
@json_option
def connectors(endpoint: Endpoint, timeout: float, *, as_json: bool) -> None:
    """List the connectors that a server has."""

    async def use(session: Session) -> int:
        found = [(agent.name, _types(agent), agent.is_sync) for agent in await session.agents()]
        if as_json:
            print_json([{"name": name, "task_types": types, "is_sync": is_sync} for name, types, is_sync in found])
        else:
            rows = [(name, ", ".join(types), "sync" if is_sync else "async") for name, types, is_sync in found]
            print_table(("Connector", "Task types (version)", "Kind"), rows)
        return 0

    run_session(endpoint, timeout, use)


def _fresh_prefix() -> str:
    """Name a place that nobody else has. Its last component is the attempt, as in what Flyte sends."""
    return f"/tmp/flytower/{uuid.uuid4().hex}/0"  # noqa: S108 - a name; whether anything is written there is the job's affair


def _types(agent: admin.Agent) -> list[str]:
    """Return the task types with their versions; servers older than categories give names alone."""
    categories = [f"{category.name} ({category.version})" for category in agent.supported_task_categories]
    return categories or list(agent.supported_task_types)
