"""The node: everything that runs, in one tree.

node                    rest_for_one: what is below depends on what is above
├── timers              one heap for all that waits
├── ledger              the only writer of the store
├── registry            task category -> connector
├── connectors          one host per connector, whose children are the tasks
├── gateway             the gRPC server
├── observer            /metrics, /healthz, /readyz, the status page
├── janitor             orphans, and what operators ask of the ledger
└── watchdog            names code that blocks the event loop
"""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from flytower.actors.async_service import AsyncConnectorService
from flytower.actors.connector_host import TASKS, ConnectorHost
from flytower.actors.directory import Directory
from flytower.actors.gateway import Gateway
from flytower.actors.janitor import Janitor
from flytower.actors.ledger import Ledger, MemoryStore, Store
from flytower.actors.metadata_service import ConnectorMetadataService
from flytower.actors.metrics import Metrics
from flytower.actors.observer import Observer
from flytower.actors.registry import RegistryActor, RegistryMessage, Routes
from flytower.actors.sync_service import SyncConnectorService
from flytower.actors.views import views_of, watch
from flytower.connectors.blame import method_of
from flytower.connectors.policy import RETENTION
from flytower.protocol.health import Health
from flytower.protocol.limits import Limits
from flytower.protocol.loop import open_event_loop
from flytower.protocol.routes import AGENT_METADATA_SERVICE, ASYNC_AGENT_SERVICE, SYNC_AGENT_SERVICE
from flytower.runtime.spec import ChildSpec, ServiceSpec
from flytower.runtime.strategy import Strategy
from flytower.runtime.supervisor import Supervisor
from flytower.runtime.system import open_system
from flytower.runtime.timers import Timers
from flytower.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable

    from flytower.connectors.bound import Bound
    from flytower.connectors.category import TaskCategory
    from flytower.connectors.registry import Registry
    from flytower.runtime.system import System
    from flytower.runtime.tree import Node as TreeNode

DEFAULT_PORT = 8000
"""Where Flyte's charts look for a connector server (charts/flyteconnector)."""

DEFAULT_METRICS_PORT = 9090
"""Where flytekit's connector server shows its metrics."""

DEFAULT_GRACE = 25.0
"""Seconds from the wish to stop to the end: Kubernetes kills a pod after 30."""

DRAIN_LOOK_SECONDS = 0.05
"""Seconds between two looks at what a server that stops still waits for."""

DEFAULT_LIMITS: Final = Limits()
"""What clients may do, unless told otherwise."""

STOP_SECONDS = 10.0
"""Seconds of the grace that the parts of the tree get to stop in, after calls and creates have had theirs."""

STOP_SHARE = 0.5
"""The largest share of the grace that this may be."""


class NodeConfig(NamedTuple):
    """What a node serves, and where.

    Args:
        registry: The connectors to serve.
        host: The address to listen on; loopback unless told otherwise, since the wire has no authentication.
        port: The port; 0 picks one, None serves nobody (local runs, where the caller talks to `Node.tasks`).
        metrics_host: The observer's address.
        metrics_port: The observer's port; 0 picks one, None runs no observer.
        grace: Seconds for a whole stop; calls and creates get all but the last ten of them, and at least half.
        limits: What a client may do.
        tasks: Tasks of one connector at once.
        watchdog: Seconds that the event loop may be late before somebody is named; 0 for no watchdog.
        retention: Seconds that a task that is over stays readable, where its connector declares nothing else.
        store: Where the ledger is kept; a new memory store unless given.
    """

    registry: Registry
    host: str = "127.0.0.1"
    port: int | None = DEFAULT_PORT
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = DEFAULT_METRICS_PORT
    grace: float = DEFAULT_GRACE
    limits: Limits = DEFAULT_LIMITS
    tasks: int = TASKS
    watchdog: float = 0.0
    retention: float = RETENTION
    store: Store | None = None


class Node:
    """A running node, as `open_node` gives it.

    Args:
        config: What it was opened with.
        new_id: Makes identifiers for tasks that nothing identifies.
    """

    def __init__(self, config: NodeConfig, new_id: Callable[[], str]) -> None:
        self.config = config
        self.metrics = Metrics()
        self.directory = Directory()
        self.timers = Timers()
        self.ledger = Ledger(config.store or MemoryStore(), self.metrics.committed)
        self.hosts: dict[TaskCategory, ConnectorHost] = {}  # each running host enters and leaves itself
        self.routes = Routes()  # replaced by the registry actor only
        self.health = Health((ASYNC_AGENT_SERVICE, SYNC_AGENT_SERVICE, AGENT_METADATA_SERVICE))
        self.system: System | None = None
        self._gateway: Gateway | None = None
        self._address = (config.host, config.port or 0)
        self._metrics_address = (config.metrics_host, config.metrics_port or 0)
        self.tasks = AsyncConnectorService(
            lambda: self.routes, self.hosts, self.directory, self.timers, self.metrics, new_id
        )
        self.sync_tasks = SyncConnectorService(lambda: self.routes, self.hosts, self.metrics)
        self.metadata = ConnectorMetadataService(lambda: self.routes)
        self.registry = ServiceSpec[RegistryMessage]("registry", self._make_registry)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of the gRPC server."""
        return self._address

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """The host and port of the observer, None without one."""
        return self._metrics_address if self.config.metrics_port is not None else None

    @property
    def serving(self) -> bool:
        """Whether the node takes calls."""
        return self._gateway is not None and self._gateway.serving

    @property
    def connections(self) -> int:
        """Open gRPC connections."""
        return self._gateway.connections if self._gateway is not None else 0

    @property
    def calls_in_flight(self) -> int:
        """GRPC calls without an answer yet."""
        return self._gateway.calls_in_flight if self._gateway is not None else 0

    @property
    def dead_letters(self) -> int:
        """Messages for actors that had ended, since the start."""
        return self.system.dead_letters.total if self.system is not None else 0

    def tree(self) -> TreeNode:
        """Return all that runs, as data."""
        return self._opened.tree()

    def summary(self) -> TreeNode:
        """Return the same with the tasks of each connector summed up: as quick however many there are."""
        return self._opened.summary()

    @property
    def _opened(self) -> System:
        if self.system is None:
            raise RuntimeError("the node is not open; use it inside `async with open_node(...)`")
        return self.system

    async def stop(self, grace: float) -> None:
        """Drain, then stop all parts in order. The block that opened the node goes on.

        Args:
            grace: Seconds for all of it; what has not ended by then is cancelled.
        """
        end = trio.current_time() + grace
        await self.drain(grace - stop_seconds(grace))
        if self.system is not None:
            await self.system.stop(max(0.0, end - trio.current_time()))

    async def drain(self, grace: float) -> None:
        """Turn NOT_SERVING, take no new calls, and wait for those in flight, `grace` seconds at most.

        Creates that outlived their call are waited for as well: one that is cut off leaves it to recovery whether
        there is a job, and not every connector has one.
        """
        end = trio.current_time() + grace
        if self._gateway is not None:
            await self._gateway.drain(grace)  # ends by itself: whose call has to be cut is told so
        with trio.move_on_at(end):
            while any(host.creating for host in self.hosts.values()):  # noqa: ASYNC110 - many may begin and end
                await trio.sleep(DRAIN_LOOK_SECONDS)

    def specs(self) -> list[ChildSpec]:
        """Return the children of the tree's root, in start order."""
        part = self._part_grace
        specs = [
            ChildSpec("timers", lambda: self.timers),
            ChildSpec("ledger", lambda: self.ledger, grace=part),
            self.registry,
            ChildSpec("connectors", self._make_connectors, grace=part),
        ]
        if self.config.port is not None:
            specs.append(ChildSpec("gateway", self._make_gateway, grace=self.config.grace + part))
        if self.config.metrics_port is not None:
            specs.append(ChildSpec("observer", self._make_observer))
        specs.append(ChildSpec("janitor", self._make_janitor))
        if self.config.watchdog:
            specs.append(ChildSpec("watchdog", self._make_watchdog))
        return specs

    @property
    def _part_grace(self) -> float:
        """Seconds for a connector's host, which may have calls that never end, and as many for the ledger after it."""
        return stop_seconds(self.config.grace) / 2

    def _make_janitor(self) -> Janitor:
        retention = self.config.retention
        return Janitor(self.hosts, self.ledger, self.directory, lambda: self.routes.connectors, retention=retention)

    def _make_watchdog(self) -> Watchdog:
        return Watchdog(method_of, self.metrics.blocked, self.config.watchdog, self.metrics.loop_delayed)

    def _make_registry(self) -> RegistryActor:
        return RegistryActor(self.config.registry, self._publish)

    def _publish(self, routes: Routes) -> None:
        self.metrics.know(category.name for category in routes.connectors)
        self.routes = routes

    def _make_connectors(self) -> Supervisor:
        return Supervisor([self._host_spec(connector) for connector in self.routes.connectors.values()])

    def _host_spec(self, connector: Bound) -> ChildSpec:
        def make() -> ConnectorHost:
            return ConnectorHost(
                connector,
                self.timers,
                self.directory,
                self.ledger,
                self.metrics,
                self.hosts,
                limit=self.config.tasks,
                retention=self.config.retention,
            )

        category = connector.category
        name = category.name.replace("/", "%2F")  # a path has one component for each actor
        return ChildSpec(f"{name}@{category.version}", make, grace=self._part_grace)

    def _make_gateway(self) -> Gateway:
        methods = [*self.tasks.methods(), *self.sync_tasks.methods(), *self.metadata.methods()]
        config = self.config
        return Gateway(
            methods,
            self.health,
            self.metrics,
            self._address,
            config.limits,
            config.grace,
            self._listen,
            self.timers.foreground,
        )

    def _listen(self, gateway: Gateway, address: tuple[str, int]) -> None:
        self._gateway, self._address = gateway, address

    def _make_observer(self) -> Observer:
        return Observer(views_of(self), self._metrics_address, self._observe)

    def _observe(self, _observer: Observer, address: tuple[str, int]) -> None:
        self._metrics_address = address


def stop_seconds(grace: float) -> float:
    """Return how many seconds of a grace the parts of the tree get."""
    return min(STOP_SECONDS, STOP_SHARE * grace)


@asynccontextmanager
async def open_node(
    config: NodeConfig, *, rng: random.Random | None = None, new_id: Callable[[], str] | None = None
) -> AsyncIterator[Node]:
    """Run a node for the time of the `async with` block; when it ends, nothing of it runs any more.

    External jobs are left as they are: the end of a server is nobody's wish to delete them.

    Args:
        config: What it serves, and where.
        rng: Its source of randomness; seeded in tests.
        new_id: Its source of identifiers.

    Raises:
        SystemFailed: Something in the tree failed more often than its supervisors allow; the block is cancelled.
    """
    node = Node(config, new_id or (lambda: uuid.uuid4().hex))
    budget = config.grace + stop_seconds(config.grace)
    async with (
        open_event_loop(),
        open_system(node.specs(), strategy=Strategy.REST_FOR_ONE, budget=budget, rng=rng) as system,
    ):
        node.system = system
        watch(node)
        yield node
