"""What those who share the turns of the loop have to know of each other.

Somebody waits for an answer just now: work that nobody waits for then keeps the loop for shorter. Calls pile up that
only wait for their share of a turn: no more of them are brought about then.
"""

from __future__ import annotations

import math

QUIET_SECONDS = 0.001
"""Since the last answer, until nobody is taken to ask. Whoever asks without a pause asks again sooner; whoever asks now
and then waits for one longer turn (`timers.QUIET`), which is half a millisecond."""

BEHIND_SECONDS = 0.005
"""Since calls were last left over, until there are taken to be none: some turns of the loop that has too much to do."""


class Foreground:
    """When a caller was last answered, and when calls were last left over.

    Whoever serves callers writes the first, workers the second; timers and workers read them. A turn of the loop has
    its price, some 0.01 ms, whatever it does: short ones are for those who wait.

    Args:
        answered_at: When a caller was answered last, by trio's clock. Infinity: somebody always waits.
    """

    __slots__ = ("_answered_at", "_behind_at")

    def __init__(self, answered_at: float = -math.inf) -> None:
        self._answered_at = answered_at
        self._behind_at = -math.inf

    def answered(self, now: float) -> None:
        """Note that a caller has got an answer; `now` is trio's clock."""
        self._answered_at = now

    def is_quiet(self, now: float) -> bool:
        """Whether nobody has asked for a while."""
        return now - self._answered_at > QUIET_SECONDS

    def fell_behind(self, now: float) -> None:
        """Note that calls which need nothing but time were left for the next turn; `now` is trio's clock."""
        self._behind_at = now

    def is_behind(self, now: float) -> bool:
        """Whether such calls have been left over just now."""
        return now - self._behind_at <= BEHIND_SECONDS
