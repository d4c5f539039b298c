"""Finding connectors: modules by name, and entry points of installed packages."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import TYPE_CHECKING, NamedTuple

import structlog

from flytower.connectors.base import AsyncConnectorBase, SyncConnectorBase
from flytower.connectors.registry import ConnectorRegistry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = structlog.get_logger(__name__)

ENTRY_POINT_GROUP = "flytower.connectors"


class LoadFailure(NamedTuple):
    """A module whose connectors are not served.

    Args:
        name: The module, or the entry point as "name = module:object".
        reason: What it raised, in one line.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def load_modules(names: Iterable[str], registry: Registry | None = None) -> list[LoadFailure]:
    """Import modules, which register their connectors with ConnectorRegistry.

    Args:
        names: Module names.
        registry: A registry that takes over what ConnectorRegistry then has; none is needed to use that one itself.

    Returns:
        Those that failed. Whatever such a module had registered by then is taken back; the others are served.
    """
    failures = [_attempt(name, functools.partial(importlib.import_module, name)) for name in names]
    return _finish(failures, registry)


def load_entry_points(group: str = ENTRY_POINT_GROUP, registry: Registry | None = None) -> list[LoadFailure]:
    """Load the entry points of a group: modules that register, or connector classes, or instances.

    Arguments and result are as for `load_modules`.
    """
    points = importlib.metadata.entry_points(group=group)
    failures = [
        _attempt(f"{point.name} = {point.value}", functools.partial(_load_entry_point, point)) for point in points
    ]
    return _finish(failures, registry)


def _load_entry_point(point: importlib.metadata.EntryPoint) -> None:
    _register(point.load())


def _register(found: object) -> None:
    """Register what an entry point names, unless its own import has done so."""
    registered = [bound.connector for bound in ConnectorRegistry.default.list_bound()]
    if isinstance(found, type) and issubclass(found, AsyncConnectorBase | SyncConnectorBase):
        if found not in map(type, registered):
            ConnectorRegistry.register(found())  # type: ignore[call-arg]  # a class named there takes no arguments
    elif isinstance(found, AsyncConnectorBase | SyncConnectorBase) and found not in registered:
        ConnectorRegistry.register(found)


def _attempt(name: str, load: Callable[[], object]) -> LoadFailure | None:
    before = ConnectorRegistry.default.copy()
    try:
        load()
    except (Exception, SystemExit) as error:
        ConnectorRegistry.default.restore(before)
        failure = LoadFailure(name, f"{type(error).__name__}: {error}")
        log.warning("connectors could not be loaded", module=name, reason=failure.reason, exc_info=error)
        return failure
    return None


def _finish(failures: Iterable[LoadFailure | None], registry: Registry | None) -> list[LoadFailure]:
    if registry is not None and registry is not ConnectorRegistry.default:
        registry.include(ConnectorRegistry.default)
    return [failure for failure in failures if failure is not None]
