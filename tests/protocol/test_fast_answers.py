"""Answers that are written past h2 are, to a client and to h2 itself, those that h2 would have written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.fast_answers import answer_at_once
from flytower.protocol.headers import RESPONSE_HEADERS, TRAILERS_OK
from flytower.protocol.http2 import H2_CONFIG

if TYPE_CHECKING:
    import h2.events

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a"), ("te", "trailers")]


class Pair:
    """A client and a server, whose bytes reach each other when told."""

    def __init__(self, settings: dict[SettingCodes | int, int] | None = None) -> None:
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding="ascii"))
        self.server = H2Connection(H2_CONFIG)
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.exchange()
        if settings:
            self.client.update_settings(settings)
            self.exchange()

    def exchange(self) -> list[h2.events.Event]:
        events: list[h2.events.Event] = []
        for _ in range(3):
            self.server.receive_data(self.client.data_to_send())
            events += self.client.receive_data(self.server.data_to_send())
        return events

    def ask(self) -> int:
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, REQUEST, end_stream=True)
        self.exchange()
        return stream_id

    def answer(self, stream_id: int, data: bytes, *, fast: bool) -> bool:
        if fast:
            return answer_at_once(self.server, stream_id, data)
        self.server.send_headers(stream_id, RESPONSE_HEADERS)
        self.server.send_data(stream_id, data)
        self.server.send_headers(stream_id, TRAILERS_OK, end_stream=True)
        return True

    def seen(self, stream_id: int) -> list[Any]:
        """What the client and both state machines make of a response."""
        seen: list[Any] = [
            (type(event), getattr(event, "headers", None), getattr(event, "data", None))
            for event in self.exchange()
            if getattr(event, "stream_id", None) == stream_id
        ]
        seen.append((self.server.open_inbound_streams, self.client.open_outbound_streams))  # to count is to forget
        seen.append((list(self.server.streams), self.server._closed_streams.get(stream_id)))
        seen.append(self.server.outbound_flow_control_window)
        return seen


@given(st.lists(st.tuples(st.binary(min_size=5, max_size=200), st.booleans()), min_size=1, max_size=8))
def test_a_client_and_h2_see_the_same_whichever_way_each_answer_went(answers: list[tuple[bytes, bool]]) -> None:
    mixed, plain = Pair(), Pair()
    for data, fast in answers:
        first, second = mixed.ask(), plain.ask()
        assert mixed.answer(first, data, fast=fast)
        plain.answer(second, data, fast=False)
        assert mixed.seen(first) == plain.seen(second)


def refused(pair: Pair, stream_id: int, data: bytes = b"12345") -> bool:
    return not answer_at_once(pair.server, stream_id, data) and pair.server.data_to_send() == b""


def test_an_answer_beyond_the_window_of_its_stream_is_left_to_h2() -> None:
    pair = Pair({SettingCodes.INITIAL_WINDOW_SIZE: 4})
    assert refused(pair, pair.ask())


def test_an_answer_beyond_the_window_of_the_connection_is_left_to_h2() -> None:
    pair = Pair({SettingCodes.INITIAL_WINDOW_SIZE: 2**20})
    for _ in range(6):
        assert answer_at_once(pair.server, pair.ask(), bytes(10_000))
    assert refused(pair, pair.ask(), bytes(10_000))


def test_an_answer_of_more_than_a_frame_is_left_to_h2() -> None:
    pair = Pair()
    assert refused(pair, pair.ask(), bytes(pair.server.max_outbound_frame_size + 1))


def test_a_table_that_is_to_be_resized_is_announced_by_h2_first() -> None:
    """RFC 7541 4.2: at the beginning of the first header block after the change."""
    pair = Pair()
    pair.client.update_settings({SettingCodes.HEADER_TABLE_SIZE: 0})
    pair.exchange()
    stream_id = pair.ask()
    assert refused(pair, stream_id)
    pair.answer(stream_id, b"12345", fast=False)
    pair.exchange()
    assert answer_at_once(pair.server, pair.ask(), b"12345")


def test_streams_that_are_gone_unfinished_or_answered_are_left_to_h2() -> None:
    pair = Pair()
    assert refused(pair, 1)
    open_request = pair.client.get_next_available_stream_id()
    pair.client.send_headers(open_request, REQUEST)
    pair.exchange()
    assert refused(pair, open_request)
    begun = pair.ask()
    pair.server.send_headers(begun, RESPONSE_HEADERS)
    pair.server.data_to_send()
    assert refused(pair, begun)
    done = pair.ask()
    assert answer_at_once(pair.server, done, b"12345")
    pair.server.data_to_send()
    assert refused(pair, done)


def test_a_connection_that_has_said_goodbye_is_left_to_h2() -> None:
    pair = Pair()
    stream_id = pair.ask()
    pair.server.close_connection()
    pair.server.data_to_send()
    assert refused(pair, stream_id)


@pytest.mark.parametrize(
    "name", ["_data_to_send", "outbound_flow_control_window", "encoder", "max_outbound_frame_size"]
)
def test_what_is_used_of_h2_is_still_there(name: str) -> None:
    assert hasattr(Pair().server, name)
    assert Pair().server.encoder.table_size_changes == []
