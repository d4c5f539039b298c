"""What names an external job, as an object for the author and as bytes for Flyte."""

from __future__ import annotations

import dataclasses
import json
import math
from enum import Enum
from typing import Any, ClassVar, NoReturn, Self, TypeVar, dataclass_transform

from flytower.connectors import shape
from flytower.connectors.errors import ResourceMetaError

M = TypeVar("M", bound="ResourceMeta")

RESOURCE_META_LIMIT = 64 * 1024
"""Bytes. An id needs a hundred; some connectors written for flytekit carry the task's whole configuration. Flyte
keeps these bytes in etcd, where an object with everything else in it ends at 1.5 MiB."""


@dataclass_transform()
class ResourceMeta:
    """The identity of an external job: what `create` returns, and what every other method is given.

    Subclass it with annotated fields. Subclasses are dataclasses, with or without the decorator:

        class QueryMeta(ResourceMeta):
            query_id: str
            region: str = "eu"

    The bytes travel through Flyte and come back from the network, so never put a secret into a field, and never
    take a field for a trusted URL or a piece of SQL. Fields can be str, int, float, bool, None, enums, lists,
    tuples, dicts with string keys, other dataclasses, and unions of them; `encode` and `decode` may be overridden.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make the class a dataclass before its first instance: any sooner would be ahead of an author's decorator."""
        if "__dataclass_fields__" not in cls.__dict__:
            ensure_dataclass(cls)
        return super().__new__(cls)

    def encode(self) -> bytes:
        """Return the object as compact JSON in UTF-8, its fields in order.

        Raises:
            ResourceMetaError: A field holds something that JSON cannot, or it is all too long.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}
        try:
            text = json.dumps(fields, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            data = text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ResourceMetaError(f"{type(self).__name__} cannot be encoded: {error}") from error
        if len(data) > RESOURCE_META_LIMIT:
            raise ResourceMetaError(
                f"{type(self).__name__} takes {len(data)} bytes, more than {RESOURCE_META_LIMIT}: "
                "keep an id in it, and what the id stands for elsewhere"
            )
        return data

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the object that these bytes stand for.

        Raises:
            ResourceMetaError: They are none of this class. The message names each unknown, missing and mistyped field.
        """
        return _decode_untrusted(cls, data)


def ensure_dataclass(cls: type[ResourceMeta]) -> None:
    """Make a subclass a dataclass unless it is one in its own right; frozen when its parent is."""
    if cls is ResourceMeta or "__dataclass_fields__" in vars(cls):
        return
    for parent in cls.__mro__[-1:0:-1]:
        if parent is not ResourceMeta and issubclass(parent, ResourceMeta):
            ensure_dataclass(parent)
    parameters = getattr(cls, "__dataclass_params__", None)
    dataclasses.dataclass(frozen=bool(parameters and parameters.frozen))(cls)


def _plain(value: object) -> object:
    """Turn what JSON does not know into what it knows."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    raise TypeError(f"a {type(value).__name__} has no place in JSON")


def _decode_untrusted(cls: type[M], data: bytes) -> M:
    if "__dataclass_fields__" not in cls.__dict__:
        ensure_dataclass(cls)
    fields = _load_untrusted(cls.__name__, data)
    faults: list[str] = []
    values = fields if shape.is_plain_untrusted(cls, fields) else shape.build_fields_untrusted(cls, fields, "", faults)
    if faults:
        raise ResourceMetaError(f"resource_meta is no {cls.__name__}: " + "; ".join(faults))
    try:
        return cls(**values)
    except Exception as error:
        raise ResourceMetaError(f"resource_meta is no {cls.__name__}: {error}") from error


def _load_untrusted(name: str, data: bytes) -> dict[str, Any]:
    """Parse a JSON object, strictly: what two parsers could read differently is refused."""
    if len(data) > RESOURCE_META_LIMIT:
        raise ResourceMetaError(f"resource_meta has {len(data)} bytes; a {name} has {RESOURCE_META_LIMIT} at most")
    try:
        text = bytes(data).decode()
        value = _parsed_untrusted(text)
        if "\\" in text:  # only an escape can bring in a lone surrogate, which nothing could send on
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ResourceMetaError(f"resource_meta is no {name}: it is not JSON as it should be ({error})") from error
    if not isinstance(value, dict):
        raise ResourceMetaError(f"resource_meta is no {name}: it is a JSON {type(value).__name__}, not an object")
    return value


def _parsed_untrusted(text: str) -> Any:
    """Parse JSON: what has no space around it, such as all that `encode` writes, without looking for that."""
    if text[:1] == "{":
        value, end = _STRICT.raw_decode(text)
        if end == len(text):
            return value
    return _STRICT.decode(text)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not allowed")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique)
