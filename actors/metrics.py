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
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

import trio
from grpclib.const import Status

from flytower.actors.call_metrics import OTHER, CallMetrics
from flytower.actors.families import Buckets, Family, Total, counter, gauge, histogram, summary
from flytower.actors.later import Later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from flytower.actors.families import Labels
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


class Metrics:
    """The counters of one node, each node its own, so that two of them can live in one process."""

    def __init__(self) -> None:
        self._known: set[str] = {UNKNOWN}
        # By labels, whose values are from closed sets: each is bounded by their product.
        self._successes: Tally[Labels] = Tally()
        self._failures: Tally[Labels] = Tally()
        self._latency: defaultdict[Labels, Total] = defaultdict(Total)
        self._inputs: defaultdict[Labels, Total] = defaultdict(Total)
        self._calls = CallMetrics(CALL_SECONDS_BUCKETS, self._type)
        self.call_finished = self._calls.finished
        self._blockages: Tally[Labels] = Tally()  # the only one that another thread writes
        self._loop_delay = Buckets(DELAY_SECONDS_BUCKETS)
        self._commits: Tally[Labels] = Tally()
        self._commit_rows = 0
        self._commit_seconds = Buckets(CALL_SECONDS_BUCKETS)
        self._watched: list[Callable[[], Iterable[Family]]] = []
        self._text_pieces = Later(_find_text_pieces)

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
        labels = (self._type(task_type), operation if operation in OPERATIONS else OTHER)
        if status is Status.OK:
            self._successes[labels] += 1
        else:
            self._failures[*labels, ERROR_CODES[status]] += 1
        self._latency[labels].add(seconds)

    def input_bytes(self, task_type: str, size: int) -> None:
        """Record the encoded size of the inputs of a create or a do."""
        self._inputs[(self._type(task_type),)].add(size)

    def committed(self, rows: int, seconds: float, error: Exception | None) -> None:
        """Count a commit of the ledger.

        Args:
            rows: How many changes it was to make durable.
            seconds: How long it took.
            error: Why it was not made, if so.
        """
        self._commits[("ok" if error is None else "error",)] += 1
        self._commit_rows += rows
        self._commit_seconds.add(seconds)

    def blocked(self, blockage: Blockage) -> None:
        """Count a blockage of the event loop. Called from the watchdog's thread."""
        self._blockages[(blockage.culprit or UNKNOWN,)] += 1

    def loop_delayed(self, seconds: float) -> None:
        """Record how late the event loop was for something that was due: one look at it, of some each second."""
        self._loop_delay.add(seconds)

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
            self._watched.append(partial(self._task_gauges, tasks))
        if tree is not None:
            self._watched.append(_TreeReader(tree).read)
        for kind, name, text, read in (
            (gauge, "flytower_grpc_connections", "Open gRPC connections", connections),
            (gauge, "flytower_grpc_calls_in_flight", "gRPC calls without an answer yet", calls_in_flight),
            (gauge, "flytower_ledger_failing", "1 while the ledger cannot be written", ledger_failing),
            (counter, "flytower_dead_letters", "Messages for nobody", dead_letters),
        ):
            if read is not None:
                self._watched.append(partial(_one, kind, name, text, read))

    def families(self) -> Iterator[Family]:
        """Yield all that is counted, as it is now."""
        yield from self._flytekits()
        yield from self._calls.families()
        yield from self._ours()
        for read in self._watched:
            yield from read()

    def render(self) -> bytes:
        """Return everything in Prometheus' text format (`CONTENT_TYPE`)."""
        return b"".join(_find_text_pieces()(self.families))

    async def render_in_turns(self) -> bytes:
        """Return the same, made over many turns of the event loop."""
        text_pieces = await self._text_pieces.get()
        pieces = []
        for piece in text_pieces(self.families):
            pieces.append(piece)
            await trio.lowlevel.checkpoint()
        return b"".join(pieces)

    def _flytekits(self) -> Iterator[Family]:
        of_what = ("task_type", "operation")
        yield counter(
            "flyte_connector_requests_success", "Total number of successful requests", of_what, self._successes
        )
        yield counter(
            "flyte_connector_requests_failure",
            "Total number of failed requests",
            (*of_what, "error_code"),
            self._failures,
        )
        yield summary(
            "flyte_connector_request_latency_seconds", "Time spent processing a request", of_what, self._latency
        )
        yield summary(
            "flyte_connector_input_literal_bytes", "Size of the input literals in bytes", ("task_type",), self._inputs
        )

    def _ours(self) -> Iterator[Family]:
        yield counter(
            "flytower_loop_blocked",
            "Times that code blocked the event loop, by the connector's method that did",
            ("culprit",),
            dict(self._blockages),  # in one step, as far as another thread can see
        )
        yield histogram(
            "flytower_loop_delay_seconds",
            "How late the event loop was, looked at some times a second",
            (),
            {(): self._loop_delay},
        )
        yield counter(
            "flytower_ledger_commits", "Commits of the ledger, by how they ended", ("outcome",), self._commits
        )
        yield counter("flytower_ledger_rows", "Changes that commits of the ledger held", (), {(): self._commit_rows})
        yield histogram(
            "flytower_ledger_commit_seconds", "How long commits of the ledger took", (), {(): self._commit_seconds}
        )

    def _type(self, task_type: str) -> str:
        return task_type if task_type in self._known or not task_type else UNKNOWN

    def _task_gauges(self, tasks: Callable[[], Mapping[tuple[str, str], int]]) -> Iterator[Family]:
        counts: Tally[Labels] = Tally()
        for (task_type, phase), count in tasks().items():
            counts[self._type(task_type), phase] += count
        yield gauge("flytower_tasks", "Tasks that are owned here", ("task_type", "phase"), counts)


def _find_text_pieces() -> Callable[[Callable[[], Iterable[Family]]], Iterator[bytes]]:
    from flytower.actors.exposition import text_pieces_of  # noqa: PLC0415 - prometheus_client, which takes 14 ms

    return text_pieces_of


class _TreeReader:
    """Turns the actor tree into metrics by kind of actor; the paths are not a closed set, the classes are."""

    def __init__(self, tree: Callable[[], Node]) -> None:
        self._tree = tree
        # The restarts of each path at the last scrape: the tree's own counts start anew when a supervisor is
        # restarted, and a Prometheus counter must not go down. Holds what the last tree held, no more.
        self._seen: dict[str, int] = {}
        self._restarts: Tally[Labels] = Tally()

    def read(self) -> Iterator[Family]:
        waiting: Tally[Labels] = Tally()
        actors: Tally[Labels] = Tally()
        seen: dict[str, int] = {}
        for node in self._tree().walk():
            kind = (node.kind,)
            actors[kind] += node.count
            waiting[kind] += node.mailbox
            before = self._seen.get(node.path, 0)
            self._restarts[kind] += node.restarts - before if node.restarts >= before else node.restarts
            seen[node.path] = node.restarts
        self._seen = seen
        yield gauge("flytower_actors", "Actors that run", ("kind",), actors)
        yield gauge("flytower_mailbox_messages", "Waiting messages", ("kind",), waiting)
        yield counter("flytower_restarts", "Restarts of actors", ("kind",), self._restarts)


def _one(kind: Callable[..., Family], name: str, text: str, read: Callable[[], int]) -> Iterator[Family]:
    yield kind(name, text, (), {(): read()})
