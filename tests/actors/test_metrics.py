"""What a node counts."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from flytower.actors.call_metrics import CALLS, OTHER, OUTCOMES
from flytower.actors.metrics import ERROR_CODES, OPERATIONS, UNKNOWN, Metrics
from flytower.protocol.status import Status
from flytower.runtime.tree import Node


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read the text format with Prometheus' own parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


@pytest.fixture(name="metrics")
def _metrics() -> Metrics:
    metrics = Metrics()
    metrics.know(["shell", "spark"])
    return metrics


class TestFlytekitsMetrics:
    """The four names that dashboards know."""

    def test_a_success_is_counted_under_flytekits_name(self, metrics: Metrics) -> None:
        metrics.request_finished("shell", "create", Status.OK, 0.25)
        name = "flyte_connector_requests_success_total"
        assert value(metrics, name, task_type="shell", operation="create") == 1

    def test_a_failure_is_counted_with_its_http_code(self, metrics: Metrics) -> None:
        metrics.request_finished("shell", "get", Status.NOT_FOUND, 0.01)
        name = "flyte_connector_requests_failure_total"
        assert value(metrics, name, task_type="shell", operation="get", error_code="404") == 1
        assert value(metrics, "flyte_connector_requests_success_total", task_type="shell", operation="get") is None

    @pytest.mark.parametrize(
        ("status", "code"), [(Status.CANCELLED, "499"), (Status.DEADLINE_EXCEEDED, "504"), (Status.INTERNAL, "500")]
    )
    def test_cancelled_and_late_calls_are_failures(self, metrics: Metrics, status: Status, code: str) -> None:
        metrics.request_finished("shell", "create", status, 3.0)
        labels = {"task_type": "shell", "operation": "create"}
        assert value(metrics, "flyte_connector_requests_failure_total", error_code=code, **labels) == 1
        assert value(metrics, "flyte_connector_request_latency_seconds_count", **labels) == 1

    def test_every_status_but_ok_has_a_code(self) -> None:
        assert set(Status) - {Status.OK} == set(ERROR_CODES)
        assert all(400 <= int(code) <= 599 for code in ERROR_CODES.values())

    def test_latency_is_a_summary_over_successes_and_failures(self, metrics: Metrics) -> None:
        metrics.request_finished("shell", "get", Status.OK, 0.25)
        metrics.request_finished("shell", "get", Status.INTERNAL, 0.5)
        name, labels = "flyte_connector_request_latency_seconds", {"task_type": "shell", "operation": "get"}
        assert value(metrics, f"{name}_sum", **labels) == 0.75
        assert value(metrics, f"{name}_count", **labels) == 2

    def test_the_size_of_the_inputs_is_a_summary(self, metrics: Metrics) -> None:
        metrics.input_bytes("shell", 100)
        metrics.input_bytes("shell", 28)
        assert value(metrics, "flyte_connector_input_literal_bytes_sum", task_type="shell") == 128
        assert value(metrics, "flyte_connector_input_literal_bytes_count", task_type="shell") == 2


class TestLabels:
    """No client can make the set of labels grow."""

    @given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=30))
    def test_whatever_clients_send_the_labels_stay_a_closed_set(self, sent: list[tuple[str, str]]) -> None:
        metrics = Metrics()
        metrics.know(["shell"])
        for task_type, word in sent:
            metrics.request_finished(task_type, word, Status.OK, 0.1)
            metrics.call_finished(task_type, word, word, 0.1)
            metrics.input_bytes(task_type, 1)
        labels = {pair for _, pairs in samples(metrics) for pair in pairs}
        assert {text for name, text in labels if name == "task_type"} <= {"shell", UNKNOWN, ""}
        assert {text for name, text in labels if name == "operation"} <= OPERATIONS | CALLS | {OTHER}
        assert {text for name, text in labels if name == "outcome"} <= OUTCOMES | {OTHER}

    def test_a_task_type_is_a_label_once_it_is_served(self) -> None:
        metrics = Metrics()
        metrics.request_finished("shell", "get", Status.OK, 0.1)
        metrics.know(["shell"])
        metrics.request_finished("shell", "get", Status.OK, 0.1)
        name = "flyte_connector_requests_success_total"
        assert value(metrics, name, task_type=UNKNOWN, operation="get") == 1
        assert value(metrics, name, task_type="shell", operation="get") == 1

    def test_a_call_about_no_task_type_has_an_empty_label(self, metrics: Metrics) -> None:
        metrics.request_finished("", "list_agents", Status.OK, 0.1)
        assert value(metrics, "flyte_connector_requests_success_total", task_type="", operation="list_agents") == 1


class TestCallsOfConnectors:
    """What is asked of external systems."""

    def test_they_are_counted_by_type_operation_and_outcome(self, metrics: Metrics) -> None:
        for outcome in ("ok", "ok", "error"):
            metrics.call_finished("spark", "get", outcome, 0.2)
        name = "flytower_external_calls_total"
        assert value(metrics, name, task_type="spark", operation="get", outcome="ok") == 2
        assert value(metrics, name, task_type="spark", operation="get", outcome="error") == 1

    def test_how_long_polls_take_is_a_histogram(self, metrics: Metrics) -> None:
        for seconds in (0.02, 0.2, 70.0):
            metrics.call_finished("spark", "get", "ok", seconds)
        name, labels = "flytower_external_call_seconds_bucket", {"task_type": "spark", "operation": "get"}
        assert value(metrics, name, le="0.025", **labels) == 1
        assert value(metrics, name, le="0.25", **labels) == 2
        assert value(metrics, name, le="+Inf", **labels) == 3


class TestGauges:
    """What is read when Prometheus asks."""

    def test_live_tasks_are_read_at_each_scrape(self, metrics: Metrics) -> None:
        tasks = {("shell", "RUNNING"): 2}
        metrics.watch(tasks=lambda: tasks)
        assert value(metrics, "flytower_tasks", task_type="shell", phase="RUNNING") == 2
        tasks[("shell", "RUNNING")] = 5
        assert value(metrics, "flytower_tasks", task_type="shell", phase="RUNNING") == 5

    def test_tasks_of_types_that_are_not_served_are_summed_up(self, metrics: Metrics) -> None:
        metrics.watch(tasks=lambda: {("a", "RUNNING"): 2, ("b", "RUNNING"): 3})
        assert value(metrics, "flytower_tasks", task_type=UNKNOWN, phase="RUNNING") == 5

    def test_mailboxes_and_actors_are_summed_by_class(self, metrics: Metrics) -> None:
        children = (Node("/node/a", "Ledger", "idle", mailbox=3), Node("/node/b", "Ledger", "idle", mailbox=4))
        metrics.watch(tree=lambda: Node("/node", "Supervisor", "running", children=children))
        assert value(metrics, "flytower_mailbox_messages", kind="Ledger") == 7
        assert value(metrics, "flytower_actors", kind="Ledger") == 2
        assert value(metrics, "flytower_actors", kind="Supervisor") == 1

    def test_restarts_never_count_down(self, metrics: Metrics) -> None:
        counts = iter([2, 5, 1])  # at the third scrape the supervisor itself was new
        metrics.watch(tree=lambda: Node("/node", "Ledger", "idle", restarts=next(counts)))
        assert [value(metrics, "flytower_restarts_total", kind="Ledger") for _ in range(3)] == [2, 5, 6]

    def test_connections_calls_and_dead_letters_are_read(self, metrics: Metrics) -> None:
        metrics.watch(connections=lambda: 3, calls_in_flight=lambda: 4, dead_letters=lambda: 5)
        assert value(metrics, "flytower_grpc_connections") == 3
        assert value(metrics, "flytower_grpc_calls_in_flight") == 4
        assert value(metrics, "flytower_dead_letters_total") == 5

    def test_watching_reads_nothing_before_the_first_scrape(self, metrics: Metrics) -> None:
        counts = iter([1, 2])
        metrics.watch(connections=lambda: next(counts))
        assert value(metrics, "flytower_grpc_connections") == 1


def test_how_late_the_loop_was_is_a_histogram_that_tells_what_nobody_notices_from_what_callers_feel(
    metrics: Metrics,
) -> None:
    for seconds in (0.0001, 0.004, 0.3):
        metrics.loop_delayed(seconds)
    name = "flytower_loop_delay_seconds"
    found = [value(metrics, f"{name}_bucket", le=bound) for bound in ("0.001", "0.005", "0.02", "0.2", "0.5", "+Inf")]
    assert found == [1, 2, 2, 2, 3, 3]


async def test_while_they_are_written_down_for_a_scrape_others_run(metrics: Metrics) -> None:
    turns: list[int] = []

    class Turns(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            turns.append(0)

    trio.lowlevel.add_instrument(Turns())
    text = await metrics.render_in_turns()
    assert len(turns) >= text.count(b"# TYPE flytower"), "no two families are in one turn"
    names = [[line.split()[0] for line in each.splitlines()] for each in (text, metrics.render())]
    assert names[0] == names[1]


def test_two_nodes_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.know(["shell"])
    one.input_bytes("shell", 1)
    assert value(other, "flyte_connector_input_literal_bytes_count", task_type="shell") is None


def test_the_process_itself_is_measured(metrics: Metrics) -> None:
    memory = value(metrics, "process_resident_memory_bytes")
    assert memory is not None
    assert memory > 0
