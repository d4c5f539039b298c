"""Importing what a command needs, which is nearly all that its start takes.

Two things are kept out of it:

- the garbage collector, which would go through all that has been imported again and again, to find next to nothing;
- packages that others import to see whether they are there. structlog draws tracebacks with rich, the local variables
  and their secrets included; betterproto2 checks messages with pydantic. Nothing here has any use for that.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

UNUSED: Final = ("rich", "pydantic")
"""What looks as if it were not installed. A table on a terminal imports rich later, and so may any connector."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import in the `with` block what stays for the rest of the process, without what nobody uses."""
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: Python then finds no such module
    try:
        with without_collections():
            yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def without_collections() -> Iterator[None]:
    """Import in the `with` block what stays for the rest of the process; it is never looked at again either."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
