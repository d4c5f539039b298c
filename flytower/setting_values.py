"""The values of settings: from a flag's or a variable's text, and from a TOML file."""

from __future__ import annotations

import math
from typing import Any, Final

_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})

OFF: Final = "off"
"""How to say None, where there is something to switch off."""


def from_text(kind: Any, text: str) -> Any:
    """Read a value of a flag or a variable.

    Raises:
        ValueError: It is none of that type; the message goes on after the setting's name.
    """
    text = text.strip()
    if kind is bool:
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError(f"must be true or false, not {text!r}")
        return text.lower() in _TRUE
    if kind == tuple[str, ...]:
        return tuple(text.replace(",", " ").split())
    if kind == int | None and text.lower() == OFF:
        return None
    return text if kind is str else _number(kind, text)


def _number(kind: Any, text: str) -> int | float:
    try:
        number = float(text) if kind is float else int(text)
    except ValueError:
        raise ValueError(f"must be {_described(kind)}, not {text!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"must be {_described(kind)}, not {text!r}")
    return number


def from_toml(kind: Any, value: object) -> Any:
    """Take a value of the file.

    Raises:
        ValueError: As `from_text`.
    """
    if kind == int | None and value == OFF:
        return None
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if type(value) is (int if kind == int | None else kind):
        return value
    raise ValueError(f"must be {_described(kind)}, not {value!r}")


def _described(kind: Any) -> str:
    if kind == tuple[str, ...]:
        return "a list of strings"
    if kind == int | None:
        return 'a whole number or "off"'
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}[kind]
