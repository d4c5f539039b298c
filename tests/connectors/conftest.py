"""What the tests of connectors share."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import HealthCheck, settings

from flytower.connectors import Bound, ConnectorRegistry, TaskTemplate, is_terminal
from flytower.connectors.shell import ShellConnector
from flytower.connectors.shell_folder import JobFolder
from flytower.protocol.codec import dict_to_struct

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from flytower.protocol.generated.flyteidl.admin import Resource


# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def restored_registry() -> Iterator[None]:
    """Give the process-wide registry back as it was."""
    before = ConnectorRegistry.default.copy()
    yield
    ConnectorRegistry.default.restore(before)


@pytest.fixture
def template() -> Callable[..., TaskTemplate]:
    """Return a maker of task templates, whose keywords become the template's custom."""

    def make(task_type: str = "shell", /, **custom: Any) -> TaskTemplate:
        return TaskTemplate(type=task_type, custom=dict_to_struct(custom) if custom else None)

    return make


class Shell:
    """A shell connector as the server calls it, with what tests ask again and again."""

    def __init__(self, root: Path, template: Callable[..., TaskTemplate]) -> None:
        self.root = root
        self.bound = Bound(ShellConnector(root, terminate_seconds=5.0))
        self._template = template
        self._keys = 0

    def restart(self) -> None:
        """Forget everything that is in memory, as a new server process has."""
        self.bound = Bound(ShellConnector(self.root, terminate_seconds=5.0))

    def impatient(self) -> None:
        """Have deletes go on to SIGKILL at once."""
        self.bound = Bound(ShellConnector(self.root, terminate_seconds=0.2))

    async def create(self, command: Any, key: str = "", **custom: Any) -> bytes:
        """Create a job; each has a key of its own unless one is given."""
        self._keys += 1
        template = self._template(command=command, **custom)
        return await self.bound.create(template, "file:///out", None, None, key or f"key-{self._keys}")

    async def end_of(self, meta: bytes) -> Resource:
        """Wait until the job is over, and return how."""
        while True:
            resource = await self.bound.get(meta)
            if is_terminal(resource.phase):
                return resource
            await trio.sleep(0.01)  # a real process, which tells nothing unasked

    async def run(self, command: Any, **custom: Any) -> Resource:
        """Create a job, and return how it ended."""
        return await self.end_of(await self.create(command, **custom))

    async def printed(self, meta: bytes, text: str) -> None:
        """Wait until standard output has a text in it: the job is where the test wants it."""
        path = self.folder(meta).path / "stdout"
        while not (path.exists() and text in path.read_text()):  # noqa: ASYNC110 - a real process, which tells nothing unasked
            await trio.sleep(0.01)

    def folder(self, meta: bytes) -> JobFolder:
        """Return the job's folder."""
        return JobFolder(self.root / str(self.bound.decode(meta).job_id))  # type: ignore[attr-defined]  # a ShellJobMeta

    async def owner(self, meta: bytes) -> Any:
        """Return who runs the job, read in a thread as the connector does."""
        return await trio.to_thread.run_sync(self.folder(meta).owner)

    def kill_everything(self) -> None:
        """End whatever a failed test has left."""
        for path in self.root.glob("*"):
            owner = JobFolder(path).owner()
            for pid in owner.members() if owner else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def shell(tmp_path: Path, template: Callable[..., TaskTemplate]) -> AsyncIterator[Shell]:
    """Return a shell connector with a root of its own; nothing of it is left behind."""
    made = Shell(tmp_path / "jobs", template)
    yield made
    await trio.to_thread.run_sync(made.kill_everything)
