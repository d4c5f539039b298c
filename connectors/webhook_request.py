"""What a webhook task asks for: its config with the inputs filled in, checked."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from flytower.connectors.errors import InvalidRequest
from flytower.protocol.codec import struct_to_dict
from flytower.protocol.literals import from_literal_map

if TYPE_CHECKING:
    from flytower.protocol.generated.flyteidl.core import LiteralMap, TaskTemplate

TIMEOUT_DEFAULT = 10.0
"""Seconds; what flytekit's task has, and how long Flyte waits for a synchronous task unless told otherwise."""

TIMEOUT_LIMIT = 50.0
"""Seconds. Longer calls are no synchronous tasks; below `do_timeout`, so that the task hears the reason."""

_PLACEHOLDER = re.compile(r"\{([^{}]*\.[^{}]*)\}")

_ORDINARY_HEADERS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""Headers whose values are no secrets. Every other one may be a key, whatever it is called."""


class WebhookRequest(NamedTuple):
    """One request to make. Its `repr` shows neither headers nor URL, which hold tokens.

    Args:
        url: Where to.
        method: GET, with `data` as the query, or POST, with `data` as JSON.
        headers: Header name -> value.
        data: The parameters or the body.
        timeout: Seconds for all of it.
        show_data: Whether `data` becomes part of the result.
        show_url: Whether the URL does.
    """

    url: str
    method: str
    headers: Mapping[str, str]
    data: Any
    timeout: float
    show_data: bool
    show_url: bool

    def __repr__(self) -> str:
        return f"<WebhookRequest {self.method}, {len(self.headers)} headers>"

    def secrets(self) -> list[str]:
        """Return what must not be in a message: header values, whole and in words ("Bearer", the token)."""
        values = [value for name, value in self.headers.items() if name.lower() not in _ORDINARY_HEADERS]
        return [*values, *(word for value in values for word in value.split()), self.url]


def request_of(template: TaskTemplate, inputs: LiteralMap | None) -> WebhookRequest:
    """Return what a task asks for, in the keys of flytekit's webhook task.

    Any string of the config can hold `{inputs.name}`. A string that is nothing else becomes the input's value.

    Raises:
        InvalidRequest: A key is missing or not what it must be, or an input is not there.
    """
    custom = struct_to_dict(template.custom, "custom") if template.custom else {}
    config = _fill(custom, {"inputs": _inputs(inputs)})
    return WebhookRequest(
        url=_checked_url(config.get("url")),
        method=_checked_method(config.get("method")),
        headers=_checked_headers(config.get("headers")),
        data=config.get("data"),
        timeout=_checked_timeout(config.get("timeout_sec", config.get("timeout"))),
        show_data=config.get("show_data") is True,
        show_url=config.get("show_url") is True,
    )


def _inputs(inputs: LiteralMap | None) -> dict[str, Any]:
    try:
        values = from_literal_map(inputs) if inputs is not None else {}
    except ValueError as error:
        raise InvalidRequest(f"an input cannot be read: {error}") from error
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Return a value as text or JSON can have it; files and tables as where they are, as flytekit does."""
    match value:
        case dt.datetime():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode(errors="replace")
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
    return getattr(value, "uri", value)


def _fill(config: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(config, str):
        whole = _PLACEHOLDER.fullmatch(config)
        if whole:
            return _look_up(whole[1], values)
        return _PLACEHOLDER.sub(lambda match: str(_look_up(match[1], values)), config)
    if isinstance(config, list):
        return [_fill(item, values) for item in config]
    if isinstance(config, dict):
        return {key: _fill(item, values) for key, item in config.items()}
    return config


def _look_up(path: str, values: Mapping[str, Any]) -> Any:
    found: Any = values
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            raise InvalidRequest(f"Could not find the key {key} of {{{path}}} among the inputs")
        found = found[key]
    return found


def _checked_url(url: Any) -> str:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        good = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise InvalidRequest("url must be one that begins with http:// or https:// and names a host")
    return str(url)


def _checked_method(method: Any) -> str:
    name = "POST" if method is None else str(method).upper()
    if name not in ("GET", "POST"):
        raise InvalidRequest("method must be GET or POST")
    return name


def _checked_headers(headers: Any) -> dict[str, str]:
    if headers is None:
        return {}
    if not isinstance(headers, dict):
        raise InvalidRequest("headers must be a dictionary of strings")
    checked = {name: str(value) for name, value in headers.items()}
    for name, value in checked.items():
        if not (name.isascii() and value.isascii() and name.isprintable() and value.isprintable()):
            raise InvalidRequest("a header has a character that HTTP does not allow; its value is not shown here")
    return checked


def _checked_timeout(timeout: Any) -> float:
    if timeout is None:
        return TIMEOUT_DEFAULT
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool) and math.isfinite(timeout)
    if not number or timeout <= 0:
        raise InvalidRequest("timeout_sec must be a number of seconds above 0")
    return float(min(timeout, TIMEOUT_LIMIT))
