"""Finding flytekit's connectors, and registering them here."""

from __future__ import annotations

import importlib
import importlib.metadata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from flytower.connectors.flytekit.own_loop import OwnLoop
from flytower.connectors.loading import LoadFailure, load_modules
from flytower.connectors.registry import ConnectorRegistry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

log = structlog.get_logger(__name__)

PLUGIN_GROUP = "flytekit.plugins"
"""The entry points that flytekit loads when it is imported (flytekit/__init__.py, load_implicit_plugins)."""

BUILT_IN = ("flytekit.sensor.sensor_engine", "flytekit.extras.webhook.connector")
"""The connectors that flytekit itself brings."""


class _Every:
    """Every task type, where some can be named."""

    def __contains__(self, _: object) -> bool:
        return True


EVERY = _Every()
"""For a local run: one connector works there, and its metadata never comes from elsewhere."""


class FlytekitMissing(Exception):  # noqa: N818 - it says what is missing
    """flytekit is not installed."""


class Loaded(NamedTuple):
    """What came of loading.

    Args:
        connectors: How many of flytekit's connectors are served.
        failures: Plugins, modules and connectors that are not, each with its reason.
        loops: The event loops of their own that connectors were given; to be closed when the server ends.
    """

    connectors: int
    failures: list[LoadFailure]
    loops: list[OwnLoop]


def load(
    modules: Iterable[str] = (),
    *,
    own_loop: Container[str] = (),
    pickled_metadata: Container[str] = (),
    registry: Registry | None = None,
) -> Loaded:
    """Load flytekit, its plugins and some modules, and register every connector that they have brought.

    A task type that Flytower serves itself (webhook) is flytekit's afterwards: who asks for flytekit's connectors wants
    their behaviour.

    Args:
        modules: Modules to import, which register connectors of flytekit's or of ours.
        own_loop: Task types whose coroutines block, and get an event loop of their own in a thread.
        pickled_metadata: Task types whose metadata may be unpickled by their plugin.
        registry: Where to register; the process' own by default.

    Raises:
        FlytekitMissing: flytekit is not installed.
    """
    failures = import_flytekit()
    failures += load_modules((*BUILT_IN, *modules))
    from flytower.connectors.flytekit.adapter import adapt  # noqa: PLC0415 - it imports flytekit

    into = ConnectorRegistry.default if registry is None else registry
    loops: list[OwnLoop] = []
    served = 0
    for connector in registered_connectors():
        name = connector.task_category.name
        loop = OwnLoop(name) if name in own_loop else None
        try:
            into.register(adapt(connector, loop, pickled=name in pickled_metadata), override=True)
        except Exception as error:  # noqa: BLE001 - a connector that cannot be served must not keep the others from it
            failures.append(LoadFailure(f"{connector.name} ({name})", f"{type(error).__name__}: {error}"))
            log.warning(
                "a flytekit connector is not served", connector=connector.name, task_type=name, reason=str(error)
            )
            continue
        served += 1
        if loop is not None:
            loops.append(loop)
    return Loaded(served, failures, loops)


def import_flytekit() -> list[LoadFailure]:
    """Import flytekit; a plugin of its that fails is named, and the others are there.

    Raises:
        FlytekitMissing: flytekit is not installed.
    """
    failures: list[LoadFailure] = []
    try:
        with _forgiving(failures):
            importlib.import_module("flytekit")
    except ModuleNotFoundError as error:
        if error.name != "flytekit":
            raise
        raise FlytekitMissing("flytekit is not installed: pip install 'flytower[flytekit]'") from error
    return failures


@contextmanager
def _forgiving(failures: list[LoadFailure]) -> Iterator[None]:
    """Have entry points of flytekit's group that cannot be loaded noted instead of raised.

    flytekit loads them in its own import, and one bad plugin would keep all of flytekit from being there. Start-up has
    one thread, so nobody else sees the detour.
    """
    kinds = _kinds_of_entry_points()
    originals = [kind.load for kind in kinds]
    for kind, original in zip(kinds, originals, strict=True):
        kind.load = _noting(original, failures)
    try:
        yield
    finally:
        for kind, original in zip(kinds, originals, strict=True):
            kind.load = original


def _kinds_of_entry_points() -> list[Any]:
    """Return the classes of entry points: Python's, and that of the backport, which flytekit prefers."""
    try:
        backport = importlib.import_module("importlib_metadata")
    except ModuleNotFoundError:
        return [importlib.metadata.EntryPoint]
    return [importlib.metadata.EntryPoint, backport.EntryPoint]


def _noting(load: Callable[[Any], Any], failures: list[LoadFailure]) -> Callable[[Any], Any]:
    """Return a method that loads an entry point, or notes why a plugin of flytekit's cannot be loaded."""

    def load_or_note(point: Any) -> Any:
        try:
            return load(point)
        except (Exception, SystemExit) as error:
            if point.group != PLUGIN_GROUP:
                raise
            failures.append(LoadFailure(f"{point.name} = {point.value}", f"{type(error).__name__}: {error}"))
            log.warning("a flytekit plugin could not be loaded", plugin=point.name, reason=str(error))
            return None

    return load_or_note


def registered_connectors() -> list[Any]:
    """Return what is in flytekit's registry."""
    from flytekit.extend.backend.base_connector import (  # noqa: PLC0415 - only who serves flytekit's imports it
        ConnectorRegistry as FlytekitRegistry,
    )

    return list(FlytekitRegistry._REGISTRY.values())  # noqa: SLF001 - it lists only names
