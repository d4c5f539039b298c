"""How many restarts are too many."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Self

# OTP's default of 1 in 5 s is meant for restarts without a pause. Ours pause (runtime.backoff): with the default
# pauses, a child that crashes at every start uses up five restarts in about six seconds, and is given up at the sixth.
DEFAULT_RESTARTS = 5
DEFAULT_WITHIN = 30.0


class _Figures(NamedTuple):
    restarts: int
    within: float


class Intensity(_Figures):
    """At most `restarts` restarts in any `within` seconds; one more, and the supervisor gives up.

    The intensities of nested supervisors multiply: three levels of 5 allow 125 restarts of the lowest child.
    """

    __slots__ = ()

    def __new__(cls, restarts: int = DEFAULT_RESTARTS, within: float = DEFAULT_WITHIN) -> Self:
        """Make one, having checked the figures."""
        self = super().__new__(cls, restarts, within)
        if restarts < 0 or not within > 0:
            raise ValueError(f"{self}: restarts must not be negative, and within must be more than 0 s")
        return self


class RestartWindow:
    """The restarts of the last `within` seconds. One owner: the supervisor that asks `allow`."""

    def __init__(self, intensity: Intensity) -> None:
        self._intensity = intensity
        self._times: deque[float] = deque()  # of restarts that were allowed; never more than intensity.restarts

    def allow(self, now: float) -> bool:
        """Count a restart at `now`, or say that it would be one too many."""
        while self._times and self._times[0] <= now - self._intensity.within:
            self._times.popleft()
        if len(self._times) >= self._intensity.restarts:
            return False
        self._times.append(now)
        return True
