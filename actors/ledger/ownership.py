"""One server at a time: who may write to a ledger.

Two servers on one ledger would poll everything twice and delete what the other has just created. So a server holds a
lock for as long as it runs, which the kernel (for a file) or the database (for a session) takes back when it dies,
however it dies. What a lock cannot promise (a session that broke while its server was paused) the epoch does: see
`SqlStore.own`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flytower.actors.ledger.database import is_sqlite, parse
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

LOOK_SECONDS = 0.1
"""Seconds between two looks whether the other server has ended."""

SESSION_LOCK = 0x666C7975
"""PostgreSQL's number for the lock that a server holds on a ledger."""

FOLDER_MODE = 0o700
"""Of a folder that is made for a ledger: what tasks are given may be private."""


class OwnedStore(SqlStore):
    """A SQL store that this process owns until it is closed.

    Args:
        url: As for `SqlStore`.
        wait: Seconds to wait for another server to end.

    Raises:
        LedgerError: As for `SqlStore`, or another server has it.
    """

    def __init__(self, url: str, *, wait: float = 0.0) -> None:
        self._held = ExitStack()
        with ExitStack() as held:
            parsed = parse(url)
            if is_sqlite(parsed):
                held.enter_context(_file_lock(Path(parsed.database or ""), wait))
            super().__init__(url)
            held.callback(super().close)
            if not is_sqlite(parsed):
                held.enter_context(self._session_lock(wait))
            self.own(f"process {os.getpid()} on {socket.gethostname()}")
            self._held = held.pop_all()

    def close(self) -> None:
        """Close the connections, and give the ledger up."""
        self._held.close()

    @contextmanager
    def _session_lock(self, wait: float) -> Iterator[None]:
        with self.connected() as connection:
            if not _until(lambda: _try_lock(connection), wait):
                raise LedgerError(f"The ledger {self.label} is in use by {self.holder()}. {ADVICE}")
            yield


ADVICE = "One ledger belongs to one server at a time: stop that one, or give this one another with --ledger."


@contextmanager
def _file_lock(path: Path, wait: float) -> Iterator[None]:
    """Hold the lock of a file ledger. Its file stays: who removes it lets two servers hold two locks."""
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be opened: {error}. {PLACE}") from error
    try:
        if not _until(lambda: _try_flock(descriptor), wait):
            holder = os.pread(descriptor, 256, 0).decode(errors="replace")
            raise LedgerError(f"The ledger {path} is in use by {holder or 'another server'}. {ADVICE}")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


PLACE = "Give --ledger a path in a folder that this user can write to."


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_lock(connection: Connection) -> bool:
    return bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({SESSION_LOCK})").scalar())


def _until(attempt: Callable[[], bool], wait: float) -> bool:
    """Try until it succeeds or the time is over. Runs in a thread: sleeping is all right."""
    deadline = time.monotonic() + wait
    while not attempt():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True
