"""Servers and commands as processes of their own, the way a user runs them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

READY = re.compile(r"flytower ready grpc=(\S+) metrics=(\S+)\n")

FLYTOWER = [sys.executable, "-m", "flytower"]


@dataclass
class ServerProcess:
    """A running `flytower serve`."""

    process: subprocess.Popen[str]
    stderr: Path
    ready: str
    grpc: str = ""
    metrics: str = ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait()

    def rest_of_stdout(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def log(self) -> str:
        return self.stderr.read_text()


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """An environment without the settings of whoever runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLYTOWER_")}
    own = {"FLYTOWER_SHELL_ROOT": str(folder / "shell"), "FLYTOWER_LEDGER": f"sqlite:///{folder}/ledger.sqlite"}
    return {**inherited, **own, "COLUMNS": "200", **variables}


def launch(
    folder: Path, *args: str, command: tuple[str, ...] = (*FLYTOWER, "serve"), **variables: str
) -> ServerProcess:
    stderr = folder / "stderr"
    with stderr.open("w") as log:
        process = subprocess.Popen(
            [*command, *args],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env=environment(folder, FLYTOWER_PORT="0", FLYTOWER_METRICS_PORT="0", **variables),
        )
    assert process.stdout is not None
    server = ServerProcess(process, stderr, process.stdout.readline())
    match = READY.fullmatch(server.ready)
    if match is not None:
        server.grpc, server.metrics = match.groups()
    return server


def end(server: ServerProcess) -> None:
    if server.process.poll() is None:
        server.process.kill()
    server.process.wait()
    assert server.process.stdout is not None
    server.process.stdout.close()


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers in this test's folder; those that are left are killed when it ends."""
    servers: list[ServerProcess] = []

    def start(*args: str, **options: Any) -> ServerProcess:
        servers.append(launch(tmp_path, *args, **options))
        return servers[-1]

    yield start
    for server in servers:
        end(server)


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the tests of a module that only use it."""
    server = launch(tmp_path_factory.mktemp("server"))
    yield server
    end(server)


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command to its end."""

    def run(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*FLYTOWER, *args],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            env=environment(tmp_path, **variables),
        )

    return run
