"""`flytower run`: a task without a server, on the same task actors."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flytower.actors.local import LocalExecutionFailed, LocalTimeout, outputs_of, run_task
from flytower.cli.log_setup import configure_logs
from flytower.cli.output import print_json
from flytower.cli.params import read_custom, read_inputs
from flytower.cli.session import FAILED, INTERRUPTED
from flytower.cli.template import template_and_inputs
from flytower.connectors.errors import FlyteConnectorNotFound
from flytower.connectors.loading import load_entry_points, load_modules
from flytower.protocol.generated.flyteidl import admin
from flytower.protocol.status import RpcError

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.argument("task_type", metavar="TYPE")
@click.argument("args", nargs=-1, metavar="[-- ARGS...]")
@click.option("--version", "type_version", default=0, show_default=True, help="Of the task type.")
@click.option("--custom", callback=read_custom, default="{}", metavar="JSON|@FILE", help="The task's configuration.")
@click.option(
    "--input", "inputs", callback=read_inputs, multiple=True, metavar="NAME=VALUE", help="An input, the value as JSON."
)
@click.option("--modules", multiple=True, metavar="MODULE", help="A module that registers connectors; repeatable.")
@click.option("--flytekit", is_flag=True, help="Load flytekit's connectors and plugins, unmodified.")
@click.option("--output-prefix", help="Where outputs go.  [a folder that is removed afterwards]")
@click.option("--timeout", type=float, help="Seconds after which the job is deleted.")
def run(
    task_type: str,
    args: Sequence[str],
    type_version: int,
    custom: dict[str, Any],
    inputs: dict[str, Any],
    modules: Sequence[str],
    output_prefix: str | None,
    timeout: float | None,
    *,
    flytekit: bool,
) -> None:
    """Run one task here, without a server: its progress on stderr, its outputs as JSON on stdout.

    Ctrl-C deletes the job, and waits for that; a second one gives up, and says what may be left. Exits with 0 when the
    task succeeded, 1 when it failed, 2 when the command line is wrong, 130 when it was interrupted, 143 after SIGTERM.
    """
    configure_logs("warning", "auto")
    _load_connectors(modules, flytekit=flytekit)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a module that imports flytekit has made it an exit(1)
    category = admin.TaskCategory(name=task_type, version=type_version)
    template, literals = template_and_inputs(task_type, category, args, custom, inputs)
    with tempfile.TemporaryDirectory(prefix="flytower-run-") as folder:
        prefix = output_prefix or folder
        try:
            print_json(outputs_of(run_task(template, literals, prefix, timeout=timeout), prefix))
        except FlyteConnectorNotFound as error:
            raise click.UsageError(str(error)) from None
        except (LocalExecutionFailed, LocalTimeout, RpcError) as error:
            click.echo(f"{task_type}: {error}", err=True)
            sys.exit(FAILED)
        except KeyboardInterrupt:
            click.echo(f"{task_type}: interrupted", err=True)
            sys.exit(INTERRUPTED)


def _load_connectors(modules: Sequence[str], *, flytekit: bool) -> None:
    """Load what brings connectors; what cannot be loaded is logged."""
    sys.path.insert(0, str(Path.cwd()))
    load_entry_points()
    if flytekit:
        _load_flytekit(modules)
    else:
        load_modules(modules)


def _load_flytekit(modules: Sequence[str]) -> None:
    from flytower.connectors import flytekit  # noqa: PLC0415 - a second and 40 MiB that only its users pay

    try:
        flytekit.load(modules, own_loop=flytekit.EVERY, pickled_metadata=flytekit.EVERY)
    except flytekit.FlytekitMissing as error:
        raise click.UsageError(str(error)) from None
