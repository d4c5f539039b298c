"""The processes of a campaign: an external system, a server that dies and is started again, and a caller like Flyte."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

from campaigns.points import ORDER
from flytower.actors.ledger.opening import open_to_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flytower.actors.ledger.row import Row

HERE = Path(__file__).parent.parent

READY = re.compile(rb"flytower ready grpc=(\S+) metrics=(\S+)\n")

PATIENCE = 120.0
"""Seconds after which a campaign has failed: a hundred times what it needs."""

LOG_LINES = 20
"""Lines of a server's log that a campaign shows when it fails."""

UNRESOLVED = ("reserved", "creating", "deleting")
"""Stages in which something is still to come."""


class Deed(NamedTuple):
    """A line of the external system's record."""

    deed: str
    job: str
    key: str
    at: float


class World:
    """One folder, one external system, one server at a time.

    Args:
        folder: Where the record, the ledger and the logs are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = f"sqlite:///{folder}/ledger.sqlite"
        self.kills = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None
        self.metrics = ""
        command = [sys.executable, "-m", "campaigns.external_system", str(folder / "record")]
        self._external = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder, env=_environment(folder))
        assert self._external.stdout is not None
        self._url = f"http://127.0.0.1:{int(self._external.stdout.readline())}"
        self.tasks: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for process in (self._external, self._server):
                if process is not None:
                    stack.callback(_end, process)
            self.disconnect()

    # ---- the server -------------------------------------------------------------------------------------------

    @property
    def server(self) -> subprocess.Popen[bytes]:
        """The server's process."""
        assert self._server is not None
        return self._server

    def start(self, **variables: str) -> float:
        """Start a server; return the seconds until it was ready."""
        if self._server is not None:
            _end(self._server)
        begun = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "campaigns.server", self.ledger],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
                env={**_environment(self.folder), "CAMPAIGN_EXTERNAL": self._url, **variables},
            )
        assert self._server.stdout is not None
        match = READY.search(self._server.stdout.readline())
        if match is None:
            raise RuntimeError(f"the server did not start:\n{self.log()}")
        took = time.monotonic() - begun
        self.metrics = match[2].decode()
        self.connect(match[1].decode())
        return took

    def connect(self, target: str) -> None:
        """Connect the caller."""
        self.disconnect()
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(target, options=options)
        self.tasks = agent_pb2_grpc.AsyncAgentServiceStub(self._channel)

    def disconnect(self) -> None:
        """Hang up."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def wait_for_death(self) -> None:
        """Wait until the server has died of what was ordered."""
        if self.server.wait(PATIENCE) != -signal.SIGKILL:
            raise RuntimeError(f"the server ended with {self.server.returncode} instead:\n{self.log()}")
        self.kills += 1

    def kill(self) -> None:
        """Kill the server now."""
        self.server.kill()
        self.wait_for_death()

    def terminate(self) -> int:
        """Ask the server to stop, and return its exit code."""
        self.server.send_signal(signal.SIGTERM)
        return self.server.wait(PATIENCE)

    def log(self) -> str:
        """Return the last lines that servers have written: the folder goes with the campaign."""
        return "\n".join((self.folder / "log").read_text().splitlines()[-LOG_LINES:])

    def owned(self) -> int:
        """Return how many tasks the server says that it owns."""
        return self.gauge("flytower_tasks")

    def gauge(self, name: str) -> int:
        """Return the sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics") as page:
            lines = page.read().decode().splitlines()
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if re.match(rf"{name}[ {{]", line))

    # ---- the caller -------------------------------------------------------------------------------------------

    def create(self, task_type: str, prefix: str, timeout: float = PATIENCE, **custom: Any) -> bytes:
        """Call CreateTask, as Flyte does; returns the resource_meta."""
        meta: bytes = self.tasks.CreateTask(create_request(task_type, prefix, **custom), timeout=timeout).resource_meta
        return meta

    def get(self, task_type: str, meta: bytes, timeout: float = 10.0) -> Any:
        """Call GetTask; returns the resource."""
        return self.tasks.GetTask(agent_pb2.GetTaskRequest(**_about(task_type, meta)), timeout=timeout).resource

    def delete(self, task_type: str, meta: bytes, timeout: float = 10.0) -> None:
        """Call DeleteTask."""
        self.tasks.DeleteTask(agent_pb2.DeleteTaskRequest(**_about(task_type, meta)), timeout=timeout)

    # ---- the external system ------------------------------------------------------------------------------------

    def weather(self, **what: Any) -> None:
        """Tell the external system how to behave."""
        data = json.dumps(what).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self._url}/weather", data, method="POST")).close()

    def record(self) -> list[Deed]:
        """Return all that the external system has done."""
        lines = (self.folder / "record").read_text().splitlines()
        return [Deed(**json.loads(line)) for line in lines]

    # ---- the end ----------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Return what the ledger has."""
        store = open_to_read(self.ledger)
        try:
            return list(store.rows())
        finally:
            store.close()

    def settle(self) -> None:
        """Wait until nothing is still to come."""
        until(lambda: not any(row.stage in UNRESOLVED for row in self.rows()))

    def verdict(self) -> Verdict:
        """Judge, by the external system's record and the ledger alone."""
        return judge(self.record(), self.rows())


class Verdict(NamedTuple):
    """What became of all jobs.

    Args:
        lost: Jobs that run, and that nobody owns or reports.
        doubled: Jobs beyond the first that run for one key.
        reported: Tasks of which the server says that nobody knows whether their job exists.
    """

    lost: int
    doubled: int
    reported: int


def judge(record: list[Deed], rows: list[Row]) -> Verdict:
    """Compare what runs with what is owned."""
    deleted = {deed.job for deed in record if deed.deed == "delete"}
    running = [deed for deed in record if deed.deed == "create" and deed.job not in deleted]
    owned = {json.loads(row.meta)["job"] for row in rows if row.stage == "live" and row.meta}
    unknown = {row.id for row in rows if row.stage == "unknown"}
    lost = [deed for deed in running if deed.job not in owned and deed.key not in unknown]
    doubled = sum(count - 1 for count in Counter(deed.key for deed in running).values())
    return Verdict(len(lost), doubled, len(unknown))


def create_request(task_type: str, prefix: str, **custom: Any) -> Any:
    """Return a CreateTaskRequest as propeller sends it."""
    request = agent_pb2.CreateTaskRequest(output_prefix=prefix)
    request.template.type = task_type
    request.template.id.name = "campaign"
    request.template.custom.update(custom)
    return request


@contextmanager
def new_world() -> Iterator[World]:
    """Make a world in a folder of its own, and take it away."""
    with tempfile.TemporaryDirectory(prefix="flytower-campaign-") as folder, World(Path(folder)) as world:
        yield world


def until(condition: Callable[[], object]) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the campaign does not come to an end")
        time.sleep(0.05)


def _about(task_type: str, meta: bytes) -> dict[str, Any]:
    return {
        "task_type": task_type,
        "resource_meta": meta,
        "task_category": agent_pb2.TaskCategory(name=task_type, version=0),
    }


def _environment(folder: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLYTOWER_")}
    return {**inherited, "PYTHONPATH": str(HERE), ORDER: str(folder / "kill")}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
