"""From whatever a connector's get_logs gives to the stream of messages that GetTaskLogs sends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
import trio

from flytower.connectors.errors import ConnectorContractError
from flytower.connectors.flavour import Flavour, Method
from flytower.protocol.generated.flyteidl.admin import (
    GetTaskLogsResponse,
    GetTaskLogsResponseBody,
    GetTaskLogsResponseHeader,
    LogLine,
)
from flytower.protocol.generated.flyteidl.core import TaskLog

log = structlog.get_logger(__name__)

LINES_PER_MESSAGE = 1_000
"""Lines in one message: enough to make framing cheap, few enough to show at once."""

CHARACTERS_PER_MESSAGE = 256 * 1024
"""Characters in one message: at four bytes each they stay far below gRPC's 4 MiB."""

LINE_LIMIT = 64 * 1024
"""Characters in one line; a longer one is sent as several, so that a message has an end."""

CLOSE_SECONDS = 5.0
"""How long an author's generator may take to clean up when nobody reads it any more."""

_END = object()


class LogPage(NamedTuple):
    """Some lines, and where to go on after them.

    Args:
        lines: The lines, without line ends.
        token: What a caller gives back to get the lines that follow; "" when there is nothing to give.
    """

    lines: Sequence[str | LogLine]
    token: str = ""


async def stream_messages(method: Method, kwargs: Mapping[str, Any]) -> AsyncGenerator[GetTaskLogsResponse, None]:
    """Call a get_logs method, and yield what it gives as messages of bearable size.

    Close it (`contextlib.aclosing`) when reading ends early: the author's generator is then closed, too.
    """
    answer = await method(**kwargs)
    if hasattr(answer, "__anext__"):
        step, close = method.with_function(answer.__anext__, method.declared), getattr(answer, "aclose", None)
        closing = method.with_function(close, method.declared) if close else None
    elif isinstance(answer, Iterator):
        step = method.with_function(lambda: next(answer, _END), Flavour.THREAD)
        close = getattr(answer, "close", None)
        closing = method.with_function(close, Flavour.THREAD) if close else None
    else:
        for message in messages_of(answer, method.label):
            yield message
        return
    try:
        while (item := await _next(step)) is not _END:
            for message in messages_of(item, method.label):
                yield message
    finally:
        if closing is not None:
            await _close(closing)


async def _next(step: Method) -> Any:
    try:
        return await step()
    except StopAsyncIteration:
        return _END


async def _close(closing: Method) -> None:
    # Shielded: a cancelled reader must not leave the author's files and connections open; bounded: nor wait for them.
    with trio.move_on_after(CLOSE_SECONDS, shield=True):
        try:
            await closing()
        except Exception as error:  # noqa: BLE001 - the reader has left; what the clean-up says cannot matter to it
            log.warning("a log generator failed to close", method=closing.label, error=repr(error))


class LineLimit:
    """Keeps a stream to so many lines, for a method that does not do so itself.

    Once there is a token all lines pass, because the token counts on every one.

    Args:
        lines: How many; 0 for all.
    """

    def __init__(self, lines: int) -> None:
        self._left = lines or None  # None: no limit

    @property
    def reached(self) -> bool:
        """Whether there is nothing more to send."""
        return self._left == 0

    def apply(self, message: GetTaskLogsResponse) -> GetTaskLogsResponse:
        """Return the message with as many of its lines as are left."""
        if message.header is not None and message.header.token:
            self._left = None
        if self._left is None or message.body is None:
            return message
        lines = message.body.structured_lines[: self._left]
        self._left -= len(lines)
        return GetTaskLogsResponse(body=GetTaskLogsResponseBody(structured_lines=lines))


def messages_of(item: Any, label: str) -> Iterator[GetTaskLogsResponse]:
    """Yield the messages for one thing that get_logs returned or yielded.

    Raises:
        ConnectorContractError: It is nothing that can be in a log.
    """
    if item is None:
        return
    if isinstance(item, GetTaskLogsResponse):
        yield item
    elif isinstance(item, GetTaskLogsResponseHeader):
        yield GetTaskLogsResponse(header=item)
    elif isinstance(item, GetTaskLogsResponseBody):
        yield GetTaskLogsResponse(body=item)
    elif isinstance(item, LogPage):
        if item.token:
            yield GetTaskLogsResponse(header=GetTaskLogsResponseHeader(token=item.token))
        yield from _bodies(item.lines, label)
    else:
        yield from _bodies([item] if isinstance(item, str | LogLine | TaskLog) else item, label)


def _bodies(lines: Any, label: str) -> Iterator[GetTaskLogsResponse]:
    if not isinstance(lines, Iterable) or isinstance(lines, bytes | Mapping):
        raise ConnectorContractError(
            f"{label} gave a {type(lines).__name__}; it must give lines, a LogPage or messages"
        )
    batch: list[LogLine] = []
    characters = 0
    for line in _split(lines, label):
        if batch and (len(batch) == LINES_PER_MESSAGE or characters + len(line.message) > CHARACTERS_PER_MESSAGE):
            yield GetTaskLogsResponse(body=GetTaskLogsResponseBody(structured_lines=batch))
            batch, characters = [], 0
        batch.append(line)
        characters += len(line.message)
    if batch:
        yield GetTaskLogsResponse(body=GetTaskLogsResponseBody(structured_lines=batch))


def _split(lines: Iterable[Any], label: str) -> Iterator[LogLine]:
    for item in lines:
        line = _line(item, label)
        if len(line.message) <= LINE_LIMIT:
            yield line
            continue
        for start in range(0, len(line.message), LINE_LIMIT):
            part = line.message[start : start + LINE_LIMIT]
            yield LogLine(timestamp=line.timestamp, message=part, originator=line.originator)


def _line(item: Any, label: str) -> LogLine:
    match item:
        case LogLine():
            return item
        case str():
            return LogLine(message=item)
        case TaskLog():
            return LogLine(message=f"{item.name}: {item.uri}" if item.name else item.uri)
    raise ConnectorContractError(f"{label} gave a {type(item).__name__} for a line; a line is a str or a LogLine")
