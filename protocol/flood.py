"""How often a peer may do what is cheap for it and not for us."""

from __future__ import annotations


class TokenBucket:
    """Allows a burst, then a steady rate.

    Args:
        burst: How many at once.
        rate: How many per second when the burst is used up.
        now: The instant of its creation, in seconds.
    """

    __slots__ = ("_burst", "_rate", "_then", "_tokens")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = float(burst)
        self._then = now

    def take(self, now: float) -> bool:
        """Take one token, and say whether there was one."""
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def credit(self, tokens: float) -> None:
        """Give tokens for something useful that the peer has done."""
        self._tokens = min(self._burst, self._tokens + tokens)
