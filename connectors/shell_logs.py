"""The log of a shell job: standard output, then standard error, from where a token says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flytower.connectors.errors import InvalidRequest
from flytower.connectors.logs import LogPage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 64 * 1024
"""Bytes read at once. A line that is longer comes as several."""

STREAMS = ("stdout", "stderr")

_TOKEN = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")


def read_log(folder: Path, token: str, lines: int, *, ended: bool) -> Iterator[LogPage]:
    """Yield what is there: first a page that holds the token for what will follow, then the lines.

    Args:
        folder: The job folder.
        token: How far an earlier call came; "" for the beginning.
        lines: How many lines at most; 0 for all that is there.
        ended: Whether the job is over, and a last line without a line end therefore complete.

    Raises:
        InvalidRequest: The token is none that this function gave.
    """
    starts = parse_token_untrusted(token)
    ends: list[int] = []
    left = lines or None
    for name, start in zip(STREAMS, starts, strict=True):
        end, found = _find_end(folder / name, start, left, ended=ended)
        ends.append(end)
        left = None if left is None else left - found
    yield LogPage((), token=".".join(map(str, ends)))
    for name, start, end in zip(STREAMS, starts, ends, strict=True):
        yield from _pages(folder / name, start, end)


def parse_token_untrusted(token: str) -> tuple[int, int]:
    """Return the offsets in both streams that a token stands for.

    Raises:
        InvalidRequest: It is none.
    """
    if not token:
        return (0, 0)
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidRequest("the token is not from this log: begin without one")
    return (int(match[1]), int(match[2]))


def _find_end(path: Path, start: int, limit: int | None, *, ended: bool) -> tuple[int, int]:
    """Return the offset behind the last complete line within the limit, and how many lines that are."""
    end, found, rest = start, 0, 0
    for block in _blocks(path, start, None):
        position = 0
        while limit is None or found < limit:
            newline = block.find(b"\n", position)
            if newline < 0:
                break
            end += rest + newline + 1 - position
            found, rest, position = found + 1, 0, newline + 1
        if limit is not None and found >= limit:
            return end, found
        rest += len(block) - position
    return (end + rest, found + 1) if ended and rest else (end, found)


def _pages(path: Path, start: int, end: int) -> Iterator[LogPage]:
    kept = b""
    for block in _blocks(path, start, end):
        *complete, kept = (kept + block).split(b"\n")
        if len(kept) >= BLOCK:
            complete, kept = [*complete, kept], b""
        if complete:
            yield LogPage([_text(line) for line in complete])
    if kept:
        yield LogPage([_text(kept)])


def _blocks(path: Path, start: int, end: int | None) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        left = end - start if end is not None else None
        while left is None or left > 0:
            block = file.read(BLOCK if left is None else min(BLOCK, left))
            if not block:
                return
            left = None if left is None else left - len(block)
            yield block


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")
