"""The wire: messages, codecs and the gRPC host.

trio_asyncio replaces asyncio's way of naming the running task, and has to do so before anybody takes a copy
of it. Hence it is imported here, ahead of everything that imports grpclib (the generated messages do).
"""

from __future__ import annotations

import asyncio
import sys
import warnings

with warnings.catch_warnings():  # it subclasses what Python 3.12 has deprecated and 3.14 has removed
    warnings.filterwarnings("ignore", message="'AbstractChildWatcher'", category=DeprecationWarning)
    before = asyncio.get_event_loop_policy()
    import trio_asyncio  # noqa: F401 - imported for its effect on asyncio, see above

    # It makes itself the policy too, and with that every `asyncio.run` of a process that imports Flytower would run on a
    # loop of its kind. Nothing here needs that: its loop is opened by name.
    asyncio.set_event_loop_policy(before)


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
