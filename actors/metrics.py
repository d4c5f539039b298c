"""What a node counts, in Prometheus' terms.

The four names that begin with `flyte_connector_` and their labels are those of flytekit's connector server, so that
dashboards and alerts written for it go on working. What it misses is counted here as well: calls that were cancelled
("499") or ran out of time ("504") are failures, and every gRPC code has its own `error_code`, the HTTP code that
google.rpc.Code assigns to it.

A label's value comes from a closed set only: a task type that a client made up is "unknown" until a connector for it
is registered, otherwise any client could grow the memory of the process and of Prometheus.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import trio
from grpclib.const import Status
from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client import Summary as Latency
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from flytower.actors.call_metrics import OTHER, CallMetrics
from flytower.actors.exposition import text_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from flytower.runtime.tree import Node
    from flytower.runtime.watchdog import Blockage

UNKNOWN = "unknown"
"""The label of a task type that no connector here serves."""

OPERATIONS = frozenset({"create", "get", "delete", "do", "metrics", "logs", "get_agent", "list_agents", "health"})
"""What a client can ask for; the first four are flytekit's words."""

ERROR_CODES: dict[Status, str] = {
    Status.CANCELLED: "499",
    Status.UNKNOWN: "500",
    Status.INVALID_ARGUMENT: "400",
    Status.DEADLINE_EXCEEDED: "504",
    Status.NOT_FOUND: "404",
    Status.ALREADY_EXISTS: "409",
    Status.PERMISSION_DENIED: "403",
    Status.RESOURCE_EXHAUSTED: "429",
    Status.FAILED_PRECONDITION: "400",
    Status.ABORTED: "409",
    Status.OUT_OF_RANGE: "400",
    Status.UNIMPLEMENTED: "501",
    Status.INTERNAL: "500",
    Status.UNAVAILABLE: "503",
    Status.DATA_LOSS: "500",
    Status.UNAUTHENTICATED: "401",
}
"""The HTTP code of each failure, as google/rpc/code.proto (github.com/googleapis/googleapis) has it."""

# From a lookup in a fast API to the longest deadline that a chart of Flyte gives (10 s), and what lies beyond it.
CALL_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# From what a loop with nothing to do is late by, to what every caller feels and the watchdog names somebody for.
DELAY_SECONDS_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of what `render` returns."""

M = TypeVar("M")


class _Request(NamedTuple):
    """What one finished call of a client adds to."""

    ended: Counter
    latency: Latency


class Metrics:
    """The counters of one node, each node its own, so that two of them can live in one process.

    Args:
        registry: Where to register; a new one by default.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry(auto_describe=True)
        self._known: set[str] = {UNKNOWN}
        # Children by labels: `labels()` for each call costs 2.5 times as much as a bound child. The keys are from
        # closed sets, so this is bounded by their product.
        self._requests: dict[tuple[str, str, Status], _Request] = {}
        self._calls = CallMetrics(CALL_SECONDS_BUCKETS, self._type)
        self.call_finished = self._calls.finished
        self._inputs: dict[str, Latency] = {}
        self._make_flytekits()
        self._make_ours()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def know(self, task_types: Iterable[str]) -> None:
        """Allow these task types as labels: what the connectors serve, never what a client sent."""
        self._known.update(task_types)

    def request_finished(self, task_type: str, operation: str, status: Status, seconds: float) -> None:
        """Count a call of a client that is over, cancelled and timed-out ones included.

        Args:
            task_type: The type it was about; "" for a call that is about none (ListAgents).
            operation: One of `OPERATIONS`.
            status: What the client was told, or would have been told if it had waited.
            seconds: How long it took.
        """
        key = (self._type(task_type), operation if operation in OPERATIONS else OTHER, status)
        request = self._requests.get(key) or _remember(self._requests, key, self._bind_request(*key))
        request.ended.inc()
        request.latency.observe(seconds)

    def input_bytes(self, task_type: str, size: int) -> None:
        """Record the encoded size of the inputs of a create or a do."""
        name = self._type(task_type)
        child = self._inputs.get(name) or _remember(self._inputs, name, self._input_bytes.labels(name))
        child.observe(size)

    def committed(self, rows: int, seconds: float, error: Exception | None) -> None:
        """Count a commit of the ledger.

        Args:
            rows: How many changes it was to make durable.
            seconds: How long it took.
            error: Why it was not made, if so.
        """
        self._commits.labels("ok" if error is None else "error").inc()
        self._commit_rows.inc(rows)
        self._commit_seconds.observe(seconds)

    def blocked(self, blockage: Blockage) -> None:
        """Count a blockage of the event loop. Called from the watchdog's thread, which prometheus_client allows."""
        self._blockages.labels(blockage.culprit or UNKNOWN).inc()

    def loop_delayed(self, seconds: float) -> None:
        """Record how late the event loop was for something that was due: one look at it, of some each second."""
        self._loop_delay.observe(seconds)

    def watch(
        self,
        *,
        tasks: Callable[[], Mapping[tuple[str, str], int]] | None = None,
        tree: Callable[[], Node] | None = None,
        connections: Callable[[], int] | None = None,
        calls_in_flight: Callable[[], int] | None = None,
        dead_letters: Callable[[], int] | None = None,
        ledger_failing: Callable[[], int] | None = None,
    ) -> None:
        """Have these read at each scrape, on the event loop: none may take longer the more it has to say.

        Args:
            tasks: Live tasks by (task type, phase).
            tree: What runs, with its mailbox depths and restarts; entities summed up.
            connections: Open gRPC connections.
            calls_in_flight: gRPC calls without an answer yet.
            dead_letters: Messages that reached nobody, since the node started.
            ledger_failing: 1 while the ledger cannot be written, else 0.
        """
        if tasks is not None:
            self.registry.register(_Live(lambda: self._task_gauges(tasks())))
        if tree is not None:
            self.registry.register(_Live(_TreeReader(tree).read))
        for name, text, read in (
            ("flytower_grpc_connections", "Open gRPC connections", connections),
            ("flytower_grpc_calls_in_flight", "gRPC calls without an answer yet", calls_in_flight),
            ("flytower_ledger_failing", "1 while the ledger cannot be written", ledger_failing),
        ):
            if read is not None:
                self.registry.register(_Live(_gauge_reader(name, text, read)))
        if dead_letters is not None:
            self.registry.register(_Live(_counter_reader("flytower_dead_letters", "Messages for nobody", dead_letters)))

    def render(self) -> bytes:
        """Return everything in Prometheus' text format (`CONTENT_TYPE`)."""
        return b"".join(text_pieces(self.registry))

    async def render_in_turns(self) -> bytes:
        """Return the same, made over many turns of the event loop."""
        pieces = []
        for piece in text_pieces(self.registry):
            pieces.append(piece)
            await trio.lowlevel.checkpoint()
        return b"".join(pieces)

    def _make_flytekits(self) -> None:
        self._success = Counter(
            "flyte_connector_requests_success_total",
            "Total number of successful requests",
            ["task_type", "operation"],
            registry=self.registry,
        )
        self._failure = Counter(
            "flyte_connector_requests_failure_total",
            "Total number of failed requests",
            ["task_type", "operation", "error_code"],
            registry=self.registry,
        )
        self._latency = Latency(
            "flyte_connector_request_latency_seconds",
            "Time spent processing a request",
            ["task_type", "operation"],
            registry=self.registry,
        )
        self._input_bytes = Latency(
            "flyte_connector_input_literal_bytes",
            "Size of the input literals in bytes",
            ["task_type"],
            registry=self.registry,
        )

    def _make_ours(self) -> None:
        self.registry.register(self._calls)
        self._blockages = Counter(
            "flytower_loop_blocked_total",
            "Times that code blocked the event loop, by the connector's method that did",
            ["culprit"],
            registry=self.registry,
        )
        self._loop_delay = Histogram(
            "flytower_loop_delay_seconds",
            "How late the event loop was, looked at some times a second",
            buckets=DELAY_SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._commits = Counter(
            "flytower_ledger_commits_total",
            "Commits of the ledger, by how they ended",
            ["outcome"],
            registry=self.registry,
        )
        self._commit_rows = Counter(
            "flytower_ledger_rows_total", "Changes that commits of the ledger held", registry=self.registry
        )
        self._commit_seconds = Histogram(
            "flytower_ledger_commit_seconds",
            "How long commits of the ledger took",
            buckets=CALL_SECONDS_BUCKETS,
            registry=self.registry,
        )

    def _type(self, task_type: str) -> str:
        return task_type if task_type in self._known or not task_type else UNKNOWN

    def _bind_request(self, task_type: str, operation: str, status: Status) -> _Request:
        if status is Status.OK:
            ended = self._success.labels(task_type, operation)
        else:
            ended = self._failure.labels(task_type, operation, ERROR_CODES[status])
        return _Request(ended, self._latency.labels(task_type, operation))

    def _task_gauges(self, tasks: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
        counts: Tally[tuple[str, str]] = Tally()
        for (task_type, phase), count in tasks.items():
            counts[self._type(task_type), phase] += count
        family = GaugeMetricFamily("flytower_tasks", "Tasks that are owned here", labels=["task_type", "phase"])
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        yield family


class _Live(Collector):
    """Metrics that are computed when they are scraped."""

    def __init__(self, read: Callable[[], Iterator[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        return self._read()

    def describe(self) -> list[Metric]:
        """Say nothing in advance: registering must not call what is not running yet."""
        return []


class _TreeReader:
    """Turns the actor tree into metrics by kind of actor; the paths are not a closed set, the classes are."""

    def __init__(self, tree: Callable[[], Node]) -> None:
        self._tree = tree
        # The restarts of each path at the last scrape: the tree's own counts start anew when a supervisor is
        # restarted, and a Prometheus counter must not go down. Holds what the last tree held, no more.
        self._seen: dict[str, int] = {}
        self._restarts: Tally[str] = Tally()

    def read(self) -> Iterator[Metric]:
        waiting: Tally[str] = Tally()
        actors: Tally[str] = Tally()
        seen: dict[str, int] = {}
        for node in self._tree().walk():
            actors[node.kind] += node.count
            waiting[node.kind] += node.mailbox
            before = self._seen.get(node.path, 0)
            self._restarts[node.kind] += node.restarts - before if node.restarts >= before else node.restarts
            seen[node.path] = node.restarts
        self._seen = seen
        yield _by_kind(GaugeMetricFamily("flytower_actors", "Actors that run", labels=["kind"]), actors)
        yield _by_kind(GaugeMetricFamily("flytower_mailbox_messages", "Waiting messages", labels=["kind"]), waiting)
        yield _by_kind(CounterMetricFamily("flytower_restarts", "Restarts of actors", labels=["kind"]), self._restarts)


def _by_kind(family: M, counts: Mapping[str, int]) -> M:
    for kind, count in sorted(counts.items()):
        family.add_metric([kind], count)  # type: ignore[attr-defined]  # both families have it, their base has not
    return family


def _gauge_reader(name: str, text: str, read: Callable[[], int]) -> Callable[[], Iterator[Metric]]:
    return lambda: iter([GaugeMetricFamily(name, text, value=read())])


def _counter_reader(name: str, text: str, read: Callable[[], int]) -> Callable[[], Iterator[Metric]]:
    return lambda: iter([CounterMetricFamily(name, text, value=read())])


K = TypeVar("K", bound="Hashable")


def _remember(memory: dict[K, M], key: K, value: M) -> M:
    memory[key] = value
    return value
