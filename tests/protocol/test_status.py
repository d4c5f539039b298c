"""What a caller is told when there is no answer."""

from __future__ import annotations

from typing import Any

import pytest
from grpclib.exceptions import GRPCError
from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.status import MAX_MESSAGE_BYTES, RpcError, Status, as_rpc_error, leaves, shortened


def test_an_rpc_error_carries_status_message_and_details() -> None:
    error = RpcError(Status.NOT_FOUND, "no such job", b"details")
    assert (error.status, error.message, error.details) == (Status.NOT_FOUND, "no such job", b"details")
    assert str(error) == "NOT_FOUND: no such job"


def test_details_that_would_burst_the_trailers_are_dropped() -> None:
    assert RpcError(Status.INTERNAL, "x", b"d" * 3072).details is not None
    assert RpcError(Status.INTERNAL, "x", b"d" * 3073).details is None


@given(st.text(max_size=3000))
def test_a_message_is_cut_to_its_limit_and_stays_a_text(text: Any) -> None:
    cut = shortened(text)
    assert len(cut.encode()) <= MAX_MESSAGE_BYTES
    assert cut == text or cut.endswith("...") or "?" in cut


def test_a_text_with_half_a_surrogate_pair_can_be_sent() -> None:
    assert shortened("bad \ud800 text") == "bad ? text"


def test_a_refusal_inside_groups_of_one_is_that_refusal() -> None:
    error = RpcError(Status.NOT_FOUND, "no such job")
    assert as_rpc_error(ExceptionGroup("outer", [ExceptionGroup("inner", [error])])) is error


def test_a_refusal_beside_another_error_is_a_fault() -> None:
    group = ExceptionGroup("both", [RpcError(Status.NOT_FOUND, "x"), ValueError("secret")])
    assert as_rpc_error(group).status is Status.INTERNAL


def test_two_refusals_are_a_fault_since_nobody_can_say_which_is_meant() -> None:
    group = ExceptionGroup("both", [RpcError(Status.NOT_FOUND, "x"), RpcError(Status.ABORTED, "y")])
    assert as_rpc_error(group).status is Status.INTERNAL


def test_grpclibs_own_error_is_understood() -> None:
    error = as_rpc_error(GRPCError(Status.ABORTED, "enough"))
    assert (error.status, error.message) == (Status.ABORTED, "enough")
    assert as_rpc_error(GRPCError(Status.ABORTED)).message == ""


@pytest.mark.parametrize(
    "error", [ValueError("secret"), SystemExit("secret"), ExceptionGroup("g", [OSError("secret")])]
)
def test_everything_else_is_internal_and_keeps_its_text_to_itself(error: Any) -> None:
    told = as_rpc_error(error)
    assert told.status is Status.INTERNAL
    assert "secret" not in told.message
    assert type(next(leaves(error))).__name__ in told.message


def test_the_leaves_of_a_group_come_in_order() -> None:
    one, two, three = ValueError(), KeyError(), OSError()
    group = BaseExceptionGroup("a", [one, BaseExceptionGroup("b", [two, three])])
    assert list(leaves(group)) == [one, two, three]
