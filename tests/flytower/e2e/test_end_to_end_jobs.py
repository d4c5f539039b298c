"""Every RPC of Flyte 1 against a running server, from the official client, on real jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from flyteidl.admin import agent_pb2
from grpc_health.v1 import health_pb2

from tests.flytower.e2e.client import PATIENCE, TERMINAL, Flyte, Phase, about, create_request, sync_messages
from tests.flytower.e2e.deployment import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.flytower.e2e.deployment import Deploy, Deployment

SUCCEED, FAIL, LONG = "exit 0", "echo it cannot be >&2; exit 3", "sleep 300"

COMMANDS = [SUCCEED] * 100 + [FAIL] * 40 + [LONG] * 60

SERVICES = ("AsyncAgentService", "SyncAgentService", "AgentMetadataService")


class TestTwoHundredJobs:
    """What a propeller with a big workflow does, all at once."""

    def test_they_succeed_fail_run_and_are_deleted_each_as_its_own(self, deploy: Deploy) -> None:
        with deploy() as deployment:
            jobs = list(zip(COMMANDS, self.create_all(deployment), strict=True))
            assert len({meta for _, meta in jobs}) == 200
            ended = [(command, meta) for command, meta in jobs if command != LONG]
            resources = self.get_until(deployment.flyte, [meta for _, meta in ended], TERMINAL)
            for (command, _), resource in zip(ended, resources, strict=True):
                self.assert_ended(command, resource)
            self.delete_all(deployment, [meta for command, meta in jobs if command == LONG])
            until(lambda: not deployment.running_jobs())
            assert_counted(deployment)

    @staticmethod
    def create_all(deployment: Deployment) -> list[bytes]:
        calls = [
            deployment.flyte.tasks.CreateTask.future(deployment.shell(command), timeout=PATIENCE)
            for command in COMMANDS
        ]
        return [call.result().resource_meta for call in calls]

    @staticmethod
    def get_until(flyte: Flyte, metas: list[bytes], phases: set[int]) -> list[Any]:
        """Ask for all of them at once, again and again, until each is in one of the phases."""
        found: dict[bytes, Any] = {}
        while waiting := [meta for meta in metas if meta not in found]:
            calls = [
                flyte.tasks.GetTask.future(agent_pb2.GetTaskRequest(**about("shell", meta)), timeout=PATIENCE)
                for meta in waiting
            ]
            resources = [call.result().resource for call in calls]
            found |= {meta: each for meta, each in zip(waiting, resources, strict=True) if each.phase in phases}
        return [found[meta] for meta in metas]

    @staticmethod
    def assert_ended(command: str, resource: Any) -> None:
        code = resource.outputs.literals["exit_code"].scalar.primitive.integer
        if command == SUCCEED:
            assert (resource.phase, resource.message, code) == (Phase.SUCCEEDED, "", 0)
        else:
            assert (resource.phase, resource.message, code) == (Phase.FAILED, "it cannot be", 3)

    def delete_all(self, deployment: Deployment, metas: list[bytes]) -> None:
        flyte = deployment.flyte
        self.get_until(flyte, metas, {Phase.RUNNING})
        assert len(deployment.running_jobs()) >= len(metas)
        calls = [
            flyte.tasks.DeleteTask.future(agent_pb2.DeleteTaskRequest(**about("shell", meta)), timeout=PATIENCE)
            for meta in metas
        ]
        assert [call.result() for call in calls] == [agent_pb2.DeleteTaskResponse()] * len(metas)
        for resource in self.get_until(flyte, metas, TERMINAL):
            assert resource.phase == Phase.ABORTED
            assert not resource.HasField("outputs")


def assert_counted(deployment: Deployment) -> None:
    """Every call was counted, under the names that flytekit's server has, and none failed."""
    samples = deployment.samples()
    name, shell = "flyte_connector_requests_success_total", "task_type=shell"
    assert samples[name, "operation=create", shell] == 200
    assert samples[name, "operation=delete", shell] == 60
    assert not [key for key in samples if key[0] == "flyte_connector_requests_failure_total"]
    assert samples["flytower_tasks", "phase=SUCCEEDED", shell] == 100
    assert samples["flytower_tasks", "phase=FAILED", shell] == 40
    assert samples["flytower_tasks", "phase=ABORTED", shell] == 60


class TestLogs:
    """GetTaskLogs: a real stream, with tokens."""

    def test_lines_are_limited_and_the_token_goes_on_where_the_last_stream_ended(self, deployment: Deployment) -> None:
        flyte, go_on = deployment.flyte, deployment.folder / "more-lines"
        script = f"echo one; echo two; echo three; while [ ! -e {go_on} ]; do sleep 0.05; done; echo four; echo no >&2"
        meta = flyte.create(deployment.shell(script))
        until(lambda: flyte.logs("shell", meta)[1] == ["one", "two", "three"])
        token, lines = flyte.logs("shell", meta, lines=2)
        assert lines == ["one", "two"]
        token, lines = flyte.logs("shell", meta, token=token)
        assert lines == ["three"]
        assert flyte.logs("shell", meta, token=token) == (token, [])
        go_on.touch()
        flyte.until("shell", meta)
        assert flyte.logs("shell", meta, token=token)[1] == ["four", "no"]

    def test_a_long_log_comes_in_many_messages_after_its_token(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        meta = flyte.create(deployment.shell("seq 5000"))
        flyte.until("shell", meta)
        request = agent_pb2.GetTaskLogsRequest(**about("shell", meta))
        first, *bodies = flyte.tasks.GetTaskLogs(request, timeout=PATIENCE)
        assert first.header.token
        assert len(bodies) > 1
        lines = [line.message for body in bodies for line in body.body.structured_lines]
        assert lines == [str(number) for number in range(1, 5001)]

    def test_the_log_of_a_deleted_job_can_still_be_read(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        meta = flyte.create(deployment.shell("echo last words; exec sleep 300"))
        until(lambda: flyte.logs("shell", meta)[1])
        flyte.delete("shell", meta)
        assert flyte.logs("shell", meta)[1] == ["last words"]


class TestMetrics:
    """GetTaskMetrics."""

    def test_the_queries_reach_the_connector_and_the_results_the_client(self, deployment: Deployment) -> None:
        meta = deployment.flyte.create(running_request())
        results = deployment.flyte.metrics("scripted", meta, queries=["cpu", "memory"]).results
        assert [result.metric for result in results] == ["cpu", "memory"]
        assert results[0].data["value"] == 1.5


def running_request() -> Any:
    return create_request("scripted", {"answer": {"phase": "RUNNING"}})


class TestExecuteTaskSync:
    """Header, inputs, exactly one terminal answer, whatever the order of arrival."""

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["header first", "inputs first"])
    def test_one_message_with_the_header_and_its_resource_answers(
        self, deployment: Deployment, order: tuple[int, int]
    ) -> None:
        messages = sync_messages("instant", x=20, y=3)
        (answer,) = deployment.flyte.execute(messages[index] for index in order)
        assert answer.WhichOneof("res") == "header"
        assert answer.header.resource.phase == Phase.SUCCEEDED
        outputs = answer.header.resource.outputs.literals
        assert {name: literal.scalar.primitive.integer for name, literal in outputs.items()} == {"x": 20, "y": 3}

    def test_a_header_without_inputs_is_enough(self, deployment: Deployment) -> None:
        header, _ = sync_messages("instant")
        (answer,) = deployment.flyte.execute([header])
        assert answer.header.resource.phase == Phase.SUCCEEDED
        assert not answer.header.resource.HasField("outputs")

    def test_the_answer_does_not_wait_for_the_client_to_close_its_side(self, deployment: Deployment) -> None:
        release = deployment.folder / "half-close"

        def messages() -> Iterator[Any]:
            yield from sync_messages("instant", x=1)
            until(release.exists)

        call = deployment.flyte.sync_tasks.ExecuteTaskSync(messages(), timeout=PATIENCE)
        assert next(call).header.resource.phase == Phase.SUCCEEDED
        release.touch()
        assert list(call) == []
        assert call.code() is grpc.StatusCode.OK

    def test_a_failed_task_is_an_answer_and_no_error(self, deployment: Deployment) -> None:
        (answer,) = deployment.flyte.execute(sync_messages("instant", {"phase": "FAILED", "message": "no such table"}))
        resource = answer.header.resource
        assert (resource.phase, resource.message) == (Phase.FAILED, "no such table")


class TestMetadata:
    """GetAgent and ListAgents."""

    def test_a_connector_is_described_by_its_name(self, deployment: Deployment) -> None:
        agent = deployment.flyte.metadata.GetAgent(agent_pb2.GetAgentRequest(name="Instant Connector")).agent
        assert agent.name == "Instant Connector"
        assert agent.is_sync
        assert list(agent.supported_task_types) == ["instant"]
        assert [(each.name, each.version) for each in agent.supported_task_categories] == [("instant", 0)]

    def test_all_are_listed_with_types_and_with_categories(self, deployment: Deployment) -> None:
        agents = deployment.flyte.metadata.ListAgents(agent_pb2.ListAgentsRequest()).agents
        assert all(
            [each.name for each in agent.supported_task_categories] == list(agent.supported_task_types)
            for agent in agents
        )
        assert {
            (category.name, category.version, agent.is_sync)
            for agent in agents
            for category in agent.supported_task_categories
        } == {
            ("shell", 0, False),
            ("webhook", 0, True),
            ("scripted", 0, False),
            ("token", 0, False),
            ("counted", 0, False),
            ("twin", 0, False),
            ("twin", 2, False),
            ("instant", 0, True),
            ("hasty", 0, True),
            ("my_async_task", 1, False),
            ("my_sync_task", 1, True),
        }


class TestHealth:
    """What readiness probes ask."""

    @pytest.mark.parametrize("service", ["", *(f"flyteidl.service.{name}" for name in SERVICES)])
    def test_the_server_and_each_of_its_services_serve(self, deployment: Deployment, service: str) -> None:
        assert deployment.flyte.check(service) == health_pb2.HealthCheckResponse.SERVING

    def test_a_service_that_is_not_there_is_not_found(self, deployment: Deployment) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            deployment.flyte.check("flyteidl.service.Nope")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
