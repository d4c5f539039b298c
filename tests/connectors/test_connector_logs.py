"""Whatever get_logs gives becomes a stream of messages."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
import trio.testing
import trio_asyncio
from hypothesis import given
from hypothesis import strategies as st

from flytower.connectors import (
    AsyncConnectorBase,
    Bound,
    ConnectorContractError,
    ConnectorExited,
    ConnectorMethodNotImplemented,
    Flavour,
    LogLine,
    LogPage,
    TaskLog,
)
from flytower.connectors.logs import CHARACTERS_PER_MESSAGE, LINE_LIMIT, LINES_PER_MESSAGE, messages_of
from flytower.protocol.generated.flyteidl.admin import (
    GetTaskLogsResponse,
    GetTaskLogsResponseBody,
    GetTaskLogsResponseHeader,
)
from tests.connectors.recording import META, Meta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Base(AsyncConnectorBase):
    def __init__(self) -> None:
        super().__init__(task_type_name="logging", metadata_type=Meta)

    def create(self, **kwargs: Any) -> Any: ...  # type: ignore[override]

    def get(self, resource_meta: Any) -> Any: ...  # type: ignore[override]

    def delete(self, resource_meta: Any) -> Any: ...  # type: ignore[override]


def connector(get_logs: Any, flavour: Flavour = Flavour.TRIO) -> Bound:
    return Bound(type("Logging", (Base,), {"get_logs": get_logs, "flavour": flavour})())


async def read(bound: Bound, **asked: Any) -> list[GetTaskLogsResponse]:
    async with aclosing(bound.logs(META, **asked)) as stream:
        return [message async for message in stream]


def lines_of(messages: list[GetTaskLogsResponse]) -> list[str]:
    return [line.message for message in messages if message.body for line in message.body.structured_lines]


# ---- shapes of methods ----------------------------------------------------------------------------------------


def gives_plainly(self: Any, resource_meta: Meta) -> Any:
    return ["a", resource_meta.job_id]


async def gives_as_coroutine(self: Any, resource_meta: Meta) -> Any:
    await trio.lowlevel.checkpoint()
    return ["a", "1"]


def yields_plainly(self: Any, resource_meta: Meta) -> Iterator[str]:
    yield "a"
    yield resource_meta.job_id


async def yields_on_trio(self: Any, resource_meta: Meta) -> AsyncIterator[str]:
    yield "a"
    await trio.lowlevel.checkpoint()
    yield "1"


async def yields_on_asyncio(self: Any, resource_meta: Meta) -> AsyncIterator[str]:
    yield "a"
    await asyncio.sleep(0)
    yield "1"


@pytest.mark.parametrize("method", [gives_plainly, gives_as_coroutine, yields_plainly, yields_on_trio])
async def test_functions_coroutines_and_generators_all_give_lines(method: Any) -> None:
    assert lines_of(await read(connector(method))) == ["a", "1"]


async def test_an_asyncio_generator_gives_lines() -> None:
    async with trio_asyncio.open_loop():
        assert lines_of(await read(connector(yields_on_asyncio, Flavour.ASYNCIO))) == ["a", "1"]


async def test_token_and_lines_reach_the_method() -> None:
    def method(self: Any, resource_meta: Any, token: str, lines: int) -> Any:
        return [token, str(lines)]

    assert lines_of(await read(connector(method), token="t", lines=7)) == ["t", "7"]  # noqa: S106 - a place in a log


# ---- what they give -------------------------------------------------------------------------------------------


def test_messages_are_passed_on_and_parts_become_messages() -> None:
    header, body = GetTaskLogsResponseHeader(token="t"), GetTaskLogsResponseBody(structured_lines=[])  # noqa: S106 - a place in a log
    message = GetTaskLogsResponse(header=header)
    assert next(messages_of(message, "x")) is message
    assert next(messages_of(header, "x")).header is header
    assert next(messages_of(body, "x")).body is body


def test_a_page_gives_its_token_first() -> None:
    first, second = messages_of(LogPage(["a", LogLine(message="b")], token="t"), "x")  # noqa: S106 - a place in a log
    assert first.header == GetTaskLogsResponseHeader(token="t")  # noqa: S106 - a place in a log
    assert lines_of([second]) == ["a", "b"]
    assert [message.header for message in messages_of(LogPage(["a"]), "x")] == [None]


def test_a_link_is_a_line() -> None:
    """The specification speaks of log links, and the wire has lines."""
    assert lines_of(list(messages_of([TaskLog(name="Console", uri="https://x")], "x"))) == ["Console: https://x"]
    assert lines_of(list(messages_of(TaskLog(uri="https://x"), "x"))) == ["https://x"]


@pytest.mark.parametrize("nothing", [None, [], (), LogPage([])])
def test_nothing_gives_no_message(nothing: object) -> None:
    assert list(messages_of(nothing, "x")) == []


@pytest.mark.parametrize("answer", [5, b"bytes", {"a": 1}, [b"bytes"], [None], [["a"]], object()])
async def test_what_can_be_in_no_log_is_the_authors_fault(answer: Any) -> None:
    with pytest.raises(ConnectorContractError, match="get_logs of"):
        await read(connector(lambda self, resource_meta: answer))


@given(st.lists(st.text(max_size=50), max_size=50), st.integers(0, 5))
def test_every_line_arrives_in_order_and_no_message_is_too_large(lines: list[str], long: int) -> None:
    given_lines = [*lines, "x" * (long * LINE_LIMIT + 7), *lines * 50]
    messages = list(messages_of(given_lines, "x"))
    assert "".join(lines_of(messages)) == "".join(given_lines)
    for message in messages:
        assert message.body is not None
        sizes = [len(line.message) for line in message.body.structured_lines]
        assert len(sizes) <= LINES_PER_MESSAGE
        assert max(sizes) <= LINE_LIMIT
        assert sum(sizes) <= CHARACTERS_PER_MESSAGE


# ---- lines ----------------------------------------------------------------------------------------------------


async def test_the_limit_is_kept_for_a_method_that_does_not_know_it() -> None:
    def method(self: Any, resource_meta: Any) -> Any:
        yield ["1", "2"]
        yield ["3", "4"]
        raise AssertionError("it was read further than asked")

    assert lines_of(await read(connector(method), lines=3)) == ["1", "2", "3"]


async def test_no_line_is_dropped_that_a_token_counts_on() -> None:
    def method(self: Any, resource_meta: Any) -> Any:
        return LogPage(["1", "2", "3"], token="3")  # noqa: S106 - a place in a log

    assert lines_of(await read(connector(method), lines=2)) == ["1", "2", "3"]


# ---- endings --------------------------------------------------------------------------------------------------


async def test_a_reader_that_leaves_closes_the_generators() -> None:
    closed = []

    def plainly(self: Any, resource_meta: Any) -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            closed.append("plain")

    async def on_trio(self: Any, resource_meta: Any) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            await trio.lowlevel.checkpoint()
            closed.append("trio")

    for method in (plainly, on_trio):
        async with aclosing(connector(method).logs(META)) as stream:
            await anext(stream)
    assert closed == ["plain", "trio"]


async def test_a_cancelled_reader_closes_them_and_waits_for_no_one_that_hangs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def hangs(self: Any, resource_meta: Any) -> AsyncIterator[str]:
        try:
            yield "x"
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            closed.append(trio.current_time())

    closed: list[float] = []
    started = trio.current_time()
    with trio.move_on_after(10) as scope:
        await read(connector(hangs))
    assert scope.cancelled_caught
    assert closed == [started + 12]


@pytest.mark.parametrize(("seconds", "closed_after"), [(2, 2), (1000, 5)])
async def test_a_generator_between_two_lines_is_closed_though_its_reader_was_cancelled(
    autojump_clock: trio.testing.MockClock, seconds: float, closed_after: float
) -> None:
    """Its clean-up may wait, for as long as it is bearable."""
    closed: list[float] = []

    async def method(self: Any, resource_meta: Any) -> AsyncIterator[str]:
        try:
            yield "x"
        finally:
            try:
                await trio.sleep(seconds)
            finally:
                closed.append(trio.current_time())

    started = trio.current_time()
    with trio.move_on_after(10):
        async with aclosing(connector(method).logs(META)) as stream:
            await anext(stream)
            await trio.sleep_forever()
    assert closed == [started + 10 + closed_after]


async def test_an_error_half_way_arrives_after_the_lines_before_it() -> None:
    def method(self: Any, resource_meta: Any) -> Iterator[str]:
        yield "a"
        raise OSError("disk")

    async with aclosing(connector(method).logs(META)) as stream:
        assert lines_of([await anext(stream)]) == ["a"]
        with pytest.raises(OSError, match="disk"):
            await anext(stream)


async def test_a_generator_that_exits_is_contained() -> None:
    async def method(self: Any, resource_meta: Any) -> AsyncIterator[str]:
        yield "a"
        raise SystemExit(1)

    with pytest.raises(ConnectorExited):
        await read(connector(method))


async def test_a_generator_that_fails_to_close_harms_nobody() -> None:
    def method(self: Any, resource_meta: Any) -> Iterator[str]:
        try:
            yield "a"
        finally:
            raise OSError("disk")

    async with aclosing(connector(method).logs(META)) as stream:
        assert lines_of([await anext(stream)]) == ["a"]


async def test_a_generator_may_say_so_too() -> None:
    async def method(self: Any, resource_meta: Any) -> AsyncIterator[str]:
        raise ConnectorMethodNotImplemented("not today")
        yield ""

    with pytest.raises(ConnectorMethodNotImplemented, match="not today"):
        await read(connector(method))


async def test_flytekits_way_of_having_no_logs_is_understood() -> None:
    def method(self: Any, resource_meta: Any) -> Any:
        raise NotImplementedError

    with pytest.raises(ConnectorMethodNotImplemented):
        await read(connector(method))
