"""The turns of the loop, for tests of what happens in one of them."""

from __future__ import annotations

import trio


class Turns(trio.abc.Instrument):
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.count = 0

    def after_io_wait(self, timeout: float) -> None:
        self.count += 1
