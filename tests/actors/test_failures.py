"""What a failed call of a connector means."""

from __future__ import annotations

import pytest

from flytower.actors.bulkhead import CircuitOpen, Spared
from flytower.actors.failures import MAX_TEXT, Failure, FailureKind, classify, describe
from flytower.connectors.errors import (
    InvalidRequest,
    InvalidResource,
    JobNotFound,
    OutcomeUnknown,
    PermanentFailure,
    RetryLater,
)
from flytower.runtime.entity import Raised, TimedOut
from flytower.runtime.host_errors import LaneFull


@pytest.mark.parametrize(
    ("error", "kind", "after"),
    [
        (ValueError("x"), FailureKind.TRANSIENT, 0.0),
        (TimeoutError("x"), FailureKind.UNCERTAIN, 0.0),
        (OutcomeUnknown("x"), FailureKind.UNCERTAIN, 0.0),
        (ConnectionRefusedError("x"), FailureKind.TRANSIENT, 0.0),
        (InvalidResource("x"), FailureKind.TRANSIENT, 0.0),
        (RetryLater("x", after=7.5), FailureKind.LATER, 7.5),
        (CircuitOpen("x", after=30.0), FailureKind.REFUSED, 30.0),
        (Spared("x", after=30.0), FailureKind.SPARED, 30.0),
        (JobNotFound("x"), FailureKind.GONE, 0.0),
        (PermanentFailure("x"), FailureKind.PERMANENT, 0.0),
        (InvalidRequest("x"), FailureKind.INVALID, 0.0),
        (LaneFull("x"), FailureKind.OVERLOAD, 0.0),
    ],
)
def test_what_a_connector_raises_says_what_can_be_done(error: Exception, kind: FailureKind, after: float) -> None:
    assert classify(Raised("get", error)) == Failure(kind, f"{type(error).__name__}: x", after)


def test_no_answer_in_time_is_not_the_same_as_an_error() -> None:
    assert classify(TimedOut("create", 60.0)) == Failure(FailureKind.TIMEOUT, "no answer within 60 s")


def test_an_error_without_words_is_called_by_its_type() -> None:
    assert describe(ValueError()) == "ValueError"


@pytest.mark.parametrize(("length", "cut"), [(MAX_TEXT - 20, False), (100 * MAX_TEXT, True)])
def test_a_long_message_is_cut(length: int, cut: bool) -> None:  # noqa: FBT001 - a table
    text = describe(ValueError("x" * length))
    assert len(text) <= MAX_TEXT
    assert text.endswith("…") is cut


class Unspeakable(Exception):  # noqa: N818 - what it is
    def __str__(self) -> str:
        raise RuntimeError("not even this works")


def test_an_error_that_cannot_say_what_it_is_harms_nobody() -> None:
    assert classify(Raised("get", Unspeakable())) == Failure(FailureKind.TRANSIENT, "Unspeakable")
