"""A torn log loses what was never acknowledged; a damaged one is refused by name."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest

from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import LedgerError
from flytower.actors.ledger.wal import FRAME_HEADER, WAL_HEADER, check_wal, damaged_frame
from tests.processes import process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = 512  # SQLite's smallest: frames of many transactions in few bytes
FRAME = FRAME_HEADER + PAGE
COMMITS = 7

WRITER = f"""
import sys, time
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore

store = SqlStore(f"sqlite:///{{sys.argv[1]}}")
for seq in range(1, {COMMITS} + 1):
    store.put([Row(f"task-{{seq}}", seq, "spark", 0, "living", request=bytes([seq]) * 400)])
    print(seq, flush=True)
time.sleep(60)
"""


class Crashed(NamedTuple):
    """What a killed writer leaves behind."""

    database: bytes
    log: bytes

    @property
    def commits(self) -> list[int]:
        """The indexes of the frames that end a transaction."""
        return [index for index in range(self.frames) if any(self.log[at(index) + 4 : at(index) + 8])]

    @property
    def frames(self) -> int:
        return (len(self.log) - WAL_HEADER) // FRAME

    def write(self, folder: Path, log: bytes) -> Path:
        """Write it to a folder as it was, but for the log."""
        path = folder / "ledger.db"
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
            (folder / name).unlink(missing_ok=True)  # file systems wait for the disk when a file is overwritten
        path.write_bytes(self.database)
        (folder / "ledger.db-wal").write_bytes(log)
        return path


def at(index: int) -> int:
    """The offset of a frame."""
    return WAL_HEADER + index * FRAME


def make_ledger(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute("VACUUM")
    SqlStore(f"sqlite:///{path}").close()


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Crashed:
    path = tmp_path_factory.mktemp("crashed") / "ledger.db"
    make_ledger(path)
    with process([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert [int(writer.stdout.readline()) for _ in range(COMMITS)] == list(range(1, COMMITS + 1))
    left = Crashed(path.read_bytes(), path.with_name("ledger.db-wal").read_bytes())
    assert len(left.commits) == COMMITS
    assert all(after - before > 1 for before, after in zip(left.commits, left.commits[1:], strict=False))
    return left


def flipped(log: bytes, offset: int, mask: int = 0xFF) -> bytes:
    return log[:offset] + bytes([log[offset] ^ mask]) + log[offset + 1 :]


def seqs(path: Path) -> list[int]:
    """What SQLite itself finds."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")  # what this leaves behind is thrown away
        return [seq for (seq,) in connection.execute("SELECT seq FROM tasks ORDER BY seq")]


def opened_seqs(path: Path) -> list[int]:
    """What the store finds; opening it includes all checks."""
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        return sorted(row.seq for row in store.rows())


def test_a_kill_loses_nothing_that_was_acknowledged(crashed: Crashed, tmp_path: Path) -> None:
    assert opened_seqs(crashed.write(tmp_path, crashed.log)) == list(range(1, COMMITS + 1))


def test_a_log_cut_at_every_byte_of_its_last_transactions_has_all_that_was_complete(
    crashed: Crashed, tmp_path: Path
) -> None:
    for cut in range(at(crashed.commits[-3] + 1), len(crashed.log)):
        log = crashed.log[:cut]
        whole = sum(cut >= at(index + 1) for index in crashed.commits)
        assert damaged_frame(log) is None, cut
        assert seqs(crashed.write(tmp_path, log)) == list(range(1, whole + 1)), cut


def test_the_store_opens_a_torn_log_and_goes_on(crashed: Crashed, tmp_path: Path) -> None:
    for index in range(crashed.commits[-3] + 1, crashed.frames):
        for cut in (at(index), at(index) + 1, at(index) + FRAME_HEADER, at(index + 1) - 1):
            path = crashed.write(tmp_path, crashed.log[:cut])
            whole = sum(cut >= at(commit + 1) for commit in crashed.commits)
            assert opened_seqs(path) == list(range(1, whole + 1)), cut


def test_a_byte_flipped_in_any_frame_before_the_last_transaction_is_found(crashed: Crashed) -> None:
    for index in range(crashed.commits[-2] + 1):
        for offset in (*range(FRAME_HEADER), *range(FRAME_HEADER, FRAME, 61), FRAME - 1):
            for mask in (0xFF, 0x01):
                damaged = damaged_frame(flipped(crashed.log, at(index) + offset, mask))
                assert damaged == index + 1, (index, offset)


def test_a_frame_that_lost_its_commit_mark_is_found(crashed: Crashed) -> None:
    for index in crashed.commits[:-1]:
        mark = at(index) + 4
        assert damaged_frame(crashed.log[:mark] + bytes(4) + crashed.log[mark + 4 :]) == index + 1


def test_a_whole_frame_of_zeros_is_found_when_acknowledged_transactions_follow(crashed: Crashed) -> None:
    for index in range(crashed.commits[-3] + 1):
        log = crashed.log[: at(index)] + bytes(FRAME) + crashed.log[at(index + 1) :]
        assert damaged_frame(log) == index + 1


def test_a_damaged_log_is_refused_by_name_and_left_alone(crashed: Crashed, tmp_path: Path) -> None:
    for index in range(crashed.commits[-2] + 1):
        log = flipped(crashed.log, at(index) + FRAME_HEADER + 100)
        path = crashed.write(tmp_path, log)
        with pytest.raises(LedgerError, match=rf"ledger\.db-wal is damaged in frame {index + 1},"):
            SqlStore(f"sqlite:///{path}")
        assert path.with_name("ledger.db-wal").read_bytes() == log


def test_a_damaged_header_is_refused_by_name(crashed: Crashed, tmp_path: Path) -> None:
    for offset in range(WAL_HEADER):
        path = crashed.write(tmp_path, flipped(crashed.log, offset))
        with pytest.raises(LedgerError, match=r"ledger\.db-wal is damaged in its header"):
            check_wal(str(path))


def test_a_last_transaction_whose_pages_reached_the_disk_out_of_order_is_a_torn_tail(
    crashed: Crashed, tmp_path: Path
) -> None:
    """A power failure during its commit does that; it was never acknowledged."""
    for index in range(crashed.commits[-2] + 1, crashed.frames):
        log = flipped(crashed.log, at(index) + FRAME_HEADER + 100)
        assert opened_seqs(crashed.write(tmp_path, log)) == list(range(1, COMMITS)), index


def test_no_log_and_an_empty_log_and_a_bare_header_are_sound(crashed: Crashed, tmp_path: Path) -> None:
    check_wal(str(tmp_path / "none.db"))
    for length in range(WAL_HEADER + 1):
        assert damaged_frame(crashed.log[:length]) is None


@pytest.fixture
def living(tmp_path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A ledger that somebody has open, so that its log is there."""
    path = tmp_path / "ledger.db"
    make_ledger(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA cache_size=1")
        yield path, connection


def put(path: Path, *seqs: int) -> None:
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        for seq in seqs:
            store.put([Row(f"task-{seq}", seq, "spark", 0, "living", request=bytes(900))])


def log_of(path: Path) -> bytes:
    return path.with_name("ledger.db-wal").read_bytes()


def salts(log: bytes) -> list[bytes]:
    return [log[at(index) + 8 : at(index) + 16] for index in range((len(log) - WAL_HEADER) // FRAME)]


def test_frames_left_of_the_time_before_the_log_began_again_are_accepted(
    living: tuple[Path, sqlite3.Connection],
) -> None:
    path, connection = living
    put(path, *range(1, 9))
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    put(path, 9, 10)
    log = log_of(path)
    assert len(set(salts(log))) == 2
    assert damaged_frame(log) is None
    assert damaged_frame(flipped(log, at(0) + 99)) == 1
    assert opened_seqs(path) == list(range(1, 11))


def test_frames_left_of_an_abandoned_transaction_are_accepted(living: tuple[Path, sqlite3.Connection]) -> None:
    """They continue each other, in the same log, behind its end; but nobody was told that they are there."""
    path, connection = living
    put(path, 1, 2)
    committed = len(salts(log_of(path)))
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE big (content)")
    connection.executemany("INSERT INTO big VALUES (zeroblob(400))", [()] * 50)
    connection.execute("ROLLBACK")
    put(path, 3)
    log = log_of(path)
    assert len(set(salts(log))) == 1
    assert len(salts(log)) > committed + 20
    assert damaged_frame(log) is None
    assert damaged_frame(flipped(log, at(0) + 99)) == 1
    assert opened_seqs(path) == [1, 2, 3]


def test_a_log_of_big_endian_checksums_is_read_too(crashed: Crashed) -> None:
    """The machine that writes decides; a log of the other kind has another first word, and other sums."""
    sums = (0, 0)

    def summed(part: bytes) -> bytes:
        nonlocal sums
        first, second = sums
        for offset in range(0, len(part), 8):
            first = (first + int.from_bytes(part[offset : offset + 4], "big") + second) % (1 << 32)
            second = (second + int.from_bytes(part[offset + 4 : offset + 8], "big") + first) % (1 << 32)
        sums = first, second
        return first.to_bytes(4, "big") + second.to_bytes(4, "big")

    log = (0x377F0683).to_bytes(4, "big") + crashed.log[4:24]
    log += summed(log)
    for index in range(crashed.frames):
        frame = crashed.log[at(index) : at(index + 1)]
        summed(frame[:8])
        log += frame[:16] + summed(frame[FRAME_HEADER:]) + frame[FRAME_HEADER:]
    assert damaged_frame(log) is None
    assert damaged_frame(flipped(log, at(3) + 99)) == 4
