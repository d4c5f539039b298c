"""What the tests of the ledger's actor begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog

from flytower.actors.ledger.service import (
    Ledger,
)
from tests.actors.ledger.disk import Books, Disk

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from trio.testing import MockClock


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
def patient_clock(autojump_clock: MockClock) -> MockClock:
    """A clock that jumps only when the store's thread, which lives in real time and on a busy machine, had its turn."""
    autojump_clock.autojump_threshold = 0.15
    return autojump_clock


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def ledger(disk: Disk) -> Ledger:
    return Ledger(disk)


@pytest.fixture
def books(ledger: Ledger, disk: Disk) -> Books:
    return Books(ledger, disk)
