"""What all tests share: no time limits on hypothesis' examples, and no blocking call on the event loop."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import blockbuster.blockbuster as detector
import pytest
import trio
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ADDRESS = re.compile(r" at 0x[0-9a-f]+")

WATCHED = ("flytower", "flytower.runtime", "flytower.protocol", "flytower.connectors", "flytower.actors")
"""Whose calls must not block: a test itself may, when nothing else runs on its loop."""


MAY_BLOCK = (
    ("prometheus_client/process_collector.py", {"collect"}),  # it reads /proc, which is no disk
    ("actors/local.py", {"execute"}),  # synchronous by contract: who calls it inside a loop waits, and so does the loop
    ("linecache.py", {"updatecache", "checkcache"}),  # a traceback reads its source, once, for a crash in the log
)
"""Where calls that look blocking are not: a file's end, and its functions."""


class _TrioLoops:
    """Answers blockbuster's only question, whether this thread runs an event loop, for trio instead of asyncio."""

    @staticmethod
    def get_running_loop() -> object:
        if trio.lowlevel.in_trio_run():
            return trio
        raise RuntimeError("this thread runs no trio")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a parameter by what it is, and the same in each process: without addresses."""
    return None if val is None or isinstance(val, str | bytes | int | float | type) else ADDRESS.sub("", repr(val))


@pytest.fixture(autouse=True)
def nothing_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockBuster]:
    """A call of the project's code that blocks the loop's thread fails the test; worker threads may block."""
    monkeypatch.setattr(detector, "asyncio", _TrioLoops)
    buster = BlockBuster(scanned_modules=list(WATCHED))
    for function in buster.functions.values():
        for file, callers in MAY_BLOCK:
            function.can_block_in(file, callers)
    buster.activate()
    yield buster
    buster.deactivate()
