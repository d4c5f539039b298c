"""Messages come out of a stream as they went in, however the bytes were cut."""

from __future__ import annotations

from typing import Any, cast

import outcome
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from flytower.protocol.generated.grpc.health.v1 import HealthCheckRequest
from flytower.protocol.messages import MessageReader, framed, parse_message_untrusted
from flytower.protocol.status import RpcError, Status


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_messages_survive_any_cut(messages: Any, cuts: Any) -> None:
    data = b"".join(framed(message) for message in messages)
    reader = MessageReader(limit=50)
    out = []
    while data:
        for size in cuts:
            out += reader.feed_untrusted(data[:size])
            data = data[size:]
    assert out == messages
    assert not reader.within_message


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_give_messages_or_one_kind_of_error(pieces: Any) -> None:
    reader = MessageReader(limit=20)
    result = outcome.capture(lambda: [message for piece in pieces for message in reader.feed_untrusted(piece)])
    if isinstance(result, outcome.Error):
        assert isinstance(result.error, RpcError)
        assert result.error.status in {Status.UNIMPLEMENTED, Status.RESOURCE_EXHAUSTED}
    else:
        assert all(len(message) <= 20 for message in result.value)


def test_an_announced_length_over_the_limit_is_refused_on_the_prefix_alone() -> None:
    with pytest.raises(RpcError) as caught:
        MessageReader(limit=10).feed_untrusted(b"\0\0\0\0\x0b")
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


def test_the_reader_knows_when_it_is_within_a_message() -> None:
    reader = MessageReader(limit=10)
    assert not reader.within_message
    for data, within in ((b"\0", True), (b"\0\0\0\x02", True), (b"a", True), (b"b", False)):
        reader.feed_untrusted(data)
        assert reader.within_message is within


@given(st.binary(max_size=60))
def test_any_request_bytes_decode_or_raise_one_kind_of_error(data: Any) -> None:
    result = outcome.capture(parse_message_untrusted, HealthCheckRequest, data)
    if isinstance(result, outcome.Error):
        assert isinstance(result.error, RpcError)
        assert result.error.status is Status.INVALID_ARGUMENT
        assert "HealthCheckRequest" in result.error.message
    else:
        assert isinstance(result.value, HealthCheckRequest)


def test_whatever_else_the_decoder_stumbles_over_is_refused_too_and_logged() -> None:
    class NotGenerated:
        """It has no fields that a decoder could look for."""

    with capture_logs() as logs, pytest.raises(RpcError, match="cannot be decoded as NotGenerated") as caught:
        parse_message_untrusted(cast("Any", NotGenerated), b"x")
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert [entry["log_level"] for entry in logs] == ["error"]
