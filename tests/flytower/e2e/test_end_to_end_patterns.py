"""What flytepropeller does to a server in its daily work: it repeats, it gives up early, and it reconnects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flyteidl.admin import agent_pb2

from tests.flytower.e2e.client import PATIENCE, Flyte, Phase, create_request, literals, prefix
from tests.flytower.e2e.deployment import until

if TYPE_CHECKING:
    from tests.flytower.e2e.deployment import Deploy, Deployment

DEADLINE = 2.0
"""Seconds. Flyte 1 gives its agents 3; a fifth of it is left for the way back when the server replies."""

RUNNING = {"answer": {"phase": "RUNNING"}}


def identified(request: Any) -> Any:
    """Give a request the identifiers that Flyte gives."""
    task = request.task_execution_metadata.task_execution_id
    task.node_execution_id.execution_id.name = "f0123456789"
    task.node_execution_id.node_id = "n0"
    return request


def create_with_inputs(flyte: Flyte, request: Any, *entries: Any) -> bytes:
    """Create a task with inputs in just this order, as Go does, which ranges over its maps at random."""
    inputs = b"".join(entry.SerializeToString() for entry in entries)
    message = request.SerializeToString() + b"\x0a" + bytes([len(inputs)]) + inputs  # field 1, and it is short
    call = flyte.channel.unary_unary(
        "/flyteidl.service.AsyncAgentService/CreateTask",
        response_deserializer=agent_pb2.CreateTaskResponse.FromString,
    )
    meta: bytes = call(message, timeout=PATIENCE).resource_meta
    return meta


class TestCreateTask:
    """CreateTask is sent again when its reply was lost."""

    def test_the_same_identifiers_give_the_same_meta_byte_for_byte_and_one_job(self, deployment: Deployment) -> None:
        flyte, request = deployment.flyte, identified(create_request("scripted", RUNNING))
        first = create_with_inputs(flyte, request, literals(a=1), literals(b=2))
        assert json.loads(first)["job"]
        request.task_execution_metadata.labels["try"] = "2"
        assert create_with_inputs(flyte, request, literals(b=2), literals(a=1)) == first
        assert deployment.creates(request) == 1

    def test_fifty_at_once_are_one_job_too(self, deployment: Deployment) -> None:
        request = create_request("scripted", {**RUNNING, "wait": "fifty"})
        calls = [deployment.flyte.tasks.CreateTask.future(request, timeout=PATIENCE) for _ in range(50)]
        until(lambda: deployment.creates(request))
        deployment.allow("fifty")
        assert len({call.result().resource_meta for call in calls}) == 1
        assert deployment.creates(request) == 1

    def test_a_shell_job_that_is_asked_for_twice_runs_once(self, deployment: Deployment) -> None:
        flyte, counter = deployment.flyte, deployment.folder / "runs"
        request = deployment.shell(f"echo ran >> {counter}")
        first = flyte.create(request)
        flyte.until("shell", first)
        assert flyte.create(request) == first
        assert flyte.until("shell", first).phase == Phase.SUCCEEDED
        assert counter.read_text() == "ran\n"

    def test_a_caller_that_hangs_up_finds_its_job_when_it_comes_back(self, deployment: Deployment) -> None:
        flyte, request = deployment.flyte, create_request("scripted", {**RUNNING, "wait": "hung-up"})
        call = flyte.tasks.CreateTask.future(request, timeout=PATIENCE)
        until(lambda: deployment.creates(request))
        assert call.cancel()
        deployment.allow("hung-up")
        assert flyte.get("scripted", flyte.create(request)).phase == Phase.RUNNING
        assert deployment.creates(request) == 1


class TestShortDeadline:
    """The caller waits for two seconds, and the external system takes longer."""

    def test_the_reply_comes_in_time_and_names_the_job_all_its_life_long(self, deployment: Deployment) -> None:
        flyte, request = deployment.flyte, create_request("scripted", {**RUNNING, "wait": "slow-create"})
        meta = flyte.create(request, timeout=DEADLINE)
        assert flyte.get("scripted", meta).phase == Phase.INITIALIZING
        assert flyte.create(request, timeout=DEADLINE) == meta
        deployment.allow("slow-create")
        assert flyte.until("scripted", meta, Phase.RUNNING).phase == Phase.RUNNING
        assert flyte.create(request) == meta
        flyte.delete("scripted", meta)
        assert flyte.until("scripted", meta).phase == Phase.ABORTED
        assert deployment.deletes(request) == [1]
        assert deployment.creates(request) == 1

    def test_a_delete_that_comes_before_the_job_deletes_the_job_when_it_comes(self, deployment: Deployment) -> None:
        flyte, request = deployment.flyte, create_request("scripted", {**RUNNING, "wait": "doomed-create"})
        meta = flyte.create(request, timeout=DEADLINE)
        flyte.delete("scripted", meta)
        deployment.allow("doomed-create")
        assert flyte.until("scripted", meta).phase == Phase.ABORTED
        assert deployment.deletes(request) == [1]


class TestDeleteTask:
    """DeleteTask comes late, twice, and for what is not there."""

    def test_after_success_it_is_fine_and_the_result_stays(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        request = create_request("scripted", {"answer": {"outputs": {"x": 1}}})
        meta = flyte.create(request)
        assert flyte.until("scripted", meta).phase == Phase.SUCCEEDED
        for _ in range(2):
            flyte.delete("scripted", meta)
        resource = flyte.get("scripted", meta)
        assert resource.phase == Phase.SUCCEEDED
        assert resource.outputs.literals["x"].scalar.primitive.integer == 1
        assert deployment.deletes(request) == [0]

    def test_twice_it_is_fine_and_a_read_afterwards_no_error(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        meta = flyte.create(deployment.shell("exec sleep 300"))
        for _ in range(2):
            flyte.delete("shell", meta)
            assert flyte.get("shell", meta).phase in (Phase.RUNNING, Phase.INITIALIZING, Phase.ABORTED)
        assert flyte.until("shell", meta).phase == Phase.ABORTED
        flyte.delete("shell", meta)

    def test_for_an_unknown_job_it_is_fine(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        unknown = b'{"job_id":"%s"}' % (b"0" * 32)
        flyte.delete("shell", unknown)
        flyte.delete("shell", unknown)
        assert flyte.until("shell", unknown).phase == Phase.ABORTED
        flyte.delete("scripted", b'{"flytower_task":"%s"}' % (b"0" * 32))

    def test_it_frees_the_key_for_another_job(self, deployment: Deployment) -> None:
        flyte, request = deployment.flyte, create_request("scripted", RUNNING)
        first = flyte.create(request)
        flyte.delete("scripted", first)
        second = flyte.create(request)
        assert second != first
        assert flyte.get("scripted", second).phase == Phase.RUNNING
        until(lambda: deployment.deletes(request) == [1, 0])


class TestAttempts:
    """The output prefix ends in the number of the attempt."""

    def test_a_later_attempt_deletes_an_earlier_one_that_nobody_ever_read(self, deployment: Deployment) -> None:
        flyte, place = deployment.flyte, prefix()
        lost = flyte.create(create_request("scripted", RUNNING, output_prefix=f"{place}/0"))
        flyte.create(create_request("scripted", RUNNING, output_prefix=f"{place}/1"))
        assert flyte.until("scripted", lost).phase == Phase.ABORTED

    def test_and_leaves_one_that_was_read(self, deployment: Deployment) -> None:
        flyte, place = deployment.flyte, prefix()
        known = flyte.create(create_request("scripted", RUNNING, output_prefix=f"{place}/0"))
        flyte.get("scripted", known)
        flyte.create(create_request("scripted", RUNNING, output_prefix=f"{place}/1"))
        assert flyte.get("scripted", known).phase == Phase.RUNNING


class TestConnections:
    """Flyte 1 dials anew for each poll of the metadata."""

    def test_fifty_polls_on_fifty_connections_leave_none_behind(self, deploy: Deploy) -> None:
        with deploy() as deployment:
            for _ in range(50):
                with Flyte(deployment.server.grpc) as flyte:
                    assert flyte.metadata.ListAgents(agent_pb2.ListAgentsRequest(), timeout=PATIENCE).agents
            until(lambda: deployment.samples()["flytower_grpc_connections",] == 0)
