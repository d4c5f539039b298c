"""From bytes that a peer sent to a message.

betterproto2's own `parse` is for bytes that one wrote oneself: it takes a message that is cut off for a whole one, puts
a number into a string field when the bytes say so, keeps two members of a oneof, and recurses as deep as it is told to.
This reads the same messages as protobuf's specification asks for, in a third of the time:

- truncation, a wrong length, a string that is not UTF-8 and nesting beyond 100 are errors;
- a field that is not known, or has another wire type than declared, is stepped over and not kept;
- of the members of a oneof the last one stays; a message that comes in two parts is merged.

What a message and those right inside it were read from is kept beside them, see `received`.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, get_args, get_type_hints

import betterproto2
from betterproto2 import FieldMetadata

from flytower.protocol.received import is_shared, note, received
from flytower.protocol.wire import (
    LENGTH_DELIMITED,
    LONG_VARINT,
    MAX_NESTING,
    SCALARS,
    VARINT,
    DecodeError,
    checked_tag,
    read_span_untrusted,
    read_tag_untrusted,
    read_varint_untrusted,
    skip_untrusted,
    to_int32,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from betterproto2 import Message

    from flytower.protocol.wire import Read

M = TypeVar("M", bound="Message")

Known: TypeAlias = "Callable[[bytes], Message | None]"
"""Returns the message that an encoding is known to stand for, or None."""


def not_known(_encoded: bytes) -> None:
    """Know nothing."""


MAX_MESSAGES = 250_000
"""Messages inside one message. Two bytes on the wire become an object of 200 and more, so that 4 MiB of them would take
half a gigabyte; these take some 50 MB. A list of 80,000 numbers stays below it."""


def decode_untrusted(
    message_type: type[M], data: bytes, max_messages: int = MAX_MESSAGES, known: Known = not_known
) -> M:
    """Return the message that a peer sent.

    Args:
        message_type: What was sent.
        data: Its encoding.
        max_messages: How many messages it may consist of, itself not counted.
        known: Given the encoding of a message right inside it, returns that message if it is at hand; it is then taken
            as it is, and several may share it.

    Raises:
        DecodeError: These bytes are no such message, or one too deep or too large. The sender's fault.
    """
    message: M = _blank(message_type)
    _Reader(data, max_messages, known).fill(message, 0, len(data), 0)
    note(message, data)
    return message


def own(message: M) -> M:
    """Return a message that nobody else has: itself, or another like it when several share it."""
    return decode_untrusted(type(message), received(message)) if is_shared(message) else message


class _Reader:
    """One decoding: the bytes, how many more messages may be made of them, and those that need not be made."""

    __slots__ = ("_messages_left", "data", "known")

    def __init__(self, data: bytes, max_messages: int, known: Known) -> None:
        self.data = data
        self._messages_left = max_messages
        self.known = known

    def fill(self, message: Message, position: int, end: int, nesting: int) -> None:
        """Put the fields that are found in a region into a message."""
        data, fields = self.data, _fields_of(type(message))
        while position < end:
            tag = data[position]
            if tag < LONG_VARINT:  # one of the first fifteen fields, as nearly always
                position += 1
            else:
                tag, position = read_tag_untrusted(data, position, end)
            field = fields.get(tag)
            if field is not None:
                position = field.take(self, message, position, end, nesting)
            else:
                position = skip_untrusted(data, position, end, checked_tag(tag))

    def submessage(self, message: Message, position: int, end: int, nesting: int) -> int:
        """Fill a message from the length and the content that begin at a position, and return where they end."""
        self.count(nesting)
        start, stop = read_span_untrusted(self.data, position, end)
        self.fill(message, start, stop, nesting + 1)
        return stop

    def count(self, nesting: int) -> None:
        """Count one more message at a depth."""
        if nesting >= MAX_NESTING:
            raise DecodeError(f"messages are nested more than {MAX_NESTING} deep")
        self._messages_left -= 1
        if self._messages_left < 0:
            raise DecodeError("too many messages in one message")


class _Field(Protocol):
    def take(self, reader: _Reader, message: Message, position: int, end: int, nesting: int) -> int:
        """Read one occurrence of the field into the message, and return where it ends."""


Fields: TypeAlias = dict[int, _Field]


class _Single:
    """A field with one value, and the others of its oneof, which it displaces."""

    __slots__ = ("name", "read", "rivals")

    def __init__(self, name: str, read: Read, rivals: tuple[str, ...]) -> None:
        self.name, self.read, self.rivals = name, read, rivals

    def take(self, reader: _Reader, message: Message, position: int, end: int, _nesting: int) -> int:
        value, position = self.read(reader.data, position, end)
        setattr(message, self.name, value)
        for rival in self.rivals:
            setattr(message, rival, None)
        return position


class _Repeated:
    __slots__ = ("name", "read")

    def __init__(self, name: str, read: Read) -> None:
        self.name, self.read = name, read

    def take(self, reader: _Reader, message: Message, position: int, end: int, _nesting: int) -> int:
        value, position = self.read(reader.data, position, end)
        getattr(message, self.name).append(value)
        return position


class _Packed:
    """Numbers one after another in one field; a repeated number may come this way or the other."""

    __slots__ = ("name", "read")

    def __init__(self, name: str, read: Read) -> None:
        self.name, self.read = name, read

    def take(self, reader: _Reader, message: Message, position: int, end: int, _nesting: int) -> int:
        position, stop = read_span_untrusted(reader.data, position, end)
        values = getattr(message, self.name)
        while position < stop:
            value, position = self.read(reader.data, position, stop)
            values.append(value)
        return stop


class _SingleMessage:
    __slots__ = ("kind", "name", "rivals")

    def __init__(self, name: str, kind: type[Message], rivals: tuple[str, ...]) -> None:
        self.name, self.kind, self.rivals = name, kind, rivals

    def take(self, reader: _Reader, message: Message, position: int, end: int, nesting: int) -> int:
        if nesting == 0:
            return self._take_outermost(reader, message, position, end)
        value = getattr(message, self.name)
        if value is None:
            value = self._put(message, _blank(self.kind))
        return reader.submessage(value, position, end, nesting)

    def _take_outermost(self, reader: _Reader, message: Message, position: int, end: int) -> int:
        """Read one of those whose bytes are kept, or take it as it is known."""
        start, stop = read_span_untrusted(reader.data, position, end)
        encoded = reader.data[start:stop]
        value, shared = getattr(message, self.name), None
        if value is None:
            shared = reader.known(encoded)
        elif is_shared(value):  # it goes on here, in a second part, and not for others
            value = self._put(message, own(value))
        if type(shared) is self.kind:
            reader.count(0)
            self._put(message, shared)
            return stop
        value = self._put(message, _blank(self.kind)) if value is None else value
        reader.submessage(value, position, end, 0)
        note(value, encoded)
        return stop

    def _put(self, message: Message, value: Message) -> Message:
        setattr(message, self.name, value)
        for rival in self.rivals:
            setattr(message, rival, None)
        return value


class _RepeatedMessage:
    __slots__ = ("kind", "name")

    def __init__(self, name: str, kind: type[Message]) -> None:
        self.name, self.kind = name, kind

    def take(self, reader: _Reader, message: Message, position: int, end: int, nesting: int) -> int:
        value = _blank(self.kind)
        getattr(message, self.name).append(value)
        return reader.submessage(value, position, end, nesting)


class _Map:
    """A map is a repeated message of two fields, either of which may be missing."""

    __slots__ = ("entry", "name", "value_type")

    def __init__(self, name: str, entry: type[Message], value_type: Any) -> None:
        self.name, self.entry, self.value_type = name, entry, value_type

    def take(self, reader: _Reader, message: Message, position: int, end: int, nesting: int) -> int:
        entry: Any = _blank(self.entry)
        position = reader.submessage(entry, position, end, nesting)
        if entry.value is None:
            entry.value = _blank(self.value_type)
        getattr(message, self.name)[entry.key] = entry.value
        return position


def _blank(message_type: type[M]) -> M:
    """Return what `message_type()` does, without going through each field's default."""
    values, containers = _defaults_of(message_type)
    message = object.__new__(message_type)
    attributes = message.__dict__
    attributes.update(values)
    for name, container in containers:
        attributes[name] = container()
    return message


@functools.cache  # one entry per generated message type, of which there are some hundred
def _defaults_of(message_type: type[Message]) -> tuple[dict[str, Any], tuple[tuple[str, type], ...]]:
    """Return the attributes of an empty message that it can share with others, and those that it cannot."""
    attributes = vars(message_type())
    containers = tuple((name, type(value)) for name, value in attributes.items() if isinstance(value, list | dict))
    return {**attributes, **dict.fromkeys(dict(containers))}, containers


@functools.cache  # likewise
def _fields_of(message_type: type[Message]) -> Fields:
    module = vars(sys.modules[message_type.__module__])
    hints = get_type_hints(message_type, module, {})  # not the class's own names: a field may be called like a type
    fields = dataclasses.fields(message_type)  # type: ignore[arg-type]  # every generated message is a dataclass
    found: Fields = {}
    for field in fields:
        found.update(_entries(field.name, FieldMetadata.get(field), hints[field.name], _rivals(field, fields)))
    return found


def _rivals(field: dataclasses.Field[Any], fields: tuple[dataclasses.Field[Any], ...]) -> tuple[str, ...]:
    group = FieldMetadata.get(field).group
    if group is None:
        return ()
    return tuple(other.name for other in fields if other is not field and FieldMetadata.get(other).group == group)


def _entries(name: str, meta: FieldMetadata, hint: Any, rivals: tuple[str, ...]) -> Fields:
    """Return how to read a field, by the tags under which it may come."""
    delimited = meta.number << 3 | LENGTH_DELIMITED
    if meta.map_meta is not None:
        return {delimited: _map_field(name, meta.map_meta, hint)}
    kind = (get_args(hint) or (hint,))[0]  # list[Kind], Kind | None, Kind
    if meta.proto_type == betterproto2.TYPE_MESSAGE:
        return {delimited: _RepeatedMessage(name, kind) if meta.repeated else _SingleMessage(name, kind, rivals)}
    wire_type, read = _value_reader(meta.proto_type, kind)
    tag = meta.number << 3 | wire_type
    if not meta.repeated:
        return {tag: _Single(name, read, rivals)}
    if wire_type == LENGTH_DELIMITED:
        return {tag: _Repeated(name, read)}
    return {tag: _Repeated(name, read), delimited: _Packed(name, read)}


def _value_reader(proto_type: str, kind: Any) -> tuple[int, Read]:
    if proto_type != betterproto2.TYPE_ENUM:
        return SCALARS[proto_type]

    def read_enum_untrusted(data: bytes, position: int, end: int) -> tuple[object, int]:
        number, position = read_varint_untrusted(data, position, end)
        return kind(to_int32(number)), position

    return VARINT, read_enum_untrusted


def _map_field(name: str, metas: tuple[FieldMetadata, FieldMetadata], hint: Any) -> _Map:
    key_type, value_type = get_args(hint)
    key = betterproto2.field(metas[0].number, metas[0].proto_type)
    value = betterproto2.field(metas[1].number, metas[1].proto_type, default_factory=functools.partial(value_type, 0))
    columns = [("key", key_type, key), ("value", value_type, value)]
    entry = dataclasses.make_dataclass("Entry", columns, bases=(betterproto2.Message,), eq=False, repr=False)
    return _Map(name, entry, value_type)
