"""Prometheus' text format, made in pieces: a node with fifty connectors has thousands of lines, some 20 ms of work.

Between two pieces others may run. The figures of one family are of one moment; those of two need not be.

Nothing else imports prometheus_client, so that who is never scraped does without.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

    from flytower.actors.families import Family

KINDS: Final = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "summary": SummaryMetricFamily,
    "histogram": HistogramMetricFamily,
}
"""What the library calls the kinds of families."""

PIECE_LINES: Final = 100
"""Lines of one piece; they take 0.7 ms."""

HEAD_LINES: Final = 2
"""What a family begins with, `# HELP` and `# TYPE`; so does the gauge of when each of its samples was created."""


def text_pieces_of(read: Callable[[], Iterable[Family]]) -> Iterator[bytes]:
    """Yield these families, and what the process itself takes, piece by piece."""
    return text_pieces(registry_of(read))


def registry_of(read: Callable[[], Iterable[Family]]) -> CollectorRegistry:
    """Return a registry that reads these families at each scrape, and what the process itself takes."""
    registry = CollectorRegistry()
    registry.register(_Read(read))
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry


def text_pieces(registry: CollectorRegistry) -> Iterator[bytes]:
    """Yield what `generate_latest` returns, piece by piece."""
    for family in registry.collect():
        created = [sample for sample in family.samples if sample.name == f"{family.name}_created"]
        others = [sample for sample in family.samples if sample.name != f"{family.name}_created"]
        yield _text(family, others[:PIECE_LINES], 0)
        for piece in _cut(others[PIECE_LINES:]):
            yield _text(family, piece, HEAD_LINES)
        for number, piece in enumerate(_cut(created)):
            yield _text(family, piece, 2 * HEAD_LINES if number else HEAD_LINES)


def _cut(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    return (samples[start : start + PIECE_LINES] for start in range(0, len(samples), PIECE_LINES))


def _text(family: Metric, samples: Sequence[Sample], dropped: int) -> bytes:
    """Return the lines of some samples of a family, without so many lines at the top."""
    part = copy(family)
    part.samples = list(samples)
    return generate_latest(_Only(part)).split(b"\n", dropped)[dropped]


class _Read(Collector):
    """Families of ours, where the library expects its own."""

    def __init__(self, read: Callable[[], Iterable[Family]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._read())

    def describe(self) -> list[Metric]:
        """Say nothing in advance: registering must not read what is not running yet."""
        return []


def _metric(family: Family) -> Any:
    metric = KINDS[family.kind](family.name, family.text, labels=family.labels)
    for labels, value in family.samples:
        metric.add_metric(labels, *value)
    return metric


class _Only(Collector):
    """One family, where a registry is expected."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]
