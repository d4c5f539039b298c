"""Tables on a terminal, and elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, err: bool = False) -> None:
    """Print a table: drawn on a terminal, in plain aligned columns elsewhere."""
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        from rich.console import Console  # noqa: PLC0415 - only who looks at a table should pay for it
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(*columns)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))  # Text: a name in [brackets] is no mark-up
        Console(file=stream).print(table)
        return
    for line in plain_table(columns, rows):
        click.echo(line, err=err)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (columns, *rows)
    ]
