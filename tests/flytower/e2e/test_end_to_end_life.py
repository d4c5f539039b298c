"""The life of a server: what it begins with, what it counts, how it stops, and how the next one takes over."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.flytower.e2e.client import PATIENCE, Phase, create_request, sync_messages
from tests.flytower.e2e.deployment import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.flytower.e2e.client import Flyte
    from tests.flytower.e2e.deployment import Deploy, Deployment

Health = health_pb2.HealthCheckResponse

REQUESTS = "flyte_connector_requests_{}_total"
LATENCY = "flyte_connector_request_latency_seconds_count"
INPUT_BYTES = "flyte_connector_input_literal_bytes"


class TestModules:
    """Connectors from modules of other people."""

    def test_a_module_that_fails_to_import_is_named_and_the_others_serve(self, deploy: Deploy, tmp_path: Path) -> None:
        (tmp_path / "broken_plugin.py").write_text("import no_such_library")
        with deploy("--modules", "broken_plugin") as deployment:
            assert deployment.flyte.until("twin", deployment.flyte.create(create_request("twin"))).message == "Twin 0"
            events = [json.loads(line) for line in deployment.server.log().splitlines()]
            (failure,) = [event for event in events if event.get("module") == "broken_plugin"]
            assert "no_such_library" in failure["reason"]

    def test_the_asynchronous_example_of_the_specification_serves(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        meta = flyte.create(create_request("my_async_task", version=1))
        assert meta == b'{"job_id":"job-123"}'
        resource = flyte.get("my_async_task", meta, version=1)
        assert (resource.phase, resource.message) == (Phase.SUCCEEDED, "Job completed successfully")
        assert resource.outputs.literals["result"].scalar.primitive.integer == 42
        other = b'{"job_id":"other"}'
        assert flyte.get("my_async_task", other, version=1).message == "Job still running"
        flyte.delete("my_async_task", other, version=1)

    def test_so_does_the_synchronous_one(self, deployment: Deployment) -> None:
        (answer,) = deployment.flyte.execute(sync_messages("my_sync_task", version=1, input_key=21))
        assert answer.header.resource.phase == Phase.SUCCEEDED
        assert answer.header.resource.outputs.literals["output_key"].scalar.primitive.integer == 42


class TestMetrics:
    """The four names of flytekit's server, with its labels."""

    def test_successes_and_failures_are_counted_by_type_and_operation(self, deploy: Deploy) -> None:
        with deploy() as deployment:
            self.call_each(deployment.flyte)
            samples = deployment.samples()
        for operation, task_type, ended in (
            ("create", "twin", 3), ("get", "twin", 2), ("delete", "twin", 1), ("do", "instant", 1),
        ):  # fmt: skip
            labels = (f"operation={operation}", f"task_type={task_type}")
            assert samples[REQUESTS.format("success"), *labels] == ended
            assert samples[LATENCY, *labels] == ended
        failure = REQUESTS.format("failure")
        assert samples[failure, "error_code=500", "operation=create", "task_type=scripted"] == 1
        assert samples[failure, "error_code=404", "operation=create", "task_type=unknown"] == 2
        assert not any("quantum" in part for key in samples for part in key)
        inputs = sync_messages("instant", x=1)[1].inputs.ByteSize()
        assert samples[f"{INPUT_BYTES}_count", "task_type=instant"] == 1
        assert samples[f"{INPUT_BYTES}_sum", "task_type=instant"] == inputs
        assert samples[f"{INPUT_BYTES}_count", "task_type=twin"] == 3

    @staticmethod
    def call_each(flyte: Flyte) -> None:
        meta, *_ = [flyte.create(create_request("twin")) for _ in range(3)]
        flyte.get("twin", meta)
        flyte.get("twin", meta)
        flyte.delete("twin", meta)
        flyte.execute(sync_messages("instant", x=1))
        for request in (
            create_request("scripted", {"create": {"error": "no"}}),
            create_request("quantum"),
            create_request("quantum-2"),
        ):
            with pytest.raises(grpc.RpcError):
                flyte.create(request)

    def test_calls_that_were_cancelled_or_timed_out_are_counted_as_failures(self, deploy: Deploy) -> None:
        with deploy() as deployment:
            failure, labels = REQUESTS.format("failure"), ("operation=create", "task_type=scripted")
            request = create_request("scripted", {"wait": "go"})
            call = deployment.flyte.tasks.CreateTask.future(request, timeout=PATIENCE)
            until(deployment.record)
            call.cancel()
            until(lambda: (failure, "error_code=499", *labels) in deployment.samples())
            assert self.code(deployment.flyte, sync_messages("hasty", {"wait": "go"})) == "DEADLINE_EXCEEDED"
            slow = sync_messages("instant", {"wait": "go"})
            assert self.code(deployment.flyte, slow, timeout=1.0) == "DEADLINE_EXCEEDED"
            until(lambda: self.failures(deployment, "instant"))
            assert self.failures(deployment, "hasty") == {"error_code=504": 1}
            # The client withdraws its call at the moment at which the server's own timer ends it.
            assert self.failures(deployment, "instant") in ({"error_code=504": 1}, {"error_code=499": 1})
            samples = deployment.samples()
            assert samples[failure, "error_code=499", *labels] == 1
            assert not [key for key in samples if key[0] == REQUESTS.format("success")]
            deployment.allow("go")

    @staticmethod
    def code(flyte: Flyte, messages: Any, timeout: float = PATIENCE) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            flyte.execute(messages, timeout=timeout)
        return str(caught.value.code().name)

    @staticmethod
    def failures(deployment: Deployment, task_type: str) -> dict[str, float]:
        """Return how the failed `do` calls of a type ended."""
        wanted = ("operation=do", f"task_type={task_type}")
        return {
            key[1]: value
            for key, value in deployment.samples().items()
            if key[0] == REQUESTS.format("failure") and key[2:] == wanted
        }


class TestStop:
    """SIGTERM."""

    def test_calls_in_flight_finish_health_says_so_and_jobs_go_on(self, deploy: Deploy) -> None:
        with deploy() as deployment, ThreadPoolExecutor() as pool:
            flyte = deployment.flyte
            deployment.long_job()
            jobs = deployment.running_jobs()
            health = flyte.health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
            assert next(health).status == Health.SERVING
            created = flyte.tasks.CreateTask.future(create_request("scripted", {"wait": "go"}), timeout=PATIENCE)
            done = pool.submit(flyte.execute, sync_messages("instant", {"wait": "go"}))
            until(lambda: len(deployment.record()) == 2)
            deployment.server.process.send_signal(signal.SIGTERM)
            assert next(health).status == Health.NOT_SERVING
            assert not created.done()
            assert not done.done()
            health.cancel()
            deployment.allow("go")
            assert created.result().resource_meta
            assert done.result()[0].header.resource.phase == Phase.SUCCEEDED
            assert deployment.server.process.wait() == 0
            assert jobs
            assert deployment.running_jobs() == jobs

    def test_a_create_that_never_ends_is_left_to_recovery_inside_the_grace(self, deploy: Deploy) -> None:
        with deploy("--grace", "2") as deployment:
            request = create_request("token", {"wait": "never"})
            created = deployment.flyte.tasks.CreateTask.future(request, timeout=PATIENCE)
            until(deployment.record)
            assert deployment.server.stop(signal.SIGTERM) == 0, "1 says that it had to be ended"
            assert created.code() is grpc.StatusCode.UNAVAILABLE
        with deploy() as deployment:
            until(lambda: len(deployment.record()) == 2)
            assert len({line.split()[2] for line in deployment.record()}) == 1, "the same token again"

    def test_a_server_whose_event_loop_is_blocked_is_ended_when_its_grace_is_over(self, deploy: Deploy) -> None:
        with deploy("--grace", "2") as deployment:
            request = create_request("scripted", {"wait": "go", "block": "sleep"})
            created = deployment.flyte.tasks.CreateTask.future(request, timeout=PATIENCE)
            until(deployment.record)
            health = deployment.flyte.health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
            assert next(health).status == Health.SERVING
            deployment.server.process.send_signal(signal.SIGTERM)
            assert next(health).status == Health.NOT_SERVING
            deployment.allow("go")
            assert deployment.server.process.wait() == 1
            assert "has not stopped in time" in deployment.server.log()
            created.cancel()

    @pytest.mark.parametrize("how", ["sleep", "compute"])
    def test_the_grace_begins_at_the_signal_although_the_event_loop_is_blocked(self, deploy: Deploy, how: str) -> None:
        with deploy("--grace", "2") as deployment:
            created = self.blocking(deployment, how)
            assert deployment.server.stop(signal.SIGTERM) == 1
            assert "has not stopped in time" in deployment.server.log()
            created.cancel()

    @pytest.mark.parametrize("how", ["sleep", "compute"])
    def test_so_does_the_hurry_of_a_second_signal(self, deploy: Deploy, how: str) -> None:
        with deploy("--grace", "3600") as deployment:
            created = self.blocking(deployment, how)
            deployment.server.process.send_signal(signal.SIGTERM)
            until(lambda: "A signal: stopping in order" in deployment.server.log())
            assert deployment.server.stop(signal.SIGINT) == 130
            created.cancel()

    @staticmethod
    def blocking(deployment: Deployment, how: str) -> Any:
        """Have a connector block the event loop; return the create that does."""
        request = create_request("scripted", {"block": how})
        created = deployment.flyte.tasks.CreateTask.future(request, timeout=PATIENCE)
        until(lambda: f"blocking {request.output_prefix}" in deployment.record())
        return created


class TestErrorBudget:
    """A job that cannot be polled."""

    def test_polls_beyond_the_policys_count_end_in_a_retryable_failure_after_a_delete(self, deploy: Deploy) -> None:
        with deploy() as deployment:
            request = create_request("counted", {"answer": {"error": "HTTP 503"}})
            meta = deployment.flyte.create(request)
            resource = deployment.flyte.until("counted", meta)
            assert resource.phase == Phase.RETRYABLE_FAILED
            assert "(3 polls): RuntimeError: HTTP 503" in resource.message
            assert deployment.deletes(request) == [1]


class TestRestart:
    """A server is killed, and the next one knows nothing but what Flyte and the external system have."""

    def test_jobs_are_adopted_from_their_metas_and_end_as_they_would_have(self, deploy: Deploy, tmp_path: Path) -> None:
        root, go = str(tmp_path / "jobs"), tmp_path / "go"
        wait = f"while [ ! -e {go} ]; do sleep 0.05; done;"
        with deploy(FLYTOWER_SHELL_ROOT=root) as first:
            requests = [first.shell(f"{wait} echo done"), first.shell(f"{wait} echo no >&2; exit 3")]
            ending, failing = [first.flyte.create(request) for request in requests]
            _, long = first.long_job()
            early = first.flyte.create(first.shell("echo early"))
            for meta in (ending, failing, long):
                first.flyte.until("shell", meta, Phase.RUNNING)
            first.server.process.kill()
            first.server.process.wait()
        with deploy(FLYTOWER_SHELL_ROOT=root) as second:
            flyte = second.flyte
            assert [flyte.get("shell", meta).phase for meta in (ending, failing, long)] == [Phase.RUNNING] * 3
            assert flyte.until("shell", early).outputs.literals["stdout"].scalar.primitive.string_value == "early\n"
            go.touch()
            self.assert_ended(flyte.until("shell", ending), Phase.SUCCEEDED, 0, "done\n")
            self.assert_ended(flyte.until("shell", failing), Phase.FAILED, 3, "")
            assert second.running_jobs()
            flyte.delete("shell", long)
            assert flyte.until("shell", long).phase == Phase.ABORTED
            assert not second.running_jobs()

    @staticmethod
    def assert_ended(resource: Any, phase: int, code: int, stdout: str) -> None:
        outputs = resource.outputs.literals
        assert resource.phase == phase
        assert outputs["exit_code"].scalar.primitive.integer == code
        assert outputs["stdout"].scalar.primitive.string_value == stdout

    def test_a_create_that_is_sent_again_finds_the_job_of_the_first(self, deploy: Deploy, tmp_path: Path) -> None:
        root = str(tmp_path / "jobs")
        with deploy(FLYTOWER_SHELL_ROOT=root) as first:
            request, meta = first.long_job()
            jobs = first.running_jobs()
            first.server.process.kill()
            first.server.process.wait()
        with deploy(FLYTOWER_SHELL_ROOT=root) as second:
            assert second.flyte.create(request) == meta
            assert second.flyte.until("shell", meta, Phase.RUNNING).phase == Phase.RUNNING
            assert second.running_jobs() == jobs
            second.flyte.delete("shell", meta)
            second.flyte.until("shell", meta)
            assert not second.running_jobs()
