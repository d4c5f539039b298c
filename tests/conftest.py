"""What all tests share: no time limits on hypothesis' examples, and no blocking call on the event loop."""

from __future__ import annotations

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

WATCHED = ("flytower", "flytower.runtime", "flytower.protocol", "flytower.connectors", "flytower.actors")
"""Whose calls must not block: a test itself may, when nothing else runs on its loop."""


MAY_BLOCK = (
    ("prometheus_client/process_collector.py", {"collect"}),  # it reads /proc, which is no disk
)
"""Where calls that look blocking are not: a file's end, and its functions."""


class _TrioLoops:
    """Answers blockbuster's only question, whether this thread runs an event loop, for trio instead of asyncio."""

    @staticmethod
    def get_running_loop() -> object:
        if trio.lowlevel.in_trio_run():
            return trio
        raise RuntimeError("this thread runs no trio")


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
