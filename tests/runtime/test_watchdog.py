"""The watchdog: code that blocks the event loop is noticed while it does, named, and told once."""

from __future__ import annotations

import random
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
import trio

from flytower.runtime.spec import ChildSpec
from flytower.runtime.system import open_system
from flytower.runtime.watchdog import BEATS, Blockage, Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import FrameType

LATE = 0.02


class Witness:
    """Hears of blockages, from the watchdog's thread."""

    def __init__(self) -> None:
        self.heard: list[Blockage] = []
        self.told = threading.Event()

    def __call__(self, blockage: Blockage) -> None:
        self.heard.append(blockage)
        self.told.set()

    def block_until_told(self) -> None:
        """Keep the event loop from running, as a connector's mistake does."""
        self.told.clear()
        while not self.told.is_set():
            pass


def name_of(frame: FrameType) -> str | None:
    return "the witness" if frame.f_code.co_name == "block_until_told" else None


@asynccontextmanager
async def watching(*args: Any) -> AsyncIterator[Watchdog]:
    watchdogs: list[Watchdog] = []

    def make() -> Watchdog:
        watchdogs.append(Watchdog(*args))
        return watchdogs[-1]

    with structlog.testing.capture_logs():
        async with open_system([ChildSpec("watchdog", make)], rng=random.Random(0)):  # noqa: S311 - seeded
            yield watchdogs[0]


async def test_who_blocks_the_loop_is_named_while_it_is_blocked() -> None:
    witness = Witness()
    async with watching(name_of, witness, LATE):
        witness.block_until_told()
    blockage = witness.heard[0]
    assert blockage.culprit == "the witness"
    assert blockage.seconds > LATE
    assert blockage.where[0].startswith("block_until_told (") or "is_set" in blockage.where[0]


async def test_code_that_nobody_can_name_is_shown_by_its_frames() -> None:
    witness = Witness()
    async with watching(lambda _: None, witness, LATE):
        witness.block_until_told()
    assert witness.heard[0].culprit is None
    assert any("block_until_told" in frame for frame in witness.heard[0].where)


async def test_one_blockage_is_told_once_and_the_next_one_again() -> None:
    witness = Witness()
    async with watching(name_of, witness, LATE) as watchdog:
        witness.block_until_told()
        for _ in range(3):  # the loop runs, and the time stamp is fresh again
            await trio.sleep(LATE)
        witness.block_until_told()
        assert watchdog.inspect("/watchdog", trio.current_time()).state == f"{len(witness.heard)} blockages"
    stamps = [blockage.culprit for blockage in witness.heard]
    assert stamps.count("the witness") == 2


async def test_a_witness_that_raises_does_not_end_the_watch() -> None:
    witness = Witness()

    def raising(blockage: Blockage) -> None:
        witness(blockage)
        raise ValueError("the witness faints")

    async with watching(name_of, raising, LATE):
        witness.block_until_told()
        for _ in range(3):
            await trio.sleep(LATE)
        witness.block_until_told()
    assert len(witness.heard) >= 2


async def test_how_late_the_loop_was_is_told_at_the_next_beat() -> None:
    witness, late = Witness(), trio.Event()

    def beaten(seconds: float) -> None:
        if seconds >= LATE - LATE / BEATS:  # it was to beat once more after the last time, and then to be late
            late.set()

    async with watching(name_of, witness, LATE, beaten):
        witness.block_until_told()
        await late.wait()


async def test_when_it_has_stopped_its_thread_is_gone() -> None:
    async with watching():
        while not _watching():
            await trio.lowlevel.checkpoint()
    assert not _watching()


def _watching() -> list[object]:
    return [frame for frame in sys._current_frames().values() for _ in _calls_of_the_watch(frame)]


def _calls_of_the_watch(frame: FrameType | None) -> Iterator[object]:
    while frame is not None:
        if frame.f_code is Watchdog._watch.__code__:
            yield frame
        frame = frame.f_back
