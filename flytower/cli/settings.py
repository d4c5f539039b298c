"""`flytower settings`: what is in force, and why."""

from __future__ import annotations

import os
from pathlib import Path

import click

from flytower.cli.output import print_json
from flytower.cli.table import print_table
from flytower.setting_sources import load
from flytower.settings import SettingsError, catalogue, shown


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file.  [FLYTOWER_CONFIG]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def settings(config: Path | None, *, as_json: bool) -> None:
    """Print every setting of a server, its value, and where that came from."""
    try:
        found = load({}, os.environ, config)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        print_json(
            {key.name: {"value": shown(found.value(key.name)), "origin": found.origin(key.name)} for key in catalogue()}
        )
        return
    rows = [
        (key.name, str(shown(found.value(key.name))), found.origin(key.name), key.variable, key.doc)
        for key in catalogue()
    ]
    print_table(("Setting", "Value", "From", "Variable", "What"), rows)
