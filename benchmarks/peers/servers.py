"""Both servers as processes of their own, and what they cost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent

FLYTEKIT, FLYTOWER, ALONE = "flytekit", "flytower", "flytower-alone"
"""The peer, Flytower with the peer's connectors, and Flytower without them."""

START_SECONDS = 60.0

LOOK_SECONDS = 0.002
"""Between two looks whether a server listens: gRPC itself would try again after a second, and find no earlier start."""

BYTECODE = Path(tempfile.gettempdir()) / f"flytower-benchmarks-{os.getuid()}"
"""Where compiled modules are kept for the next start: an installation has them, a working tree may be kept without."""

CPU_CLOCK = 2
"""What Linux adds to a process's number, inverted and shifted, for the clock of its CPU time (clock_getcpuclockid)."""

SERVICE = "/flyteidl.service.AsyncAgentService/"


class Load(NamedTuple):
    """What came of a load.

    Args:
        calls: Calls that were answered.
        errors: Those that were refused.
        seconds: How long it lasted.
        cpu: Microseconds of the server's CPU for each call, user and system.
        p50: Seconds that a call took, median.
        p99: The same, 99th percentile.
    """

    calls: int
    errors: int
    seconds: float
    cpu: float
    p50: float
    p99: float


class Server:
    """A running server.

    Args:
        kind: FLYTEKIT, FLYTOWER or ALONE.
        folder: Where it runs.
        ledger: Where Flytower keeps its tasks.
        variables: More of the environment.
    """

    def __init__(self, kind: str, folder: Path, ledger: str = "memory://", **variables: str) -> None:
        self.kind = kind
        port, metrics = _free_port(), _free_port()
        self.port, self.target = port, f"127.0.0.1:{port}"
        self.metrics_page = f"http://127.0.0.1:{metrics}/metrics"
        modules = ["--modules", "bench_connectors"]
        alone = [
            *("-m", "flytower", "serve", "--port", str(port), "--metrics-port", str(metrics)),
            *("--ledger", ledger, "--log-level", "error"),
        ]
        commands = {
            FLYTEKIT: [
                *("-m", "flytekit.clis.sdk_in_container.pyflyte", "serve", "connector"),
                *("--port", str(port), "--prometheus_port", str(metrics), *modules),
            ],
            FLYTOWER: [*alone, "--flytekit", *modules],
            ALONE: alone,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLYTOWER_")}
        environment = {**compiled(inherited), "PYTHONPATH": str(HERE), "FLYTE_SDK_LOGGING_LEVEL": "40", **variables}
        self.started = time.perf_counter()
        self._log = (folder / f"{kind}.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *commands[kind]], stdout=self._log, stderr=self._log, cwd=folder, env=environment
        )
        self.channel = grpc.insecure_channel(self.target, options=[("grpc.enable_http_proxy", 0)])
        self.tasks = agent_pb2_grpc.AsyncAgentServiceStub(self.channel)
        self.metadata = agent_pb2_grpc.AgentMetadataServiceStub(self.channel)

    def wait(self) -> float:
        """Wait for the first answer to ListAgents; return the seconds since the start."""
        while not _listens(self.port):
            if self.process.poll() is not None or time.perf_counter() - self.started > START_SECONDS:
                raise RuntimeError(f"{self.kind} did not start; see its log")
            time.sleep(LOOK_SECONDS)
        self.metadata.ListAgents(agent_pb2.ListAgentsRequest(), timeout=START_SECONDS, wait_for_ready=True)
        return time.perf_counter() - self.started

    def stop(self) -> None:
        """End it."""
        self.channel.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used, in all threads, user and system."""
        return time.clock_gettime(~self.process.pid << 3 | CPU_CLOCK)

    def pss_mib(self) -> float:
        """Return its share of memory, in MiB."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def load(self, method: str, payloads: list[bytes], *, in_flight: int, seconds: float) -> Load:
        """Have a process of its own call a method of the async service for a time."""
        asked: dict[str, Any] = {
            "target": self.target,
            "path": SERVICE + method,
            "payloads": [payload.hex() for payload in payloads],
            "in_flight": in_flight,
            "seconds": seconds,
        }
        before = self.cpu()
        done = subprocess.run(
            [sys.executable, "-m", "peers.load"],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=True,
            cwd=HERE.parent,
        )
        used, found = self.cpu() - before, json.loads(done.stdout)
        return Load(
            found["calls"], found["errors"], seconds, 1e6 * used / max(1, found["calls"]), found["p50"], found["p99"]
        )

    def flood(self, method: str, payload: bytes, *, in_flight: int, seconds: float, rate: int | None = None) -> Load:
        """Have h2load make one call of a method again and again on one connection: it costs next to nothing itself.

        Args:
            method: Of the async service.
            payload: The encoded request.
            in_flight: Calls that wait for their answers at the same time.
            seconds: For how long.
            rate: Calls per second; as many as are answered unless given.

        Raises:
            FileNotFoundError: h2load is not installed (Debian: `apt-get install nghttp2-client`).
        """
        with tempfile.TemporaryDirectory() as folder:
            body, took = Path(folder) / "body", Path(folder) / "log"
            body.write_bytes(b"\0" + len(payload).to_bytes(4) + payload)
            headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "grpc-timeout: 10S"]
            before = self.cpu()
            subprocess.run(
                [
                    *("h2load", "-c", "1", "-m", str(in_flight), "-D", f"{seconds:.0f}", "-d", str(body), *headers),
                    *(() if rate is None else ("--rps", str(rate))),
                    *(f"--log-file={took}", f"http://{self.target}{SERVICE}{method}"),
                ],
                check=True,
                capture_output=True,
            )
            used = self.cpu() - before
            times = sorted(int(line.split()[2]) / 1e6 for line in took.read_text().splitlines())
        return Load(
            len(times), 0, seconds, 1e6 * used / len(times), times[len(times) // 2], times[int(0.99 * (len(times) - 1))]
        )

    def create(self, task_type: str, prefix: str, timeout: float = 60.0) -> bytes:
        """Call CreateTask."""
        meta: bytes = self.tasks.CreateTask(create_request(task_type, prefix), timeout=timeout).resource_meta
        return meta


@contextmanager
def running(kind: str, ledger: str = "memory://", **variables: str) -> Iterator[Server]:
    """Run a server in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{kind}-") as folder:
        server = Server(kind, Path(folder), ledger.replace("FOLDER", folder), **variables)
        try:
            server.wait()
            yield server
        finally:
            server.stop()


def compiled(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment in which each start but the first finds its modules compiled."""
    kept = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(BYTECODE)}


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def create_request(task_type: str, prefix: str) -> Any:
    """Return a CreateTaskRequest."""
    request = agent_pb2.CreateTaskRequest(output_prefix=prefix)
    request.template.type = task_type
    request.template.id.name = "bench"
    request.template.custom.update({"a": 1})
    return request


def get_request(task_type: str, meta: bytes) -> bytes:
    """Return an encoded GetTaskRequest, with both ways of naming the type, as flytepropeller sends it."""
    category = agent_pb2.TaskCategory(name=task_type, version=0)
    request = agent_pb2.GetTaskRequest(task_type=task_type, resource_meta=meta, task_category=category)
    encoded: bytes = request.SerializeToString()
    return encoded


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
