"""Somebody with a timer, for tests."""

from __future__ import annotations

from typing import Any

import trio

from flytower.runtime.timers import NO_TIMER


class Owner:
    """Somebody with a timer, who writes down when it came due."""

    def __init__(self, name: object, log: list[tuple[object, float]]) -> None:
        self.name = name
        self.log = log
        self.timer = NO_TIMER
        self.then: Any = None

    def fire(self, now: float) -> None:
        assert now == trio.current_time()
        self.log.append((self.name, now))
        if self.then is not None:
            self.then()
