"""What keeps one external system's trouble from spreading: a rate limit, a circuit breaker and a respite each."""

from __future__ import annotations

from flytower.connectors.errors import RetryLater

BURST_SECONDS = 1.0
"""Calls that a rate limit lets through at once after a pause, in seconds of its rate."""


ROUNDING = 0.001
"""Seconds. What is left of a respite when it has been waited for is no wait, and what rounding adds to one no more."""


class CircuitOpen(RetryLater):
    """The connector's external system has failed too often in a row: it was not asked."""


class Spared(RetryLater):
    """The connector's external system has told another call when to come back: it was not asked before that."""


class TokenBucket:
    """Spreads calls to a rate: each reservation names the instant at which its call may start.

    Args:
        rate: Calls per second; None for no limit.
    """

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._burst = max(BURST_SECONDS, 1.0 / rate if rate else 0.0)  # at least one call
        self._next = float("-inf")  # when the next token falls due

    def reserve(self, now: float) -> float:
        """Take one token; return the seconds to wait before it may be used."""
        if self.rate is None:
            return 0.0
        self._next = max(self._next, now - self._burst) + 1.0 / self.rate
        return max(0.0, self._next - now)


class CircuitBreaker:
    """Stops asking an external system that does not answer.

    Closed until more than `failures` calls in a row have failed; then open for `seconds`, in which every call is
    refused; then half-open: one call may try, and a success closes the circuit. Otherwise the next may try `seconds`
    after that one began, however long it has hung.

    Args:
        failures: Failures in a row that are borne: five are an ordinary hiccup (Temporal's figure).
        seconds: How long it stays open.
    """

    def __init__(self, failures: int, seconds: float) -> None:
        self._limit = failures
        self._seconds = seconds
        self._failures = 0
        self._open_until = float("-inf")
        self.is_closed = True  # changed here alone; looked at by each call

    @property
    def state(self) -> str:
        """One word for the tree."""
        return "closed" if self.is_closed else "open"

    def refused_for(self, now: float) -> float:
        """Return the seconds for which calls are refused; 0.0 lets this one through.

        Raises: nothing. A call that is let through while the circuit is half-open keeps the others out meanwhile.
        """
        if self.is_closed:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        self._open_until = now + self._seconds
        return 0.0

    def succeeded(self) -> None:
        """Note that the external system answered, be it with a refusal."""
        self._failures = 0
        self.is_closed = True

    def failed(self, now: float) -> None:
        """Note that it did not."""
        self._failures += 1
        if self._failures == self._limit + 1:
            self.is_closed = False
            self._open_until = now + self._seconds


class Respite:
    """The time for which the external system has asked to be left alone (`RetryLater`, HTTP's Retry-After).

    What one call was told holds for all: the limit is the account's, not the job's.
    """

    def __init__(self) -> None:
        self.until = float("-inf")  # changed by `asked` alone; looked at by each call

    def asked(self, now: float, seconds: float) -> None:
        """Note what it has asked for; the longest wish stands."""
        self.until = max(self.until, now + seconds)

    def left(self, now: float) -> float:
        """Return the seconds that are left of it."""
        left = self.until - now
        return left if left > ROUNDING else 0.0
