"""A real PostgreSQL server for tests: in a folder of its own, on a loopback port, stopped by its id."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

UNPRIVILEGED = "nobody"
"""Whom the server runs as when the tests run as root, which PostgreSQL refuses."""

START_SECONDS = 30

STOP_SECONDS = 10
"""It takes a fraction of one; but one that is told to stop while it begins to serve a connection may wait for ever."""


class NoPostgres(Exception):  # noqa: N818 - it says what is missing
    """PostgreSQL is not installed."""


@dataclass
class PostgresServer:
    """A running server.

    Args:
        process: Its process.
        folder: Its folder.
        port: Where it listens, on loopback.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    arguments: list[str]

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a ledger in one of its databases."""
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def pause(self) -> None:
        """Have every process of it stand still, as a stalled host does."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def go_on(self) -> None:
        """End a pause."""
        for process in self._processes():
            with suppress(ProcessLookupError):  # a connection's, whose client went away meanwhile
                os.kill(process, signal.SIGCONT)

    def _processes(self) -> list[int]:
        """Return the server's process and those of its connections, each of which has a group of its own."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [self.process.pid, *map(int, children.read_text().split())] if children.exists() else []

    def stop(self) -> None:
        """End it at once; what was committed is there when it starts again."""
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()

    def start(self) -> None:
        """Start it again, on the same port."""
        self.process = _start(self.arguments)
        _until_it_listens(self.port, self.process)


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises:
        NoPostgres: There is none.
    """
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # where Debian puts them
    for folder in folders:
        if (folder / "postgres").exists():
            return folder
    raise NoPostgres("PostgreSQL's initdb and postgres are not installed (Debian: apt-get install postgresql)")


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Make a database cluster, serve it, and take both away in the end."""
    programs = binaries()
    folder = Path(tempfile.mkdtemp(prefix="flytower-postgres-"))
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED)
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        make = [programs / "initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run(_as_nobody([str(word) for word in make]), check=True, capture_output=True, cwd=folder)
        port = _free_port()
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "max_connections": "40"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        arguments = _as_nobody([str(programs / "postgres"), "-D", str(data), "-p", str(port), *settings])
        server = PostgresServer(_start(arguments), folder, port, arguments)
        try:
            _until_it_listens(port, server.process)
            yield server
        finally:
            server.go_on()
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_nobody(command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return command
    return [
        "setpriv",
        f"--reuid={UNPRIVILEGED}",
        f"--regid={pwd.getpwnam(UNPRIVILEGED).pw_gid}",
        "--clear-groups",
        *command,
    ]


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="tester", dbname="postgres", connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if "password" in str(error):  # it takes connections, and wants to know more
                return
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start on port {port}")
