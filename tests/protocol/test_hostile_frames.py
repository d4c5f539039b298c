"""Clients that mean no good, or know no better: what they send ends their stream or their connection, no more."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
import trio
import trio.testing
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
)
from structlog.testing import capture_logs

from flytower.protocol.limits import Limits
from flytower.protocol.status import Status

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def still_serves(server: Any, connected: Any) -> Any:
    async with connected(server) as good:
        await good.call(1, "/t.T/Echo", "alive")
        return (await good.response(1)).status is Status.OK


def goaway_code(peer: Any) -> Any:
    return next(frame.error_code for frame in peer.frames if isinstance(frame, GoAwayFrame))


async def test_an_unknown_frame_type_is_ignored(desk: Any, serving: Any, connected: Any) -> None:
    """RFC 9113 5.5. grpclib raises on it, and would take the whole event loop along."""
    async with serving(desk) as server, connected(server) as peer:
        await peer.write(b"\0\0\x08" + b"\xfa\0" + b"\0\0\0\0" + b"anything")
        await peer.call(1, "/t.T/Echo")
        assert (await peer.response(1)).status is Status.OK


@pytest.mark.parametrize("header", [("x-name", b"caf\xe9"), (b"x-\xff", b"v"), ("x-name", "line\nbreak")])
async def test_a_header_byte_outside_of_ascii_ends_only_its_stream(
    desk: Any, serving: Any, connected: Any, header: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait")
        await peer.call(3, "/t.T/Echo", "", header)
        assert (await peer.response(3)).status is Status.INVALID_ARGUMENT
        await peer.call(5, "/t.T/Echo")
        assert (await peer.response(5)).status is Status.OK
        assert not desk.promises[0].withdrawn


@pytest.mark.parametrize(
    ("changed", "http_status", "status"),
    [
        ({"__method": "GET"}, b"405", Status.UNKNOWN),
        ({"content_type": "application/json"}, b"415", Status.UNKNOWN),
        ({"content_type": "application/grpc+json"}, b"415", Status.UNKNOWN),
        ({"te": "nothing"}, b"400", Status.UNKNOWN),
        ({"__path": "/no.Such/Method"}, b"200", Status.UNIMPLEMENTED),
        ({"__path": ""}, b"200", Status.UNIMPLEMENTED),
        ({"grpc_timeout": "soon"}, b"200", Status.INVALID_ARGUMENT),
        ({"grpc_timeout": "123456789S"}, b"200", Status.INVALID_ARGUMENT),
        ({"x_trace_bin": "a"}, b"200", Status.INVALID_ARGUMENT),
    ],
)
async def test_headers_that_are_no_call_are_answered_and_cost_nothing(
    desk: Any, serving: Any, connected: Any, changed: Any, http_status: Any, status: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Echo", **changed), peer.body(1, peer.message()))
        response = await peer.response(1)
        assert (response.headers[b":status"], response.status) == (http_status, status)
        await peer.call(3, "/t.T/Echo")
        assert (await peer.response(3)).status is Status.OK
        assert server.statistics().calls_refused == 1
    assert len(desk.calls) == 1


async def test_a_length_prefix_of_4_gib_is_refused_before_its_bytes(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Echo"), peer.body(1, b"\0\xff\xff\xff\xff" + b"x" * 100, end=False))
        response = await peer.response(1)
        assert response.status is Status.RESOURCE_EXHAUSTED
        assert b"4294967295" in response.headers[b"grpc-message"]
        assert server.statistics().buffered_bytes == 0
        await peer.send(*(peer.body(1, b"x" * 16_000, end=False) for _ in range(3)))  # it was on its way already
        await peer.call(3, "/t.T/Echo")
        assert (await peer.response(3)).status is Status.OK
        assert response.reset == 0  # NO_ERROR: the rest need not be sent


async def test_a_compressed_message_is_unimplemented(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Echo", grpc_encoding="gzip"), peer.body(1, b"\1\0\0\0\1x"))
        response = await peer.response(1)
        assert response.status is Status.UNIMPLEMENTED
        assert response.headers[b"grpc-accept-encoding"] == b"identity"


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0", b"\0\0\0\0\x05abc", b"\0\0\0\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0", b"\0\0\0\0\x0c" + b"\xff" * 12],
    ids=["none", "half a prefix", "half a message", "two messages", "one and a half", "undecodable"],
)
async def test_a_request_that_is_not_one_message_is_an_invalid_argument(
    desk: Any, serving: Any, connected: Any, body: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Echo"), peer.body(1, body))
        assert (await peer.response(1)).status is Status.INVALID_ARGUMENT
    assert desk.calls == []


async def test_half_a_message_at_the_end_of_a_stream_is_an_invalid_argument(
    desk: Any, serving: Any, connected: Any
) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Chat"), peer.body(1, b"\0\0\0\0\x05abc"))
        assert (await peer.response(1)).status is Status.INVALID_ARGUMENT


async def test_a_message_in_single_bytes_is_a_message(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        message = peer.message("in pieces")
        frames = [peer.body(1, message[i : i + 1], end=False) for i in range(len(message))]
        await peer.send(peer.head(1, "/t.T/Echo"), *frames, peer.body(1, b""))
        assert (await peer.response(1)).message == message[5:]


async def test_trailers_of_a_request_mean_nothing(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Echo"), peer.body(1, peer.message(), end=False))
        trailers = HeadersFrame(1, peer._encoder.encode([("x-checksum", "1")]))
        trailers.flags |= {"END_HEADERS", "END_STREAM"}
        await peer.send(trailers)
        assert (await peer.response(1)).status is Status.OK


async def test_a_reset_in_the_same_breath_never_reaches_the_handler(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Echo"), peer.body(1, peer.message()), RstStreamFrame(1, error_code=8))
        await peer.call(3, "/t.T/Echo")
        await peer.response(3)
    assert len(desk.calls) == 1
    assert sorted(status.name for status in desk.statuses()) == ["CANCELLED", "OK"]


async def test_rapid_resets_end_the_connection_and_only_that(desk: Any, serving: Any, connected: Any) -> None:
    limits = Limits(reset_burst=20, reset_rate=1)
    async with serving(desk, limits=limits) as server, connected(server) as peer:
        frames = [(peer.head(number, "/t.T/Wait"), RstStreamFrame(number, error_code=8)) for number in range(1, 100, 2)]
        await peer.send(*(frame for pair in frames for frame in pair))
        await peer.closed()
        assert goaway_code(peer) == 11  # ENHANCE_YOUR_CALM
        assert server.statistics().calls == 0
        assert server.statistics().resets == 21
        assert await still_serves(server, connected)


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"12345678"),
        SettingsFrame(0, settings={3: 100}),
        PriorityFrame(1, depends_on=0, stream_weight=1),
        ExtensionFrame(type=0xFA, stream_id=0, flag_byte=0, body=b""),
    ],
    ids=["ping", "settings", "priority", "unknown"],
)
async def test_floods_of_control_frames_end_the_connection_and_only_that(
    desk: Any, serving: Any, connected: Any, logs: Any, frame: Any
) -> None:
    async with serving(desk, limits=Limits(control_burst=50, control_rate=1)) as server, connected(server) as peer:
        await peer.send(*[frame] * 200)
        await peer.closed()
        assert goaway_code(peer) == 11
        assert [entry["event"] for entry in logs if entry["log_level"] != "debug"] == [
            "A client sends too many control frames"
        ]
        assert await still_serves(server, connected)


async def test_floods_of_empty_data_end_the_connection_and_only_that(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk, limits=Limits(control_burst=50, control_rate=1)) as server, connected(server) as peer:
        await peer.send(peer.head(1, "/t.T/Echo"), *[DataFrame(1, b"")] * 200)
        await peer.closed()
        assert goaway_code(peer) == 11
        assert await still_serves(server, connected)


async def test_pings_between_calls_are_no_flood(desk: Any, serving: Any, connected: Any) -> None:
    """grpc-go sends one for nearly every answer, to measure its bandwidth."""
    async with serving(desk, limits=Limits(control_burst=50, control_rate=1)) as server, connected(server) as peer:
        for stream_id in range(1, 401, 2):
            await peer.send(PingFrame(0, b"bandwith"))
            await peer.call(stream_id, "/t.T/Echo")
            assert (await peer.response(stream_id)).status is Status.OK


async def test_a_flood_of_continuations_ends_the_connection(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        begun = HeadersFrame(1, b"\x00")
        await peer.send(begun, *[ContinuationFrame(1, b"\x00")] * 100)
        await peer.closed()
        assert await still_serves(server, connected)


async def test_a_header_bomb_ends_the_connection(desk: Any, serving: Any, connected: Any) -> None:
    """HPACK packs megabytes into a frame: one long value in the table, named by one byte each time."""
    async with serving(desk, limits=Limits(max_header_bytes=10_000)) as server, connected(server) as peer:
        bomb = [("x-long", "v" * 3000)] * 1000
        await peer.send(peer.head(1, "/t.T/Echo", *bomb))
        await peer.closed()
        assert await still_serves(server, connected)


async def test_a_client_that_says_goaway_takes_its_calls_along(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.call(1, "/t.T/Wait")
        await desk.until(lambda: bool(desk.promises))
        await peer.send(GoAwayFrame(0, last_stream_id=0, error_code=0), PingFrame(0, b"12345678"))
        await peer.closed()
    assert desk.promises[0].withdrawn


async def test_a_broken_rule_is_answered_with_goaway(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.send(DataFrame(1, b"on a stream that never began"))
        await peer.closed()
        assert goaway_code(peer) == 1  # PROTOCOL_ERROR
        assert await still_serves(server, connected)


async def test_a_fault_of_ours_ends_one_connection_and_is_logged(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server) as peer:
        await peer.settle()
        connection = next(iter(server._connections))
        connection.processor.processors.clear()  # the fault: an action that is no function
        connection.processor.processors.update(dict.fromkeys([*_event_types()], "no function"))
        with capture_logs() as logs:
            await peer.call(1, "/t.T/Echo")
            await peer.closed()
        assert goaway_code(peer) == 2  # INTERNAL_ERROR
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["A connection failed"]
        assert await still_serves(server, connected)


def _event_types() -> Any:
    from h2.events import DataReceived, RequestReceived  # noqa: PLC0415 - only here

    return RequestReceived, DataReceived


async def test_plain_http_is_closed(desk: Any, serving: Any, connected: Any) -> None:
    async with serving(desk) as server, connected(server, greet=False) as peer:
        await peer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.closed()
        assert await still_serves(server, connected)


async def drained(stream: Any) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while await stream.receive_some(65536):
            pass


def _conversation(rng: Any, peer: Any) -> Any:
    """Some valid calls, in some order."""
    frames = []
    for number in range(rng.randrange(1, 5)):
        path = rng.choice(["/t.T/Echo", "/t.T/Wait", "/t.T/Follow", "/t.T/Chat"])
        frames += [
            peer.head(2 * number + 1, path),
            peer.body(2 * number + 1, peer.message("x"), end=rng.random() < 0.8),
        ]
    return [frame.serialize() for frame in frames]


def _random_frame(rng: Any) -> Any:
    """A frame whose outside is right."""
    payload = rng.randbytes(rng.choice([0, 4, 5, 8, 30]))
    head = len(payload).to_bytes(3, "big") + bytes([rng.randrange(12), rng.choice([0, 1, 4, 5, rng.randrange(256)])])
    return head + rng.choice([0, 1, 3, 5, 7, 2]).to_bytes(4, "big") + payload


def _garbled(rng: Any, data: Any) -> Any:
    """The same bytes with one changed, some cut out, put in or doubled."""
    at = rng.randrange(len(data))
    return rng.choice(
        [
            data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
            data[:at] + data[at + rng.randrange(1, 9) :],
            data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:],
            data[: at + 20] + data[at:],
        ]
    )


def _hostile(rng: Any, peer: Any) -> Any:
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(1, 200))
    parts = [SettingsFrame(0).serialize(), *_conversation(rng, peer)]
    for _ in range(rng.randrange(3)):
        parts.insert(rng.randrange(len(parts)), _random_frame(rng))
    data = b"".join(parts)
    for _ in range(rng.choice([0, 0, 1, 3])):
        data = _garbled(rng, data) or b"\0"
    return (PREFACE if rng.random() < 0.95 else b"") + data


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_thousands_of_garbled_connections_leave_nothing_behind(
    desk: Any, serving: Any, connected: Any, seed: Any
) -> None:
    rng = random.Random(seed)  # noqa: S311 - noise, not secrets
    async with serving(desk) as server:
        tasks = trio.lowlevel.current_statistics().tasks_living
        with capture_logs() as logs:
            for _ in range(500):
                async with connected(server, greet=False) as peer:
                    await peer.write(_hostile(rng, peer))
                    with contextlib.suppress(trio.BrokenResourceError):  # the server was faster
                        await peer.stream.send_eof()
                    await drained(peer.stream)
        assert await still_serves(server, connected)
        while server.statistics().connections:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        statistics = server.statistics()
        assert statistics.connections_total == 501
        assert statistics.calls_total > 150  # much of it was near enough to a call
        assert (statistics.calls, statistics.buffered_bytes, statistics.timers) == (0, 0, 0)
        assert [entry for entry in logs if entry["log_level"] == "error"] == []
