"""Telling a torn write-ahead log from a damaged one.

SQLite reads its log up to the first frame whose checksum is wrong, and silently forgets what follows. After a power
failure that is right: the last transaction was never acknowledged. But when a frame in the middle is damaged, the
transactions behind it were acknowledged, and forgetting them is losing jobs. The two can be told apart, since each
frame's checksum continues that of the frame before: when frames behind the bad one continue what its header says, or
what its content should have said, they were written whole, and the log was sound once.

The format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

from flytower.actors.ledger.store import LedgerError

WAL_HEADER = 32
FRAME_HEADER = 24
MAGIC = (0x377F0682, 0x377F0683)
"""The first word; its lowest bit says whether checksums read the content as big-endian words."""

Sums = tuple[int, int]


def check_wal(database: str) -> None:
    """Refuse a database whose write-ahead log is damaged before its tail.

    Raises:
        LedgerError: Transactions behind the damage would be forgotten.
    """
    path = Path(database + "-wal")
    if not path.exists():
        return
    damaged = damaged_frame(path.read_bytes())
    if damaged is not None:
        raise LedgerError(
            f"The ledger's log {path} is damaged in frame {damaged}, and transactions behind it would be lost. "
            f"Restore database and log from a backup, or move both away; jobs they knew must then be looked after."
        )


def damaged_frame(log: bytes) -> int | None:
    """Return the number (from 1) of the first bad frame that sound frames follow; None in a sound or torn log."""
    if len(log) < WAL_HEADER:
        return None
    magic, _, page_size = struct.unpack_from(">III", log)
    if magic not in MAGIC:
        return 0 if _looks_used(log) else None
    order = ">" if magic & 1 else "<"
    salt = log[16:24]
    sums = _checksum(log[:24], (0, 0), order)
    size = FRAME_HEADER + page_size
    frames = [log[at : at + size] for at in range(WAL_HEADER, len(log) - size + 1, size)]
    for index, frame in enumerate(frames):
        expected = _frame_sums(frame, sums, order)
        if frame[8:16] == salt and _stored(frame) == expected:
            sums = expected
            continue
        return index + 1 if _sound_frame_follows(frames[index:], (_stored(frame), expected), salt, order) else None
    return None


def _sound_frame_follows(frames: list[bytes], starts: tuple[Sums, ...], salt: bytes, order: str) -> bool:
    """Whether the frame behind the bad one, or two frames further on in a row, were written whole in this log."""
    rest = frames[1:]
    if (
        rest
        and rest[0][8:16] == salt
        and any(_stored(rest[0]) == _frame_sums(rest[0], start, order) for start in starts)
    ):
        return True
    return any(
        after[8:16] == salt and _stored(after) == _frame_sums(after, _stored(before), order)
        for before, after in itertools.pairwise(rest)
    )


def _frame_sums(frame: bytes, before: Sums, order: str) -> Sums:
    return _checksum(frame[FRAME_HEADER:], _checksum(frame[:8], before, order), order)


def _stored(frame: bytes) -> Sums:
    first, second = struct.unpack_from(">II", frame, 16)
    return first, second


def _checksum(content: bytes, start: Sums, order: str) -> Sums:
    first, second = start
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return first, second


def _looks_used(log: bytes) -> bool:
    """Whether a log without a valid header has frames: a fresh one is empty, or just its header."""
    return len(log) > WAL_HEADER
