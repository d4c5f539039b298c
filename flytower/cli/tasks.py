"""`flytower submit`, `get`, `delete`, `logs`, `connectors`: a client of any connector server."""

from __future__ import annotations

import json
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import trio

from flytower.cli.output import (
    meta_to_text,
    print_json,
    print_resource,
    print_table,
    resource_data,
    text_to_meta,
)
from flytower.connectors.resource import TaskExecution, is_terminal
from flytower.protocol.client import DEFAULT_TIMEOUT, Client, open_client
from flytower.protocol.codec import CodecError, dict_to_struct
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import Container, Identifier, TaskTemplate
from flytower.protocol.literals import LiteralError, to_literal_map
from flytower.protocol.status import RpcError, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

FAILED: Final = 1
"""The exit code when a task or a request failed; 2 is click's for a wrong command line."""

UNREACHABLE: Final = 3
"""The exit code when the server cannot be reached, or does not answer."""

DEFAULT_ENDPOINT: Final = "127.0.0.1:8000"

FIRST_LOOK, LONGEST_LOOK = 0.2, 2.0
"""Seconds between two looks at a task that is waited for: at once for a short one, seldom for a long one."""

connection = click.option(
    "--endpoint",
    envvar="FLYTOWER_ENDPOINT",
    default=DEFAULT_ENDPOINT,
    show_default=True,
    metavar="HOST:PORT",
    help="The server.",
)
seconds = click.option("--timeout", default=DEFAULT_TIMEOUT, show_default=True, help="Seconds for one request.")
machine = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
version_of_type = click.option("--version", "type_version", default=0, show_default=True, help="Of the task type.")


class MetaType(click.ParamType):
    """A resource_meta as `submit` prints it."""

    name = "resource_meta"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Return the bytes."""
        if isinstance(value, bytes):
            return value
        try:
            return text_to_meta(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class InputType(click.ParamType):
    """An input: NAME=VALUE, the value as JSON, or as it is when it is none."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Return the name and the Python value."""
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not (name and equals):
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        try:
            return name, json.loads(text)
        except ValueError:
            return name, text


class CustomType(click.ParamType):
    """A task's `custom`: a JSON object, or @FILE with one."""

    name = "json|@file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Return the object."""
        if isinstance(value, dict):
            return value
        try:
            text = Path(value[1:]).read_text(encoding="utf-8") if value.startswith("@") else value
            data = json.loads(text)
        except (OSError, ValueError) as error:
            self.fail(str(error), param, ctx)
        if not isinstance(data, dict):
            self.fail(f"must be a JSON object, not {text!r}", param, ctx)
        return data


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("task_type", metavar="TYPE")
@click.argument("args", nargs=-1, metavar="[-- ARGS...]")
@version_of_type
@click.option("--custom", type=CustomType(), default="{}", help="The task's configuration.")
@click.option("--input", "inputs", type=InputType(), multiple=True, help="An input, VALUE as JSON; repeatable.")
@click.option("--output-prefix", help="Where outputs go, and what identifies the task.  [a fresh one]")
@click.option("--wait", is_flag=True, help="Wait for the end; exit with 1 unless the task succeeds.")
@connection
@seconds
@machine
def submit(endpoint: str, timeout: float, **options: Any) -> None:
    """Create a task of TYPE, and print its resource_meta, with which `get`, `delete` and `logs` find it.

    ARGS become the arguments of the task's container: `flytower submit shell -- echo hello`. A task whose connector is
    synchronous is executed, and its result printed.
    """
    try:
        header = _header(**options)
        inputs = to_literal_map(dict(options["inputs"])) if options["inputs"] else None
    except (LiteralError, CodecError) as error:
        raise click.UsageError(str(error)) from None

    async def run(client: Client) -> int:
        if await _is_sync(client, header.template or TaskTemplate(), timeout):
            return await _execute(client, header, inputs, timeout, as_json=options["as_json"])
        request = admin.CreateTaskRequest(inputs=inputs, template=header.template, output_prefix=header.output_prefix)
        meta = (await client.create_task(request, timeout=timeout)).resource_meta
        category = _category(options["task_type"], options["type_version"])
        if options["wait"]:
            click.echo(f"created {meta_to_text(meta)}", err=True)
            return await _wait(client, category, meta, timeout, as_json=options["as_json"])
        if options["as_json"]:
            print_json({"task_type": category.name, "version": category.version, "resource_meta": meta})
        else:
            click.echo(meta_to_text(meta))
        return 0

    _run(endpoint, run)


@click.command()
@click.argument("task_type", metavar="TYPE")
@click.argument("meta", metavar="RESOURCE_META", type=MetaType())
@version_of_type
@click.option("--wait", is_flag=True, help="Wait for the end; exit with 1 unless the task succeeds.")
@connection
@seconds
@machine
def get(
    task_type: str, meta: bytes, type_version: int, endpoint: str, timeout: float, *, wait: bool, as_json: bool
) -> None:
    """Print where a task stands."""
    category = _category(task_type, type_version)

    async def run(client: Client) -> int:
        if wait:
            return await _wait(client, category, meta, timeout, as_json=as_json)
        _print(await _get(client, category, meta, timeout), as_json=as_json)
        return 0

    _run(endpoint, run)


@click.command()
@click.argument("task_type", metavar="TYPE")
@click.argument("meta", metavar="RESOURCE_META", type=MetaType())
@version_of_type
@connection
@seconds
def delete(task_type: str, meta: bytes, type_version: int, endpoint: str, timeout: float) -> None:
    """End a task."""
    request = admin.DeleteTaskRequest(
        task_type=task_type, resource_meta=meta, task_category=_category(task_type, type_version)
    )

    async def run(client: Client) -> int:
        await client.delete_task(request, timeout=timeout)
        return 0

    _run(endpoint, run)


@click.command()
@click.argument("task_type", metavar="TYPE")
@click.argument("meta", metavar="RESOURCE_META", type=MetaType())
@version_of_type
@click.option("--lines", default=0, help="At most so many; 0 for all that there are.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the task has ended.")
@connection
@seconds
def logs(
    task_type: str, meta: bytes, type_version: int, lines: int, endpoint: str, timeout: float, *, follow: bool
) -> None:
    """Print a task's log."""
    category = _category(task_type, type_version)

    async def run(client: Client) -> int:
        token = ""
        while True:
            # Asked before the log is read: what an ended task has said is then complete.
            over = not follow or is_terminal((await _get(client, category, meta, timeout)).phase)
            request = admin.GetTaskLogsRequest(
                task_type=task_type, resource_meta=meta, lines=lines, token=token, task_category=category
            )
            token = await _print_log(client, request) or token
            if over:
                return 0
            await trio.sleep(LONGEST_LOOK / 2)

    _run(endpoint, run)


@click.command()
@connection
@seconds
@machine
def connectors(endpoint: str, timeout: float, *, as_json: bool) -> None:
    """List the connectors that a server has."""

    async def run(client: Client) -> int:
        agents = (await client.list_agents(timeout=timeout)).agents
        found = [(agent.name, _types(agent), agent.is_sync) for agent in agents]
        if as_json:
            print_json([{"name": name, "task_types": types, "is_sync": is_sync} for name, types, is_sync in found])
        else:
            rows = [(name, ", ".join(types), "sync" if is_sync else "async") for name, types, is_sync in found]
            print_table(("Connector", "Task types (version)", "Kind"), rows)
        return 0

    _run(endpoint, run)


# ---- what they share ------------------------------------------------------------------------------------------


def _run(endpoint: str, run: Callable[[Client], Awaitable[int]]) -> None:
    """Run a command against a server, and exit with what came of it."""
    host, port = _parse_endpoint(endpoint)

    async def main() -> int:
        async with _connected(host, port) as client:
            return await run(client)

    try:
        code = trio.run(main)
    except RpcError as error:
        click.echo(f"Error: {error.status.name}: {error.message}", err=True)
        unreachable = error.status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED)
        code = UNREACHABLE if unreachable else FAILED
    except KeyboardInterrupt:
        click.echo("Interrupted; the task itself goes on.", err=True)
        code = 130
    sys.exit(code)


@asynccontextmanager
async def _connected(host: str, port: int) -> AsyncIterator[Client]:
    """Open a client whose block's own error comes out as it went in, though it stood in a nursery."""
    error: RpcError | None = None
    async with open_client(host, port) as client:
        try:
            yield client
        except RpcError as caught:
            error = caught
    if error is not None:
        raise error


def _parse_endpoint(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    if not (host and port.isdecimal()):
        raise click.UsageError(f"The endpoint must be HOST:PORT, not {endpoint!r}.")
    return host.strip("[]"), int(port)


def _category(task_type: str, version: int) -> admin.TaskCategory:
    return admin.TaskCategory(name=task_type, version=version)


def _header(
    task_type: str,
    args: tuple[str, ...],
    type_version: int,
    custom: dict[str, Any],
    output_prefix: str | None,
    **_others: Any,
) -> admin.CreateRequestHeader:
    template = TaskTemplate(
        id=Identifier(name=f"flytower.submit.{task_type}"),
        type=task_type,
        task_type_version=type_version,
        custom=dict_to_struct(custom) if custom else None,
        container=Container(args=list(args)) if args else None,
    )
    # The last component is the attempt, as in what Flyte sends.
    prefix = output_prefix if output_prefix is not None else f"/tmp/flytower/{uuid.uuid4().hex}/0"  # noqa: S108 - a name that is unique
    return admin.CreateRequestHeader(template=template, output_prefix=prefix)


async def _is_sync(client: Client, template: TaskTemplate, timeout: float) -> bool:
    wanted = (template.type, template.task_type_version)
    agents = (await client.list_agents(timeout=timeout)).agents
    return any(
        agent.is_sync and wanted in {(category.name, category.version) for category in agent.supported_task_categories}
        for agent in agents
    )


async def _execute(
    client: Client, header: admin.CreateRequestHeader, inputs: Any, timeout: float, *, as_json: bool
) -> int:
    requests = [admin.ExecuteTaskSyncRequest(header=header)]
    if inputs is not None:
        requests.append(admin.ExecuteTaskSyncRequest(inputs=inputs))
    answers = await client.execute_task_sync(requests, timeout=timeout)
    for answer in answers:
        if answer.header is not None and answer.header.resource is not None:
            _print(answer.header.resource, as_json=as_json)
            return _exit_code(answer.header.resource)
    raise RpcError(Status.INTERNAL, "The server ended the call without a result.")


async def _get(client: Client, category: admin.TaskCategory, meta: bytes, timeout: float) -> admin.Resource:
    request = admin.GetTaskRequest(task_type=category.name, resource_meta=meta, task_category=category)
    return (await client.get_task(request, timeout=timeout)).resource or admin.Resource()


async def _wait(client: Client, category: admin.TaskCategory, meta: bytes, timeout: float, *, as_json: bool) -> int:
    """Look at a task until it has ended, saying on stderr what changes; print the end."""
    told, pause = None, FIRST_LOOK
    while True:
        resource = await _get(client, category, meta, timeout)
        if is_terminal(resource.phase):
            _print(resource, as_json=as_json)
            return _exit_code(resource)
        if resource.phase is not told:
            told, pause = resource.phase, FIRST_LOOK
            click.echo(f"{resource.phase.name}{': ' + resource.message if resource.message else ''}", err=True)
        await trio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_LOOK)


def _exit_code(resource: admin.Resource) -> int:
    return 0 if resource.phase is TaskExecution.SUCCEEDED else FAILED


def _print(resource: admin.Resource, *, as_json: bool) -> None:
    if as_json:
        print_json(resource_data(resource))
    else:
        print_resource(resource)


async def _print_log(client: Client, request: admin.GetTaskLogsRequest) -> str:
    """Print what a server has of a log; return the token for what follows."""
    token = ""
    async with client.get_task_logs(request) as pages:
        async for page in pages:
            if page.header is not None:
                token = page.header.token
            if page.body is not None:
                for line in [line.message for line in page.body.structured_lines] or page.body.results:
                    click.echo(line)
    return token


def _types(agent: admin.Agent) -> list[str]:
    """Return the task types with their versions; servers older than categories give names alone."""
    categories = [f"{category.name} ({category.version})" for category in agent.supported_task_categories]
    return categories or list(agent.supported_task_types)
