"""Writes docs/settings.md from the settings themselves; a test proves that it is current."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from pathlib import Path

from flytower.protocol.limits import Limits
from flytower.settings import Key, catalogue

TARGET = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

HEAD = """\
# Settings

Written by `scripts/settings_doc.py`; change the settings, not this file. `flytower settings` prints what is in force,
and where each value came from.

A setting is looked for in this order: a flag of `flytower serve`, the environment, a TOML file (`--config FILE` or
`FLYTOWER_CONFIG`), its default. Everything is checked before anything starts, and all problems are told at once. A
key or a `FLYTOWER_` variable that is not in this list is refused; variables that Kubernetes sets for a service called
flytower are passed over.

```toml
host = "0.0.0.0"
modules = ["my_company.connectors"]
metrics_port = "off"

[limits]
max_connections = 200
```
"""


def text() -> str:
    """Return the whole document."""
    own = [key for key in catalogue() if "." not in key.name]
    limits = [key for key in catalogue() if "." in key.name]
    docs = limit_docs()
    rows = [_row(key, f"{key.doc} {key.why}") for key in own]
    limit_rows = [_row(key, docs[key.name.partition(".")[2]]) for key in limits]
    table = "| setting | default | variable | what, and why |\n|---|---|---|---|\n"
    return f"{HEAD}\n{table}{''.join(rows)}\n## Limits\n\nThe table `[limits]`.\n\n{table}{''.join(limit_rows)}"


def limit_docs() -> dict[str, str]:
    """Return the text that stands below each limit in the source."""
    (cls,) = ast.parse(textwrap.dedent(inspect.getsource(Limits))).body
    docs = {}
    body = cls.body if isinstance(cls, ast.ClassDef) else []
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            docs[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return docs


def _row(key: Key, what: str) -> str:
    default = '""' if key.default == () else str(key.default)
    return f"| `{key.name.partition('.')[2] or key.name}` | `{default}` | `{key.variable}` | {what} |\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"wrote {TARGET}")
