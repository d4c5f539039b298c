"""The wire: messages, codecs and the gRPC host.

trio_asyncio replaces asyncio's way of naming the running task, and has to do so before anybody takes a copy
of it. Hence it is imported here, ahead of everything that imports grpclib (the generated messages do).
"""

from __future__ import annotations

import asyncio
import sys

from flytower.protocol.asyncio_policy import import_trio_asyncio

import_trio_asyncio()


def _rebind_current_task() -> None:
    """Give grpclib trio_asyncio's `current_task` when grpclib was imported first and kept asyncio's own.

    From Python 3.12 on the original is written in C and does not know trio's loop, so every call through
    grpclib would end in "no running event loop".
    """
    utils = sys.modules.get("grpclib.utils")
    if utils is None:
        return
    if not hasattr(utils, "_current_task"):
        message = "grpclib was imported before flytower and has changed inside: import flytower.protocol before grpclib"
        raise ImportError(message)
    utils._current_task = asyncio.current_task  # type: ignore[attr-defined]  # noqa: SLF001 - the name that it captured


_rebind_current_task()
