"""Writes the table of policies into docs/connectors.md from the policy itself; a test proves that it is current."""

from __future__ import annotations

import dataclasses
import inspect
import re
from enum import Enum
from pathlib import Path

from flytower.connectors.policy import Policy

TARGET = Path(__file__).resolve().parent.parent / "docs" / "connectors.md"

BEGIN, END = "<!-- policy -->\n", "<!-- end of policy -->\n"


def text() -> str:
    """Return the whole document, with the table as it should be."""
    before, _, rest = TARGET.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


def table() -> str:
    """Return a row for each field of a policy."""
    docs = field_docs(Policy.__doc__ or "")
    rows = [f"| `{field.name}` | `{_shown(field.default)}` | {docs[field.name]} |\n" for field in _fields()]
    return f"| field | default | what |\n|---|---|---|\n{''.join(rows)}"


def field_docs(docstring: str) -> dict[str, str]:
    """Return what a docstring says of each argument."""
    arguments = inspect.cleandoc(docstring).partition("Args:\n")[2].partition("\nRaises:")[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE)
    return {name: " ".join(said.split()) for name, said in found}


def _fields() -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(Policy)


def _shown(default: object) -> str:
    return f"{type(default).__name__}.{default.name}" if isinstance(default, Enum) else str(default)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"wrote {TARGET}")
