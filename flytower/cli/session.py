"""What the client commands do with a server."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
import trio

from flytower.cli.output import print_json, print_resource, resource_data
from flytower.connectors.resource import TaskExecution, is_terminal
from flytower.protocol.client import Client, open_client
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.status import RpcError, Status, leaves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate

FAILED: Final = 1
"""The exit code when a task or a request failed; 2 is click's for a wrong command line."""

UNREACHABLE: Final = 3
"""The exit code when the server cannot be reached, or does not answer."""

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, by the shells' convention."""

FIRST_LOOK, LONGEST_LOOK, SLOWER = 0.2, 2.0, 1.5
"""Seconds between two looks at a task that is waited for, and their growth: a short one is not kept waiting."""

FOLLOW_SECONDS: Final = 1.0
"""Between two looks at a log that is followed."""


@dataclass(frozen=True, slots=True)
class Session:
    """A server, and how to talk to it.

    Args:
        client: The connection.
        timeout: Seconds for one request.
        as_json: Whether results are printed as JSON.
    """

    client: Client
    timeout: float
    as_json: bool = False

    async def agents(self) -> Sequence[admin.Agent]:
        """Return what the server serves."""
        return (await self.client.list_agents(timeout=self.timeout)).agents

    async def is_sync(self, template: TaskTemplate) -> bool:
        """Whether the server executes such a task in a single call."""
        wanted = (template.type, template.task_type_version)
        return any(
            agent.is_sync and wanted in {(served.name, served.version) for served in agent.supported_task_categories}
            for agent in await self.agents()
        )

    async def execute(self, header: admin.CreateRequestHeader, inputs: LiteralMap | None) -> int:
        """Execute a sync task, print its result, and return the exit code."""
        requests = [admin.ExecuteTaskSyncRequest(header=header)]
        if inputs is not None:
            requests.append(admin.ExecuteTaskSyncRequest(inputs=inputs))
        for answer in await self.client.execute_task_sync(requests, timeout=self.timeout):
            if answer.header is not None and answer.header.resource is not None:
                self.show(answer.header.resource)
                return _exit_code(answer.header.resource)
        raise RpcError(Status.INTERNAL, "The server ended the call without a result.")

    async def create(self, header: admin.CreateRequestHeader, inputs: LiteralMap | None) -> bytes:
        """Create a task, and return its resource_meta."""
        request = admin.CreateTaskRequest(inputs=inputs, template=header.template, output_prefix=header.output_prefix)
        return (await self.client.create_task(request, timeout=self.timeout)).resource_meta

    async def get(self, category: admin.TaskCategory, meta: bytes) -> admin.Resource:
        """Return where a task stands."""
        request = admin.GetTaskRequest(task_type=category.name, resource_meta=meta, task_category=category)
        return (await self.client.get_task(request, timeout=self.timeout)).resource or admin.Resource()

    async def wait(self, category: admin.TaskCategory, meta: bytes) -> int:
        """Look at a task until it has ended, saying on stderr what changes; print the end, and return the exit code."""
        told, pause = None, FIRST_LOOK
        while not is_terminal((resource := await self.get(category, meta)).phase):
            if resource.phase is not told:
                told, pause = resource.phase, FIRST_LOOK
                click.echo(f"{resource.phase.name}{': ' + resource.message if resource.message else ''}", err=True)
            await trio.sleep(pause)
            pause = min(pause * SLOWER, LONGEST_LOOK)
        self.show(resource)
        return _exit_code(resource)

    async def delete(self, category: admin.TaskCategory, meta: bytes) -> None:
        """End a task."""
        request = admin.DeleteTaskRequest(task_type=category.name, resource_meta=meta, task_category=category)
        await self.client.delete_task(request, timeout=self.timeout)

    async def print_log(self, category: admin.TaskCategory, meta: bytes, lines: int, *, follow: bool) -> None:
        """Print a task's log; with `follow`, go on until it has ended."""
        token, over = "", False
        while not over:
            # Asked before the log is read: what an ended task has said is then complete.
            over = not follow or is_terminal((await self.get(category, meta)).phase)
            request = admin.GetTaskLogsRequest(
                task_type=category.name, resource_meta=meta, lines=lines, token=token, task_category=category
            )
            token = await self._print_pages(request) or token
            if not over:
                await trio.sleep(FOLLOW_SECONDS)

    async def _print_pages(self, request: admin.GetTaskLogsRequest) -> str:
        """Print what the server has of a log; return the token for what follows."""
        token = ""
        async with self.client.get_task_logs(request) as pages:
            async for page in pages:
                token = page.header.token if page.header is not None else token
                body = page.body or admin.GetTaskLogsResponseBody()
                for line in [line.message for line in body.structured_lines] or body.results:
                    click.echo(line)
        return token

    def show(self, resource: admin.Resource) -> None:
        """Print a resource."""
        if self.as_json:
            print_json(resource_data(resource))
        else:
            print_resource(resource)


def run_session(
    endpoint: tuple[str, int], timeout: float, use: Callable[[Session], Awaitable[int]], *, as_json: bool = False
) -> None:
    """Use a server, and exit with what came of it."""

    async def main() -> int:
        async with open_client(*endpoint) as client:
            return await use(Session(client, timeout, as_json))

    code = FAILED
    try:
        code = trio.run(main)
    except* RpcError as errors:  # in groups, since the client's loop stands in a nursery
        code = _explain(errors)
    except* KeyboardInterrupt:
        click.echo("Interrupted; what the server does goes on.", err=True)
        code = INTERRUPTED
    sys.exit(code)


def _explain(errors: BaseExceptionGroup[RpcError]) -> int:
    """Say what the server or the network answered, and return the exit code for it."""
    error = next(leaf for leaf in leaves(errors) if isinstance(leaf, RpcError))
    click.echo(f"Error: {error.status.name}: {error.message}", err=True)
    return UNREACHABLE if error.status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED) else FAILED


def _exit_code(resource: admin.Resource) -> int:
    return 0 if resource.phase is TaskExecution.SUCCEEDED else FAILED
