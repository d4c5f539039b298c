"""Messages that no actor will handle."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

import structlog

log = structlog.get_logger(__name__)

# Enough to see what went wrong last; a letter names only types, so the lot is a few kilobytes.
DEFAULT_KEPT = 100
# Paths of dynamic children come and go for ever, their counters must not. More than any tree that a person reads.
MAX_PATHS = 1000


class DeadLetter(NamedTuple):
    """One message that was not delivered. Its contents are not kept: they may be secret, and big.

    Args:
        path: To whom.
        message: Its class name.
        reason: Why, in a few words.
    """

    path: str
    message: str
    reason: str


class DeadLetters:
    """Counts and logs what was sent to the dead, and remembers the last few."""

    def __init__(self, kept: int = DEFAULT_KEPT) -> None:
        self.total = 0
        self.recent: deque[DeadLetter] = deque(maxlen=kept)
        self._by_path: Counter[str] = Counter()

    @property
    def by_path(self) -> dict[str, int]:
        """How many were for whom; beyond `MAX_PATHS` addressees the rest are counted together, as "*"."""
        return dict(self._by_path)

    def add(self, path: str, message: object, reason: str) -> None:
        """Count a message that cannot be delivered."""
        self.total += 1
        counter = path if path in self._by_path or len(self._by_path) < MAX_PATHS else "*"
        self._by_path[counter] += 1
        letter = DeadLetter(path, type(message).__name__, reason)
        self.recent.append(letter)
        # The first, second, fourth, eighth... of an addressee: a storm of letters must not become a storm of lines.
        count = self._by_path[counter]
        if count & (count - 1) == 0:
            log.warning("dead letter", path=path, message=letter.message, reason=reason, count=count)

    def __repr__(self) -> str:
        return f"<DeadLetters {self.total} in all, {len(self._by_path)} addressees>"
