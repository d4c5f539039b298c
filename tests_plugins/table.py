"""The table in the document: its rows, read and written."""

from __future__ import annotations

import fcntl
from itertools import takewhile
from typing import NamedTuple

from tests_plugins.environments import ENVIRONMENTS, REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "flytekit.md"

HEAD = "| plugin | version | listed | driven |\n|---|---|---|---|\n"


class Row(NamedTuple):
    """What the table says of a plugin."""

    plugin: str
    version: str
    listed: str
    driven: str

    def __str__(self) -> str:
        return f"| {' | '.join(self)} |"


def rows() -> list[Row]:
    """Return the rows of the document."""
    _, lines, _ = _split(DOCUMENT.read_text())
    return [Row(*line[2:-2].split(" | ")) for line in lines]


def write(row: Row, order: list[str]) -> None:
    """Put a row in place of the one that the document has of the plugin.

    Args:
        row: What is true now.
        order: The names of all plugins; rows of others go.
    """
    with (ENVIRONMENTS / "document.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes run other plugins' tests
        known = {each.plugin: each for each in rows()} | {row.plugin: row}
        before, _, after = _split(DOCUMENT.read_text())
        body = "".join(f"{known[name]}\n" for name in order if name in known)
        DOCUMENT.write_text(f"{before}{HEAD}{body}{after}")


def _split(text: str) -> tuple[str, list[str], str]:
    """Return what is before the table, its rows, and what is behind it."""
    before, rest = text.split(HEAD)
    lines = list(takewhile(lambda line: line.startswith("|"), rest.splitlines()))
    return before, lines, rest[sum(len(line) + 1 for line in lines) :]
