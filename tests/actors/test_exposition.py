"""Metrics as text, in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.exposition import generate_latest

from flytower.actors.exposition import HEAD_LINES, PIECE_LINES, text_pieces, text_pieces_of
from flytower.actors.metrics import Metrics
from flytower.protocol.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable


def registry_of(sizes: Iterable[tuple[type[Counter | Gauge | Histogram | Summary], int]]) -> CollectorRegistry:
    registry = CollectorRegistry()
    for number, (kind, series) in enumerate(sizes):
        metric = kind(f"metric_{number}", "Says it in\ntwo lines", ["label"], registry=registry)
        for name in range(series):
            metric.labels(f'{name} "quoted"\n')
    return registry


@given(st.lists(st.tuples(st.sampled_from([Counter, Gauge, Histogram, Summary]), st.integers(0, 250)), max_size=4))
def test_the_pieces_are_together_what_prometheus_library_writes_at_once(
    sizes: list[tuple[type[Counter | Gauge | Histogram | Summary], int]],
) -> None:
    registry = registry_of(sizes)
    pieces = list(text_pieces(registry))
    assert b"".join(pieces) == generate_latest(registry)
    assert all(piece.count(b"\n") <= PIECE_LINES + 2 * HEAD_LINES for piece in pieces)


def test_however_many_connectors_there_are_no_piece_of_a_node_s_metrics_is_long() -> None:
    metrics = Metrics()
    types = [f"type {number}" for number in range(50)]
    metrics.know(types)
    for task_type in types:
        for operation in ("create", "get", "delete"):
            metrics.request_finished(task_type, operation, Status.OK, 0.1)
            metrics.call_finished(task_type, operation, "ok", 0.1)
    pieces = list(text_pieces_of(metrics.families))
    assert b"".join(pieces).count(b"\n") > 3000
    assert max(piece.count(b"\n") for piece in pieces) <= PIECE_LINES + 2 * HEAD_LINES
