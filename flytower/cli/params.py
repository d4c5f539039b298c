"""Reads what is typed on a command line, and says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flytower.cli.output import text_to_meta

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_meta(_ctx: click.Context, _parameter: click.Parameter, text: str) -> bytes:
    """Return the bytes of a resource_meta as `submit` prints it."""
    try:
        return text_to_meta(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def read_inputs(_ctx: click.Context, _parameter: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Return inputs given as NAME=VALUE, the value as JSON, or as it is when it is none."""
    return dict(_read_input(text) for text in texts)


def _read_input(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is not NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def read_custom(_ctx: click.Context, _parameter: click.Parameter, text: str) -> dict[str, Any]:
    """Return a JSON object, written here or in a file, @FILE."""
    try:
        data = json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{error}") from None
    if not isinstance(data, dict):
        raise click.BadParameter(f"must be a JSON object, not {text!r}.")
    return data


def read_endpoint(_ctx: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal()):
        raise click.BadParameter(f"must be HOST:PORT, not {text!r}.")
    return host.strip("[]"), int(port)
