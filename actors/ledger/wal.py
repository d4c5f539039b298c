"""Telling a torn write-ahead log from a damaged one.

SQLite reads its log up to the first frame whose checksum is wrong, and silently forgets what follows. After a crash
that is right: the last transaction was never acknowledged. But when it is an earlier frame that is damaged, the
transactions behind it were acknowledged, and forgetting them is losing jobs. The two can be told apart, since each
frame's checksum continues that of the frame before: frames that continue each other were written whole. Since a
transaction begins only when the one before is on the disk, any of them behind the end of the transaction that the bad
frame belongs to says that this one was acknowledged. What an abandoned transaction left behind continues each other
too, but nothing that is in its place now, and it has no end.

The format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flytower.actors.ledger.store import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

WAL_HEADER = 32
FRAME_HEADER = 24
MAGIC = (0x377F0682, 0x377F0683)
"""The first word; its lowest bit says whether checksums read the content as big-endian words."""

WORD = 1 << 32

Sums = tuple[int, int]


class _Log(NamedTuple):
    frames: list[memoryview]
    salt: bytes  # the same in the log's header and in all of its frames, until it begins again from the start
    order: str


def check_wal(database: str) -> None:
    """Refuse a database whose write-ahead log is damaged before its last transaction.

    A database that was closed has none. One that was not has some megabytes, a tenth of a second for each two of them.

    Raises:
        LedgerError: Transactions behind the damage would be forgotten.
    """
    path = Path(database + "-wal")
    content = _content(path)
    damaged = damaged_frame(content)
    while damaged is not None and (again := _content(path)) != content:
        content, damaged = again, damaged_frame(again)  # its server writes it meanwhile, and it was read in between
    if damaged is not None:
        where = f"frame {damaged}" if damaged else "its header"
        raise LedgerError(
            f"The ledger's log {path} is damaged in {where}, and transactions behind it would be lost. "
            f"Restore database and log from a backup, or move both away; jobs they knew must then be looked after."
        )


def _content(path: Path) -> bytes:
    """Return what is in a log; nothing when there is none, or its server takes it away at this moment."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def damaged_frame(content: bytes) -> int | None:
    """Return the number of the first bad frame that acknowledged ones follow, 0 for the header, None when all is well.

    A torn tail is well, and so are frames that are left of the time before the log began again.
    """
    if len(content) <= WAL_HEADER:
        return None
    magic, _, page_size = struct.unpack_from(">III", content)
    order = ">" if magic & 1 else "<"
    sums = _checksum(content[:24], (0, 0), order)
    if magic not in MAGIC or sums != struct.unpack_from(">II", content, 24):
        return 0
    size = FRAME_HEADER + page_size
    view = memoryview(content)
    frames = [view[at : at + size] for at in range(WAL_HEADER, len(content) - size + 1, size)]
    log = _Log(frames, content[16:24], order)
    for index, frame in enumerate(frames):
        expected = _frame_sums(frame, sums, order)
        if frame[8:16] != log.salt or _stored(frame) != expected:
            return index + 1 if _acknowledged(log, index, sums) else None
        sums = expected
    return None


def _acknowledged(log: _Log, bad: int, before: Sums) -> bool:
    """Whether frames behind the transaction of the bad frame were written whole.

    Args:
        log: The log.
        bad: The index of the bad frame.
        before: The checksum of the frames before it.
    """
    end = _end_of_transaction(log, bad, before)
    if end is None:
        return False
    linked = False
    for index, continues_bad in _written_whole(log, bad, before):
        linked = linked or continues_bad
        if index > end and (linked or _is_commit(log.frames[index])):
            return True
    return False


def _end_of_transaction(log: _Log, bad: int, before: Sums) -> int | None:
    if _is_commit(log.frames[bad]) or _lost_its_commit_mark(log, bad, before):
        return bad
    rest = range(bad + 1, len(log.frames))
    return next((index for index in rest if _is_commit(log.frames[index]) and _is_salted(log, index)), None)


def _written_whole(log: _Log, bad: int, before: Sums) -> Iterator[tuple[int, bool]]:
    """Yield the index of each frame behind the bad one that continues the one before, and whether that is the bad one.

    What is damaged in the bad frame is either its stored checksum, or what it is the checksum of: the other one holds.
    """
    starts = [_stored(log.frames[bad]), _frame_sums(log.frames[bad], before, log.order)]
    for index in range(bad + 1, len(log.frames)):
        frame = log.frames[index]
        if _is_salted(log, index) and _stored(frame) in [_frame_sums(frame, start, log.order) for start in starts]:
            yield index, index == bad + 1
        starts = [_stored(frame)]


def _lost_its_commit_mark(log: _Log, bad: int, before: Sums) -> bool:
    """Whether another second word, which is not zero in the last frame of a transaction, makes the checksum right.

    The checksum is linear: the word that is missing counts as often as a one in its place would.
    """
    frame = log.frames[bad]
    unit = _checksum(bytes(len(frame) - FRAME_HEADER), (0, 1), log.order)
    found, stored = _frame_sums(frame, before, log.order), _stored(frame)
    missing = [(is_ - was) % WORD for is_, was in zip(stored, found, strict=True)]
    odd = 0 if unit[0] % 2 else 1  # neighbours in Fibonacci's sequence are never both even
    word = missing[odd] * pow(unit[odd], -1, WORD) % WORD
    return word != 0 and [word * part % WORD for part in unit] == missing


def _is_commit(frame: memoryview) -> bool:
    return any(frame[4:8])


def _is_salted(log: _Log, index: int) -> bool:
    return log.frames[index][8:16] == log.salt


def _frame_sums(frame: memoryview, before: Sums, order: str) -> Sums:
    return _checksum(frame[FRAME_HEADER:], _checksum(frame[:8], before, order), order)


def _stored(frame: memoryview) -> Sums:
    first, second = struct.unpack_from(">II", frame, 16)
    return first, second


def _checksum(content: bytes | memoryview, start: Sums, order: str) -> Sums:
    first, second = start
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return first, second
