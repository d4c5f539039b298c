"""How long to pause before a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from typing import Self

# Beyond these the ceiling of any sensible backoff is its maximum, and the power would overflow a float.
_LARGEST_EXPONENT = 64
_LARGEST_FACTOR = 100.0


class _Figures(NamedTuple):
    minimum: float
    maximum: float
    factor: float
    reset_after: float


class Backoff(_Figures):
    """Pauses that grow with each restart in a row, spread at random over their whole range.

    The n-th pause is uniform between `minimum` and `minimum * factor**n` (at most `maximum`), so that children which
    crashed together do not come back together, and none comes back at once.

    Args:
        minimum: The shortest pause, in seconds; 0 means no pauses at all.
        maximum: The longest, in seconds. Keep it well below the window of the supervisor's intensity, or a
            child that crashes for ever is never given up.
        factor: How the ceiling grows, 1 to 100; 1 means that each pause is `minimum`.
        reset_after: Seconds that an incarnation must have lived for the next pause to be a first one again.
    """

    __slots__ = ()

    def __new__(
        cls, minimum: float = 0.1, maximum: float = 5.0, factor: float = 2.0, reset_after: float = 30.0
    ) -> Self:
        """Make one, having checked the figures."""
        self = super().__new__(cls, minimum, maximum, factor, reset_after)
        if not (0 <= minimum <= maximum and 1 <= factor <= _LARGEST_FACTOR and reset_after >= 0):
            raise ValueError(f"{self}: it takes 0 <= minimum <= maximum, 1 <= factor <= 100 and reset_after >= 0")
        return self

    def attempt(self, previous: int, lived: float) -> int:
        """Return the number, from 1, of the restart that follows an incarnation which lived `lived` seconds."""
        return 1 if lived >= self.reset_after else previous + 1

    def ceiling(self, attempt: int) -> float:
        """Return the longest that the pause before restart number `attempt` can be."""
        return min(self.maximum, self.minimum * self.factor ** min(attempt, _LARGEST_EXPONENT))

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Draw the pause before restart number `attempt`, in seconds."""
        return rng.uniform(self.minimum, self.ceiling(attempt))
