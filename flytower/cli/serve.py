"""`flytower serve`: a server from its settings to its end."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import structlog
import trio

from flytower.actors.ledger.opening import open_store
from flytower.actors.ledger.store import LedgerError
from flytower.actors.node import NodeConfig, open_node
from flytower.cli.lean_imports import without_collections
from flytower.cli.log_setup import configure_logs
from flytower.cli.options import CommandOfSeveralValues, SeveralValues
from flytower.cli.stopping import Stopping
from flytower.cli.table import print_table
from flytower.connectors.loading import load_entry_points, load_modules
from flytower.connectors.registry import ConnectorRegistry
from flytower.protocol.status import leaves
from flytower.runtime.errors import SystemFailed
from flytower.setting_sources import load
from flytower.settings import FORMATS, LEVELS, Settings, SettingsError, ledger_url, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flytower.actors.ledger.store import Store
    from flytower.actors.node import Node
    from flytower.connectors.flytekit.own_loop import OwnLoop
    from flytower.connectors.loading import LoadFailure

log = structlog.get_logger(__name__)

CLOSE_SECONDS: Final = 5.0
"""How long closing the ledger may take: a checkpoint of SQLite's log takes less."""

YOUNG_OBJECTS: Final = 20_000
"""Objects that are made between two looks of the garbage collector, some megabytes; Python's 700 are for scripts."""


@click.command(cls=CommandOfSeveralValues)
@click.option("--host", help="Address that gRPC listens on.  [127.0.0.1]")
@click.option("--port", help="Port of gRPC; 0 picks one.  [8000]")
@click.option("--metrics-host", help="Address of /metrics, the probes and the status page.  [127.0.0.1]")
@click.option("--metrics-port", help='Port of the same; 0 picks one, "off" serves none.  [9090]')
@click.option("--modules", cls=SeveralValues, multiple=True, metavar="MODULE...", help="Modules to import.")
@click.option("--flytekit/--no-flytekit", default=None, help="Serve flytekit's connectors and plugins, unmodified.")
@click.option("--entry-points/--no-entry-points", default=None, help="Whether installed packages bring connectors.")
@click.option(
    "--ledger", help="Where tasks are kept: sqlite:///PATH, postgresql://..., memory://.  [a file in ~/.local/state]"
)
@click.option("--grace", help="Seconds from SIGTERM to the end; calls in flight get most of them.  [25]")
@click.option("--log-level", metavar="|".join(LEVELS), help="[info]")
@click.option("--log-format", metavar="|".join(FORMATS), help="[auto: console on a terminal]")
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file.  [FLYTOWER_CONFIG]")
def serve(config: Path | None, **flags: Any) -> None:
    """Serve the connectors that MODULES and installed packages register.

    Prints one line on stdout when it is ready: `flytower ready grpc=HOST:PORT metrics=HOST:PORT`. SIGTERM and SIGINT
    stop it in order: health turns NOT_SERVING, calls in flight finish, and it exits with 0 within the grace.
    External jobs go on. A second signal stops it at once.
    """
    flags["modules"] = flags["modules"] or None
    try:
        settings = load(flags, os.environ, config)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    configure_logs(settings.log_level, settings.log_format)
    with without_collections():
        loops = _load_connectors(settings)
    collect_less_often()
    try:
        sys.exit(trio.run(run_server, settings))
    finally:
        for loop in loops:
            loop.close()


def collect_less_often() -> None:
    """Have the garbage collector look less often.

    A live task is a handful of objects that it would otherwise go through again and again: a create costs a tenth less.
    """
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def _load_connectors(settings: Settings) -> list[OwnLoop]:
    """Load what brings connectors; a module that fails is named, and the others are served."""
    sys.path.insert(0, str(Path.cwd()))  # where an author runs the server from, their modules are
    failures = load_entry_points() if settings.entry_points else []
    loops: list[OwnLoop] = []
    if settings.flytekit:
        failures_of_flytekit, loops = _load_flytekit(settings)
        failures += failures_of_flytekit
    else:
        failures += load_modules(settings.modules)
    agents = ConnectorRegistry.list_connectors()
    rows = [
        (
            agent.name,
            ", ".join(f"{category.name} ({category.version})" for category in agent.supported_task_categories),
            "sync" if agent.is_sync else "async",
        )
        for agent in agents
    ]
    if rows and sys.stderr.isatty():
        print_table(("Connector", "Task types (version)", "Kind"), rows, err=True)
    else:
        for name, types, kind in rows:
            log.info("Serving a connector", name=name, task_types=types, kind=kind)
    if not rows:
        log.warning("There is no connector to serve; name modules that register some with --modules")
    if failures and sys.stderr.isatty():
        click.secho("\n".join(f"Not served: {failure}" for failure in failures), fg="red", err=True)
    return loops


def _load_flytekit(settings: Settings) -> tuple[list[LoadFailure], list[OwnLoop]]:
    from flytower.connectors import flytekit  # noqa: PLC0415 - a second and 100 MiB that only its users pay

    try:
        loaded = flytekit.load(
            settings.modules,
            own_loop=settings.flytekit_own_loop,
            pickled_metadata=settings.flytekit_pickled_metadata,
        )
    except flytekit.FlytekitMissing as error:
        raise click.UsageError(str(error)) from None
    return loaded.failures, loaded.loops


async def run_server(settings: Settings) -> int:
    """Run a server until a signal; return the exit code of the process."""
    try:
        await _check_addresses(settings)
    except OSError as error:
        log.critical("The server cannot start", reason=str(error))
        return 1
    stopping = Stopping(settings.grace)
    code = 0
    try:
        async with trio.open_nursery() as nursery:
            with stopping.listening(nursery.cancel_scope):
                await _serve_until_asked(settings, stopping)
            nursery.cancel_scope.cancel(reason="the server has stopped")
    except* (SystemFailed, LedgerError) as failures:
        for failure in leaves(failures):
            log.critical("The server failed", reason=str(failure))
        code = 1
    return stopping.code or code


async def _serve_until_asked(settings: Settings, stopping: Stopping) -> None:
    async with _opened_ledger(settings, stopping) as store:
        if store is None:
            return
        async with open_node(_node_config(settings, store)) as node:
            _say_ready(node)
            await stopping.asked.wait()
            await node.stop(stopping.left)


@asynccontextmanager
async def _opened_ledger(settings: Settings, stopping: Stopping) -> AsyncIterator[Store | None]:
    """Open the ledger, and close it in the end. None: the server was asked to stop before it was open.

    Raises:
        LedgerError: It cannot be opened; the message says what is wrong with it.
    """
    store: Store | None = None
    log.info("Opening the ledger", ledger=shown(settings.ledger))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stopping.cancel_when_asked, nursery.cancel_scope)
        # It may take long to be given up by another server; then the thread that waits is of no use any more.
        store = await trio.to_thread.run_sync(
            partial(open_store, ledger_url(settings), wait=settings.ledger_wait), abandon_on_cancel=True
        )
        nursery.cancel_scope.cancel(reason="the ledger is open")
    try:
        yield store
    finally:
        if store is not None:
            with trio.move_on_after(CLOSE_SECONDS, shield=True):  # all is written by now: it is just good manners
                await trio.to_thread.run_sync(store.close, abandon_on_cancel=True)


async def _check_addresses(settings: Settings) -> None:
    """Find out at once what the supervisors would retry for seconds: that an address cannot be listened on.

    Raises:
        OSError: One cannot.
    """
    for host, port in ((settings.host, settings.port), (settings.metrics_host, settings.metrics_port)):
        if port is None:
            continue
        try:
            listeners = await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            raise OSError(f"{format_address((host, port))} cannot be listened on: {error.strerror or error}") from error
        for listener in listeners:
            await listener.aclose()


def _node_config(settings: Settings, store: Store) -> NodeConfig:
    return NodeConfig(
        registry=ConnectorRegistry.default,
        host=settings.host,
        port=settings.port,
        metrics_host=settings.metrics_host,
        metrics_port=settings.metrics_port,
        grace=settings.grace,
        limits=settings.limits,
        tasks=settings.tasks,
        retention=settings.retention,
        watchdog=settings.watchdog,
        store=store,
    )


def _say_ready(node: Node) -> None:
    """Print the one line that scripts wait for."""
    metrics = format_address(node.metrics_address) if node.metrics_address is not None else "off"
    click.echo(f"flytower ready grpc={format_address(node.address)} metrics={metrics}")
    sys.stdout.flush()


def format_address(address: tuple[str, int]) -> str:
    """Return "host:port", with brackets around an IPv6 address."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
