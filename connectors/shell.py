"""The shell connector: a task is a process on this machine, which outlives the server.

A task is like `custom = {"command": ["convert", "a.png", "a.jpg"], "env": {"LANG": "C"}, "cwd": "/data"}`; see
`shell_command`. The process has a session of its own; everything about it is in its job folder (`shell_folder`).

Deleting ends the processes and keeps the folder: its logs can still be read. The same idempotency key goes on
meaning the deleted job. A process that leaves its group (`setsid`) is beyond reach of a delete.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import trio

from flytower.connectors.base import AsyncConnectorBase
from flytower.connectors.errors import ConnectorError, JobNotFound
from flytower.connectors.policy import Policy, Recovery
from flytower.connectors.registry import ConnectorRegistry
from flytower.connectors.resource import Resource, TaskExecution
from flytower.connectors.resource_meta import ResourceMeta
from flytower.connectors.shell_command import command_of
from flytower.connectors.shell_folder import JobFolder, default_root, folder_untrusted, job_id_for, prepare_root
from flytower.connectors.shell_launch import launch
from flytower.connectors.shell_logs import read_log
from flytower.protocol.generated.flyteidl.core import TaskLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flytower.connectors.logs import LogPage
    from flytower.connectors.shell_process import Owner
    from flytower.protocol.generated.flyteidl.admin import TaskExecutionMetadata
    from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskExecutionPhase, TaskTemplate

TERMINATE_SECONDS = 10.0
"""How long a job may take to end after SIGTERM, before SIGKILL: a third of the time that a delete has."""

KILL_SECONDS = 5.0
"""How long the kernel may take to end a killed process; one in uninterruptible sleep takes longer."""

CHECK_SECONDS = 0.05
"""How often a delete looks whether the processes are gone."""

SIGNAL_SECONDS = 1.0
"""How often a delete repeats its signal: a command that handles it notices no difference."""

SIGNAL_BASE = 128
"""What a shell adds to the number of the signal that ended a command."""


class ShellJobMeta(ResourceMeta):
    """A shell job.

    Args:
        job_id: The name of its folder: 32 hexadecimal digits.
    """

    job_id: str


class ShellConnector(AsyncConnectorBase):
    """Runs commands.

    Args:
        root: Where the job folders are, on a disk of this machine; `default_root()` unless given.
        terminate_seconds: How long a deleted job may take to end by itself.
    """

    name = "Shell Connector"
    policy = Policy(recovery=Recovery.TOKEN, not_found_grace=1.0, poll_minimum=0.5, poll_maximum=10.0)

    def __init__(self, root: Path | None = None, terminate_seconds: float = TERMINATE_SECONDS) -> None:
        super().__init__(task_type_name="shell", metadata_type=ShellJobMeta)
        self._root = root
        self._terminate_seconds = terminate_seconds

    @property
    def root(self) -> Path:
        """Where the job folders are."""
        return self._root or default_root()

    def create(  # type: ignore[override]  # the key is asked for by name
        self,
        task_template: TaskTemplate,
        output_prefix: str,  # noqa: ARG002 - given to every connector
        inputs: LiteralMap | None = None,  # noqa: ARG002 - Flyte has put them into the container's args
        task_execution_metadata: TaskExecutionMetadata | None = None,
        idempotency_key: str | None = None,
    ) -> ShellJobMeta:
        """Start the command, or find it started for the same key.

        Raises:
            InvalidRequest: The task has no proper command.
        """
        command = command_of(task_template, task_execution_metadata)
        prepare_root(self.root)
        job_id = job_id_for(idempotency_key)
        job = folder_untrusted(self.root, job_id)
        job.make()
        if job.owner() is None:
            launch(job.path, command.arguments, command.cwd or job.path / "work", command.environment())
        return ShellJobMeta(job_id=job_id)

    def find(self, key: str, **_kwargs: Any) -> ShellJobMeta | None:
        """Return the job that was started for a key."""
        job_id = job_id_for(key)
        return ShellJobMeta(job_id=job_id) if folder_untrusted(self.root, job_id).owner() else None

    def get(self, resource_meta: ShellJobMeta, **_kwargs: Any) -> Resource:
        """Say how the job is.

        Raises:
            JobNotFound: There is no such job on this machine.
        """
        job = self._existing(resource_meta)
        owner = job.owner()
        if owner is None:
            raise JobNotFound(f"shell job {resource_meta.job_id} was never started")
        alive = owner.is_alive()  # asked first: a job that ends in between has then left its exit code
        code = job.exit_code()
        if code is None and alive:
            return _report(job, TaskExecution.RUNNING, f"process {owner.pid} is running")
        if job.is_deleted():
            return _report(job, TaskExecution.ABORTED, "deleted", code)
        if code is None:
            owner.signal(signal.SIGKILL)  # what the wrapper has left behind would run beside the retry
            lost = "ended without an exit code: killed, or the machine restarted"
            return _report(job, TaskExecution.RETRYABLE_FAILED, lost)
        phase = TaskExecution.FAILED if code else TaskExecution.SUCCEEDED
        return _report(job, phase, _failure(job, code) if code else "", code)

    async def delete(self, resource_meta: ShellJobMeta, **_kwargs: Any) -> None:
        """End all processes of the job: SIGTERM, and SIGKILL for those that are there after a while.

        Raises:
            ConnectorError: Some process cannot be ended now.
        """
        owner = await trio.to_thread.run_sync(self._begin_delete, resource_meta)
        if owner is None or await _ended(owner, signal.SIGTERM, self._terminate_seconds):
            return
        if not await _ended(owner, signal.SIGKILL, KILL_SECONDS):
            raise ConnectorError(f"shell job {resource_meta.job_id}: its processes do not end, not even by SIGKILL")

    def get_logs(
        self, resource_meta: ShellJobMeta, token: str = "", lines: int = 0, **_kwargs: Any
    ) -> Iterator[LogPage]:
        """Yield what both streams hold by now, standard output first.

        Raises:
            JobNotFound: There is no such job on this machine.
            InvalidRequest: The token is none of this log.
        """
        job = self._existing(resource_meta)
        owner = job.owner()
        ended = job.exit_code() is not None or owner is None or not owner.is_alive()
        yield from read_log(job.path, token, lines, ended=ended)

    def _existing(self, meta: ShellJobMeta) -> JobFolder:
        job = folder_untrusted(self.root, meta.job_id)
        if not job.exists():
            raise JobNotFound(f"shell job {meta.job_id} is not on this machine")
        return job

    def _begin_delete(self, meta: ShellJobMeta) -> Owner | None:
        """Note the wish before anything is ended, so that what ends is known to have been deleted."""
        job = folder_untrusted(self.root, meta.job_id)
        if not job.exists():
            return None
        if job.exit_code() is None:
            job.mark_deleted()
        return job.owner()


async def _ended(owner: Owner, number: signal.Signals, seconds: float) -> bool:
    """Send a signal to a job, again and again, and say whether all of it was gone within some seconds.

    Again, because a command that is only just being started does not have its first one: its wrapper has.
    """
    signal_at = trio.current_time()
    with trio.move_on_after(seconds):
        while await trio.to_thread.run_sync(owner.members):  # no event tells that a stranger's child ended
            if trio.current_time() >= signal_at:
                signal_at += SIGNAL_SECONDS
                await trio.to_thread.run_sync(owner.signal, number)
            await trio.sleep(CHECK_SECONDS)
        return True
    return False


def _report(job: JobFolder, phase: TaskExecutionPhase, message: str, code: int | None = None) -> Resource:
    outputs = None if code is None else {"exit_code": code, "stdout": job.stdout_tail()}
    return Resource(phase=phase, message=message, log_links=[_link(job)], outputs=outputs)


def _link(job: JobFolder) -> TaskLog:
    return TaskLog(name="Job folder", uri=job.path.absolute().as_uri())


def _failure(job: JobFolder, code: int) -> str:
    """Return the command's last word, and what ended it where that was a signal."""
    line = job.last_error_line()
    signalled = _signal_name(code)
    if line and not signalled:
        return line
    return f"exited with code {code}" + (f" ({signalled})" if signalled else "") + (f": {line}" if line else "")


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(code - SIGNAL_BASE).name
    except ValueError:
        return ""


ConnectorRegistry.register(ShellConnector())
