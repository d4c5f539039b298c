"""Requests that are taken past h2 are, to their calls and to h2 itself, those that h2 would have read."""

from __future__ import annotations

from typing import Any

from h2.settings import SettingCodes
from hyperframe.frame import RstStreamFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from flytower.protocol.limits import Limits
from tests.protocol.fast_receiver import RESERVED, Client, Receiver, opened

extras = st.lists(
    st.sampled_from(
        [
            ("grpc-timeout", "10S"),
            ("grpc-timeout", "9999m"),
            ("user-agent", "x/1"),
            ("x-long", "y" * 300),
            ("k-bin", "AAEC"),
            ("k-bin", "?"),
            ("content-length", "5"),
            (":status", "200"),
        ]
    ),
    unique_by=lambda header: header[0],
    max_size=4,
).map(tuple)


steps = st.one_of(
    st.builds(lambda data, extra: lambda c: c.request(data, extra), st.binary(min_size=5, max_size=40), extras),
    st.builds(
        lambda weight: lambda c: c.request(priority_weight=weight, priority_exclusive=False, priority_depends_on=0),
        st.integers(1, 256),
    ),
    st.just(lambda c: (c.h2.ping(b"12345678"), c.h2.data_to_send())[1]),
    st.builds(
        lambda size: lambda c: (c.h2.increment_flow_control_window(size), c.h2.data_to_send())[1], st.integers(1, 9)
    ),
    st.builds(lambda size: lambda c: _resized(c, size), st.sampled_from([0, 64, 4096])),
    st.just(lambda c: RstStreamFrame(c.h2.highest_outbound_stream_id).serialize()),
    st.binary(min_size=1, max_size=12).map(lambda junk: lambda _: junk),
    st.builds(
        lambda kind, flags, number, body: (
            lambda _: len(body).to_bytes(3) + bytes([kind, flags]) + number.to_bytes(4) + body
        ),
        st.sampled_from([0, 1, 2, 3, 6, 8, 9, 99]),
        st.sampled_from([0, 1, 4, 5, 8, 0x24]),
        st.integers(0, 12) | st.integers(RESERVED, RESERVED + 12),
        st.binary(max_size=12),
    ),
)


def _resized(client: Client, size: int) -> bytes:
    client.h2.encoder.header_table_size = size
    return client.request()


@given(st.lists(steps, max_size=8), st.lists(st.integers(1, 80), max_size=12), st.sampled_from([1000, 3]))
@settings(max_examples=300)
def test_calls_and_h2_see_the_same_whichever_way_each_frame_went(
    made: list[Any], cuts: list[int], streams: int
) -> None:
    limits = Limits(max_concurrent_streams=streams)
    client = Client()
    data = client.greeting() + client.request() + b"".join(step(client) for step in made)
    fast, plain = Receiver(fast=True, limits=limits), Receiver(fast=False, limits=limits)
    for receiver in (fast, plain):
        receiver.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: streams})
        receiver.take(data[:33])  # the preface and the head of SETTINGS
    position = 33
    for cut in [*cuts, len(data)]:
        ends = [receiver.take(data[position : position + cut]) for receiver in (fast, plain)]
        position += cut
        assert ends[0] == ends[1]
        if ends[0] is not None:
            assert fast.h2.data_to_send() == plain.h2.data_to_send()
            return  # h2 processes nothing of a piece that has a mistake in it
        assert fast.seen == plain.seen
        assert fast.state() == plain.state()
        assert fast.h2.data_to_send() == plain.h2.data_to_send()


def test_ordinary_requests_go_past_h2() -> None:
    client, receiver = opened()
    for _ in range(3):
        assert receiver.take(client.request()) is None
    assert receiver.by_h2 == 1
    assert [each for each in receiver.seen if each == (7, "end")]


def test_the_reserved_bit_of_a_streams_number_is_ignored() -> None:
    client, receiver = opened()
    request = client.request()
    for frame in (request[:-14], request[-14:]):
        assert receiver.take(frame[:5] + bytes([frame[5] | 0x80]) + frame[6:]) is None
    assert (3, "end") in receiver.seen


def test_h2_reads_them_all_when_told_so() -> None:
    client, receiver = opened(fast=False)
    assert receiver.take(client.request()) is None
    assert receiver.by_h2 == 2


def test_what_h2_keeps_of_a_stream_is_what_it_would_have_kept() -> None:
    for steps in (1, 2):  # the headers, and then the data
        states = []
        for fast in (True, False):
            client, receiver = opened(fast=fast)
            data = client.request()
            receiver.take(data if steps == 2 else data[:-14])
            states.append((receiver.state(), vars(receiver.h2.streams[3].state_machine)))
        assert states[0] == states[1]
