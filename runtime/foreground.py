"""Whether somebody waits for an answer just now: work that nobody waits for then keeps the loop for shorter."""

from __future__ import annotations

import math

QUIET_SECONDS = 0.001
"""Since the last answer, until nobody is taken to ask. Whoever asks without a pause asks again sooner; whoever asks now
and then waits for one longer turn (`timers.QUIET`), which is half a millisecond."""


class Foreground:
    """When a caller was last answered. Whoever serves callers writes it, timers and workers read it.

    A turn of the loop has its price, some 0.01 ms, whatever it does: short ones are for those who wait.

    Args:
        answered_at: When a caller was answered last, by trio's clock. Infinity: somebody always waits.
    """

    __slots__ = ("_answered_at",)

    def __init__(self, answered_at: float = -math.inf) -> None:
        self._answered_at = answered_at

    def answered(self, now: float) -> None:
        """Note that a caller has got an answer; `now` is trio's clock."""
        self._answered_at = now

    def is_quiet(self, now: float) -> bool:
        """Whether nobody has asked for a while."""
        return now - self._answered_at > QUIET_SECONDS
