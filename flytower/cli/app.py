"""The group of all commands."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final, cast

import click

import flytower
from flytower.cli.lean_imports import lean_imports

if TYPE_CHECKING:
    from types import ModuleType

COMMANDS: Final = {
    "serve": ("flytower.cli.serve", "serve"),
    "submit": ("flytower.cli.tasks", "submit"),
    "get": ("flytower.cli.tasks", "get"),
    "delete": ("flytower.cli.tasks", "delete"),
    "logs": ("flytower.cli.tasks", "logs"),
    "connectors": ("flytower.cli.tasks", "connectors"),
    "tasks": ("flytower.cli.ledger", "tasks"),
    "settings": ("flytower.cli.settings", "settings"),
    "run": ("flytower.cli.run", "run"),
    "demo": ("flytower.cli.demo", "demo"),
}
"""Where each command is. In the order in which a newcomer needs them."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in our order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        name, attribute = COMMANDS[cmd_name]
        return cast("click.Command", getattr(_module(name), attribute))


def _module(name: str) -> ModuleType:
    if name not in sys.modules:
        with lean_imports():
            importlib.import_module(name)
    return sys.modules[name]


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    if value and not ctx.resilient_parsing:
        click.echo(f"flytower {flytower.__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def main() -> None:
    """Serve Flyte connectors, and talk to servers of them.

    `flytower serve` runs a server; `submit`, `get`, `delete`, `logs` and `connectors` are clients of any connector
    server, Flytower's or flytekit's. They exit with 0 when all is well, 1 when a task or a request failed, 2 when the
    command line is wrong, 3 when the server cannot be reached.
    """
