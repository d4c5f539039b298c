"""What commands print: resources, and the bytes of a resource_meta as text that can be given back."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, Final

import click

from flytower.protocol.codec import struct_to_dict
from flytower.protocol.literals import LiteralError, from_literal_map

if TYPE_CHECKING:
    from flytower.protocol.generated.flyteidl.admin import Resource

BASE64: Final = "base64:"
"""What stands before a resource_meta that is no plain text."""


def meta_to_text(meta: bytes) -> str:
    """Return a resource_meta as text for a terminal and a shell; `text_to_meta` reads it."""
    try:
        text = meta.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text and not text.startswith((BASE64, "-")) and text == text.strip():
        return text
    return BASE64 + base64.b64encode(meta).decode()


def text_to_meta(text: str) -> bytes:
    """Return the bytes that a text of `meta_to_text` stands for.

    Raises:
        ValueError: What follows `base64:` is none.
    """
    if not text.startswith(BASE64):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(BASE64), validate=True)
    except binascii.Error as error:
        raise ValueError(f"what follows {BASE64} is no base64: {error}") from None


def resource_data(resource: Resource) -> dict[str, Any]:
    """Return a resource as data for JSON, without what is not set."""
    data: dict[str, Any] = {"phase": resource.phase.name, "message": resource.message}
    if resource.outputs is not None:
        data["outputs"] = _outputs(resource)
    data["log_links"] = [{"name": link.name, "uri": link.uri} for link in resource.log_links]
    if resource.custom_info is not None:
        data["custom_info"] = struct_to_dict(resource.custom_info, "custom_info")
    return {name: value for name, value in data.items() if value not in ("", [])}


def _outputs(resource: Resource) -> Any:
    if resource.outputs is None:
        return None
    try:
        return from_literal_map(resource.outputs)
    except LiteralError as error:  # written by who knows whom: show that it is there
        return f"cannot be shown: {error}"


def print_json(data: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(data, default=_json_default))


def _json_default(value: object) -> str:
    return meta_to_text(value) if isinstance(value, bytes) else str(value)


def print_resource(resource: Resource) -> None:
    """Print a resource for a person."""
    data = resource_data(resource)
    click.echo(f"{data.pop('phase')}{': ' + data.pop('message') if 'message' in data else ''}")
    outputs = data.pop("outputs", {})
    for name, value in outputs.items() if isinstance(outputs, dict) else [("outputs", outputs)]:
        click.echo(f"  {name} = {json.dumps(value, default=_json_default)}")
    for link in data.pop("log_links", []):
        click.echo(f"  {link['name']}: {link['uri']}")
    if "custom_info" in data:
        click.echo(f"  custom_info = {json.dumps(data['custom_info'], default=_json_default)}")
