"""`flytower demo`: a server in a process of its own, a dozen real jobs of mixed fate, and what becomes of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click
import trio

from flytower.cli.session import INTERRUPTED
from flytower.protocol.client import Client, open_client
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.generated.flyteidl.core import Identifier, TaskTemplate
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.protocol.status import RpcError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from rich.table import Table

START_SECONDS = 60.0
"""How long the server may take to start: its very first start compiles every module."""

LIMIT_SECONDS = 25.0
"""How long the jobs may take, all together; they need about four seconds."""

CLEANUP_SECONDS = 15.0
"""How long the deletion of what still runs may take, when the demo is interrupted: a shell job gets 10 s to end."""

READ_SECONDS = 0.25
"""Seconds between two looks at the jobs: a person does not see more."""

DELETE_AFTER = 2.0
"""Seconds after which the long job is deleted: it runs by then, and is far from its end."""

TERMINAL = {Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED, Phase.ABORTED}

READY = re.compile(r"flytower ready grpc=(?P<grpc>\S+) metrics=(?P<metrics>\S+)")


@dataclass
class Job:
    """One job of the demo: what it does, how it is to end, and how it stands."""

    label: str
    custom: Mapping[str, object]
    fate: Phase
    deleted_half_way: bool = False
    meta: bytes = b""
    phase: Phase = Phase.UNDEFINED
    message: str = ""
    outputs: str = ""
    seen: list[Phase] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.phase in TERMINAL


def _jobs() -> list[Job]:
    succeeded, failed = Phase.SUCCEEDED, Phase.FAILED
    return [
        Job("prints a line", {"command": "echo hello from a job"}, succeeded),
        Job("takes a list of arguments", {"command": ["printf", "%s and %s", "this", "that"]}, succeeded),
        Job("sees its environment", {"command": "echo $FRUIT", "env": {"FRUIT": "apple"}}, succeeded),
        Job("runs where it is told", {"command": "pwd", "cwd": "/"}, succeeded),
        Job("works for a second", {"command": "sleep 1; echo done"}, succeeded),
        Job("works for three seconds", {"command": "sleep 3; echo done at last"}, succeeded),
        Job("counts words", {"command": "yes word | head -n 5000 | wc -w"}, succeeded),
        Job("fails with a reason", {"command": "echo no such customer >&2; exit 3"}, failed),
        Job("fails after a while", {"command": "sleep 2; echo out of luck >&2; exit 1"}, failed),
        Job("is not a command", {"command": ["no-such-program"]}, failed),
        Job("would run for an hour", {"command": "sleep 3600"}, Phase.ABORTED, deleted_half_way=True),
    ]


@click.command()
def demo() -> None:
    """Start a server, push a dozen real jobs through it over gRPC, watch them, delete one, and stop cleanly."""
    code = 1
    try:
        code = trio.run(_main)
    except* KeyboardInterrupt:
        click.echo("Interrupted: the jobs are deleted, the server is stopped.", err=True)
        code = INTERRUPTED
    sys.exit(code)


async def _main() -> int:
    jobs = _jobs()
    with tempfile.TemporaryDirectory(prefix="flytower-demo-") as folder:
        async with _server(folder) as (endpoint, metrics, process):
            host, _, port = endpoint.rpartition(":")
            click.echo(f"A server runs (process {process.pid}): gRPC on {endpoint}, status page on http://{metrics}/")
            async with open_client(host, int(port)) as client:
                try:
                    with trio.fail_after(LIMIT_SECONDS):
                        webhook = await _call_webhook(client, metrics)
                        await _watch(client, jobs)
                finally:
                    await _delete_all(client, [job for job in jobs if job.meta and not job.over])
        click.echo(_summary(jobs, webhook))
        code = process.returncode
        click.echo(f"SIGTERM: the server stopped in order, exit code {code}.")
    as_expected = all(job.phase is job.fate for job in jobs) and webhook.phase is Phase.SUCCEEDED and code == 0
    click.echo("Every job met its fate." if as_expected else "Something went otherwise than expected.")
    return 0 if as_expected else 1


@asynccontextmanager
async def _server(folder: str) -> AsyncIterator[tuple[str, str, trio.Process]]:
    """Run `flytower serve` in a process of its own; it is told to stop when the block ends, and is waited for."""
    command = [
        sys.executable,
        *["-m", "flytower", "serve", "--port", "0", "--metrics-port", "0", "--log-level", "warning"],
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLYTOWER_")}
    environment = {**inherited, "FLYTOWER_SHELL_ROOT": folder, "FLYTOWER_LOG_LEVEL": "warning"}
    environment["FLYTOWER_LEDGER"] = f"sqlite:///{folder}/ledger.sqlite"
    # A session of its own: Ctrl-C is then the demo's alone, which needs the server to clean up.
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env=environment, start_new_session=True)
    try:
        with trio.fail_after(START_SECONDS):
            ready = await _ready_line(process)
        yield ready["grpc"], ready["metrics"], process
    finally:
        process.send_signal(signal.SIGTERM)
        # The server has a grace of its own and ends inside it; if not, nothing of the demo may be left behind.
        with trio.move_on_after(START_SECONDS, shield=True) as patience:
            await process.wait()
        if patience.cancelled_caught:
            process.kill()


async def _ready_line(process: trio.Process) -> re.Match[str]:
    said = b""
    while process.stdout is not None and (chunk := await process.stdout.receive_some()):
        said += chunk
        match = READY.search(said.decode(errors="replace"))
        if match is not None:
            return match
    raise click.ClickException("The server ended before it was ready; its log is above.")


async def _watch(client: Client, jobs: Sequence[Job]) -> None:
    """Create all jobs at once, then look at them until each has ended."""
    async with trio.open_nursery() as nursery:
        for number, job in enumerate(jobs):
            nursery.start_soon(_create, client, job, number)
    shown = _Screen(jobs)
    delete_at = trio.current_time() + DELETE_AFTER
    with shown:
        while not all(job.over for job in jobs):
            await _read_all(client, jobs)
            if trio.current_time() >= delete_at:
                delete_at = float("inf")
                for job in jobs:
                    if job.deleted_half_way:
                        await _delete(client, job)
                        shown.say(f"deleted: the job that {job.label}")
            shown.update()
            await trio.sleep(READ_SECONDS)


async def _create(client: Client, job: Job, number: int) -> None:
    template = TaskTemplate(id=Identifier(name=job.label), type=SHELL.name, custom=dict_to_struct(dict(job.custom)))
    request = admin.CreateTaskRequest(template=template, output_prefix=f"demo/{number}/0")
    job.meta = (await client.create_task(request)).resource_meta


async def _delete(client: Client, job: Job) -> None:
    await client.delete_task(admin.DeleteTaskRequest(task_category=SHELL, resource_meta=job.meta))


async def _delete_all(client: Client, jobs: Sequence[Job]) -> None:
    """Delete jobs and see them end: the server forgets a wish when it stops, and jobs outlive it."""
    with trio.move_on_after(CLEANUP_SECONDS, shield=True), suppress(RpcError):  # the first error is the one to tell
        for job in jobs:
            await _delete(client, job)
        while not all(job.over for job in jobs):
            await _read_all(client, jobs)
            await trio.sleep(READ_SECONDS)


async def _read_all(client: Client, jobs: Sequence[Job]) -> None:
    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(_read, client, job)


async def _read(client: Client, job: Job) -> None:
    if job.over:
        return
    request = admin.GetTaskRequest(task_category=SHELL, resource_meta=job.meta)
    resource = (await client.get_task(request)).resource or admin.Resource()
    job.phase, job.message = resource.phase, resource.message
    if resource.outputs is not None and "stdout" in resource.outputs.literals:
        scalar = resource.outputs.literals["stdout"].scalar
        primitive = scalar.primitive if scalar is not None else None
        job.outputs = (primitive.string_value or "").strip() if primitive is not None else ""
    if not job.seen or job.seen[-1] is not job.phase:
        job.seen.append(job.phase)


async def _call_webhook(client: Client, metrics: str) -> Job:
    """Run one sync task: a webhook to the server's own health page."""
    job = Job("calls a webhook", {"url": f"http://{metrics}/healthz", "method": "GET"}, Phase.SUCCEEDED)
    template = TaskTemplate(
        id=Identifier(name=job.label), type="webhook", custom=dict_to_struct({**job.custom, "show_data": False})
    )
    header = admin.CreateRequestHeader(template=template, output_prefix="demo/webhook/0")
    answers = await client.execute_task_sync([admin.ExecuteTaskSyncRequest(header=header)])
    resource = answers[0].header.resource if answers and answers[0].header is not None else None
    if resource is not None:
        job.phase, job.message = resource.phase, resource.message
    return job


SHELL = admin.TaskCategory(name="shell")


class _Screen:
    """Shows the jobs: a table that changes in place on a terminal, a line for each change elsewhere."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        from rich.console import Console  # noqa: PLC0415 - rich costs start-up time that only who looks should pay
        from rich.live import Live  # noqa: PLC0415

        self._jobs = jobs
        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=4) if self._console.is_terminal else None
        self._told: dict[str, Phase] = {}

    def __enter__(self) -> None:
        if self._live is not None:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False)

    def update(self) -> None:
        """Show how the jobs stand."""
        if self._live is not None:
            self._live.update(_table(self._jobs))
            return
        for job in self._jobs:
            if job.seen and self._told.get(job.label) is not job.phase:
                self._told[job.label] = job.phase
                self.say(f"{job.phase.name:<10} {job.label}{f': {job.message}' if job.message else ''}")


def _table(jobs: Sequence[Job]) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table("job", "phase", "what it said", expand=False)
    colours = {Phase.SUCCEEDED: "green", Phase.FAILED: "red", Phase.ABORTED: "yellow"}
    for job in jobs:
        colour = colours.get(job.phase, "cyan")
        table.add_row(job.label, f"[{colour}]{job.phase.name}[/]", job.outputs or job.message)
    return table


def _summary(jobs: Sequence[Job], webhook: Job) -> str:
    lines = ["", f"{'job':<28}{'ended':<12}{'expected':<12}said"]
    lines += [
        f"{job.label:<28}{job.phase.name:<12}{job.fate.name:<12}{job.outputs or job.message}"
        for job in [*jobs, webhook]
    ]
    return "\n".join([*lines, ""])
