"""What is read from the headers of a call."""

from __future__ import annotations

from typing import Any

import outcome
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.headers import BadRequest, parse_head_untrusted, refusal, trailers
from flytower.protocol.status import RpcError, Status

GOOD = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.B/C"),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity"),
]


def test_a_call_has_a_path_and_the_metadata_that_its_client_chose() -> None:
    head = parse_head_untrusted([*GOOD, (b"user-agent", b"grpc-go/1.60"), (b"x-key", b"v"), (b"k-bin", b"AAEC")])
    assert head.path == "/a.B/C"
    assert head.timeout is None
    assert head.metadata == {"user-agent": "grpc-go/1.60", "x-key": "v", "k-bin": b"\0\1\2"}


@pytest.mark.parametrize("value", [b"application/grpc+proto", b"application/grpc;charset=utf-8"])
def test_the_other_spellings_of_the_content_type_are_accepted(value: Any) -> None:
    assert parse_head_untrusted([*GOOD, (b"content-type", value)]).path == "/a.B/C"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"10S", 10),
        (b"2500m", 2.5),
        (b"10u", 1e-5),
        (b"99999999n", 0.099999999),
        (b"0S", 0),
    ],
)
def test_timeouts_are_seconds(text: Any, seconds: Any) -> None:
    assert parse_head_untrusted([*GOOD, (b"grpc-timeout", text)]).timeout == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"S", b"10", b"-1S", b"1.5S", b"123456789S", b"10s", "٣S".encode(), b"9" * 5000])
def test_anything_else_is_no_timeout(text: Any) -> None:
    with pytest.raises(BadRequest, match="grpc-timeout"):
        parse_head_untrusted([*GOOD, (b"grpc-timeout", text)])


def test_a_path_is_cut_and_made_printable() -> None:
    head = parse_head_untrusted([*GOOD, (b":path", b"/\xff\xfe" + b"x" * 10_000)])
    assert head.path.isascii()
    assert head.path.startswith("/\\xff\\xfex")
    assert len(head.path) < 300


NAMES = st.sampled_from([name for name, _ in GOOD] + [b"grpc-timeout", b"x-bin", b"x"]) | st.binary(max_size=10)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=20))), st.booleans())
def test_any_headers_are_a_call_or_one_kind_of_error(headers: Any, good_ones_too: Any) -> None:
    result = outcome.capture(parse_head_untrusted, [*(GOOD if good_ones_too else []), *headers])
    if isinstance(result, outcome.Error):
        assert isinstance(result.error, BadRequest)
        assert result.error.http_status in {200, 400, 405, 415}
    else:
        metadata = result.value.metadata
        assert all(isinstance(value, bytes) == name.endswith("-bin") for name, value in metadata.items())


@given(st.text(max_size=5000), st.binary(max_size=5000))
def test_the_trailers_of_any_error_are_ascii_and_below_8_kb(message: Any, details: Any) -> None:
    fields = trailers(RpcError(Status.INTERNAL, message, details))
    assert sum(len(name) + len(value) for name, value in fields) < 8_000
    assert all(name.isascii() and value.isascii() and "\n" not in value for name, value in fields)


def test_a_refusal_has_the_status_of_http_where_gRPC_was_not_spoken() -> None:  # noqa: N802 - a name of the field
    assert (":status", "415") in refusal(BadRequest(415, Status.UNKNOWN, "x"))
    assert (":status", "200") in refusal(RpcError(Status.INTERNAL, "x"))
