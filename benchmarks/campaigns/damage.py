"""A ledger file that was cut short, or in which bytes have changed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from campaigns.world import HERE
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import LedgerError
from flytower.actors.ledger.wal import FRAME_HEADER, WAL_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 512
"""SQLite's smallest page: many transactions in few bytes."""

COMMITS = 7

LAST = 2
"""Transactions at the end whose every byte is a place to cut at."""

WRITER = """
import os, sys
from campaigns.damage import row_of
from flytower.actors.ledger.sql import SqlStore

store = SqlStore(f"sqlite:///{sys.argv[1]}")
for number in range(1, int(sys.argv[2]) + 1):
    store.put([row_of(number)])
os.kill(os.getpid(), 9)
"""


class Damage(NamedTuple):
    """What came of damaged files.

    Args:
        files: How many.
        opened: Those that opened with all that was acknowledged and is in the file.
        refused: Those that were refused, by name.
        wrong: All others.
    """

    files: int
    opened: int
    refused: int
    wrong: int


def row_of(number: int) -> Row:
    """Return the row of a transaction."""
    return Row(f"{number:032x}", 1, "spark", 0, "live", request=bytes([number]) * 300)


def cut(step: int) -> Damage:
    """Cut the log at every n-th byte of its last transactions: what is whole before the cut must be there."""
    with tempfile.TemporaryDirectory(prefix="flytower-damage-") as folder:
        database, log = _crashed(Path(folder))
        ends = _ends(log)
        results = []
        for size in range(ends[-1 - LAST], len(log) + 1, step):
            whole = sum(end <= size for end in ends)
            results.append(_open(Path(folder), database, log[:size], range(1, whole + 1)))
    return _damage(results)


def flip(step: int) -> Damage:
    """Change bytes before the last transaction: all must be there, or the file be refused."""
    with tempfile.TemporaryDirectory(prefix="flytower-damage-") as folder:
        database, log = _crashed(Path(folder))
        last = _ends(log)[-2]
        results = []
        for at in range(0, last, step):
            changed = log[:at] + bytes([log[at] ^ 0xFF]) + log[at + 1 :]
            results.append(_open(Path(folder), database, changed, range(1, COMMITS + 1)))
    return _damage(results)


def flip_file(step: int) -> Damage:
    """Change bytes of the file itself, after a stop in order: all must be there, or the file be refused."""
    with tempfile.TemporaryDirectory(prefix="flytower-damage-") as folder:
        database = _stopped(Path(folder))
        results = []
        for at in range(0, len(database), step):
            changed = database[:at] + bytes([database[at] ^ 0xFF]) + database[at + 1 :]
            results.append(_open(Path(folder), changed, b"", range(1, COMMITS + 1)))
    return _damage(results)


def _damage(results: list[str]) -> Damage:
    return Damage(len(results), *(results.count(word) for word in ("opened", "refused", "wrong")))


def _stopped(folder: Path) -> bytes:
    """Write a ledger, and close it in order: what is left is one file."""
    path = folder / "stopped.sqlite"
    _make(path)
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        store.put([row_of(number) for number in range(1, COMMITS + 1)])
    return path.read_bytes()


def _make(path: Path) -> None:
    """Make an empty ledger of small pages."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute("VACUUM")
    SqlStore(f"sqlite:///{path}").close()


def _crashed(folder: Path) -> tuple[bytes, bytes]:
    """Have a process write a ledger, and kill it: what it leaves behind, database and log."""
    path = folder / "crashed.sqlite"
    _make(path)
    command = [sys.executable, "-c", WRITER, str(path), str(COMMITS)]
    subprocess.run(command, check=False, env={"PYTHONPATH": str(HERE)})
    return path.read_bytes(), Path(f"{path}-wal").read_bytes()


def _ends(log: bytes) -> list[int]:
    """Return where each transaction ends, in bytes."""
    return list(_ends_of_transactions(log))


def _ends_of_transactions(log: bytes) -> Iterator[int]:
    size = FRAME_HEADER + PAGE
    for start in range(WAL_HEADER, len(log) - size + 1, size):
        if any(log[start + 4 : start + 8]):
            yield start + size


def _open(folder: Path, database: bytes, log: bytes, expected: range) -> str:
    path = folder / "damaged.sqlite"
    for suffix, content in (("", database), ("-wal", log), ("-shm", b"")):
        file = Path(f"{path}{suffix}")
        file.unlink(missing_ok=True)
        if content:
            file.write_bytes(content)
    try:
        with closing(SqlStore(f"sqlite:///{path}")) as store:
            rows = sorted(store.rows(), key=lambda row: row.id)
    except LedgerError as error:
        return "refused" if "damaged.sqlite" in str(error) else "wrong"
    return "opened" if rows == [row_of(number) for number in expected] else "wrong"
