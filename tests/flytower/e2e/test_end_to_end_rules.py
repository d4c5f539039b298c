"""The rules that Flyte's clients rely on, each over the wire (flyteidl's agent.proto, and what flytepropeller does)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from flyteidl.admin import agent_pb2

from tests.flytower.e2e.client import PATIENCE, Phase, about, create_request, sync_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.flytower.e2e.client import Flyte
    from tests.flytower.e2e.deployment import Deployment

Code = grpc.StatusCode

MAX_DETAILS = 8_000
"""Bytes. Flyte's clients drop the connection when trailers are larger than that (or twice that, in Python)."""


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """Return how a call failed, after a look at the size of all that came with it."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    trailers = sum(len(key) + len(value) for key, value in error.trailing_metadata() or ())
    assert len(error.details().encode()) + trailers < MAX_DETAILS
    return error.code(), error.details()


def answering(flyte: Flyte, **answer: Any) -> bytes:
    """Create a job whose connector's get answers this."""
    return flyte.create(create_request("scripted", {"answer": answer}))


class TestRouting:
    """Which connector is asked."""

    @pytest.mark.parametrize("version", [0, 2])
    def test_the_category_and_its_version_win_over_the_deprecated_type(
        self, deployment: Deployment, version: int
    ) -> None:
        flyte = deployment.flyte
        meta = flyte.create(create_request("twin", version=version))
        request = agent_pb2.GetTaskRequest(**{**about("twin", meta, version), "task_type": "shell"})
        assert flyte.tasks.GetTask(request, timeout=PATIENCE).resource.message == f"Twin {version}"

    def test_the_type_alone_means_its_version_0(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        for version, text in ((0, "Twin 0"), (2, "Twin 0")):
            meta = flyte.create(create_request("twin", version=version))
            request = agent_pb2.GetTaskRequest(task_type="twin", resource_meta=meta)
            assert flyte.tasks.GetTask(request, timeout=PATIENCE).resource.message == text

    def test_a_category_without_a_name_is_none(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        meta = flyte.create(create_request("twin"))
        request = agent_pb2.GetTaskRequest(
            task_type="twin", resource_meta=meta, task_category=agent_pb2.TaskCategory(version=2)
        )
        assert flyte.tasks.GetTask(request, timeout=PATIENCE).resource.message == "Twin 0"


class TestPhase:
    """Flyte 1 takes UNDEFINED for a failure, and ends on a sync task that is not over."""

    def test_a_connector_that_answers_undefined_leaves_the_task_initializing(self, deployment: Deployment) -> None:
        resource = deployment.flyte.get("scripted", answering(deployment.flyte, phase="UNDEFINED"))
        assert resource.phase == Phase.INITIALIZING
        assert "UNDEFINED" in resource.message

    @pytest.mark.parametrize("phase", ["UNDEFINED", "RUNNING", "QUEUED", "INITIALIZING", "WAITING_FOR_RESOURCES"])
    def test_a_sync_connector_without_a_terminal_phase_is_an_error(self, deployment: Deployment, phase: str) -> None:
        code, details = refusal(lambda: deployment.flyte.execute(sync_messages("instant", {"phase": phase})))
        assert code is Code.INTERNAL
        assert phase in details

    @pytest.mark.parametrize("phase", ["QUEUED", "INITIALIZING", "WAITING_FOR_RESOURCES", "RUNNING", "ABORTED"])
    def test_all_others_pass_with_their_messages(self, deployment: Deployment, phase: str) -> None:
        meta = answering(deployment.flyte, phase=phase, message="so it is")
        resource = deployment.flyte.get("scripted", meta)
        assert (resource.phase, resource.message) == (Phase.Phase.Value(phase), "so it is")


class TestOutputs:
    """Unset: Flyte reads outputs.pb. Set, if empty: these are the outputs."""

    @pytest.mark.parametrize("phase", ["RUNNING", "SUCCEEDED", "FAILED"])
    def test_they_are_unset_unless_the_connector_gives_some(self, deployment: Deployment, phase: str) -> None:
        resource = deployment.flyte.get("scripted", answering(deployment.flyte, phase=phase))
        assert resource.phase == Phase.Phase.Value(phase)
        assert not resource.HasField("outputs")

    @pytest.mark.parametrize("outputs", [{}, {"x": 1, "y": 2}])
    def test_they_are_set_when_given_none_at_all_included(
        self, deployment: Deployment, outputs: dict[str, int]
    ) -> None:
        resource = deployment.flyte.get("scripted", answering(deployment.flyte, phase="SUCCEEDED", outputs=outputs))
        assert resource.HasField("outputs")
        assert resource.outputs.literals.keys() == outputs.keys()

    @pytest.mark.parametrize("given", [False, True])
    def test_so_it_is_for_sync_tasks(self, deployment: Deployment, *, given: bool) -> None:
        custom: dict[str, Any] = {"outputs": {} if given else None}
        (answer,) = deployment.flyte.execute(sync_messages("instant", custom))
        assert answer.header.resource.HasField("outputs") is given


HUGE = {"error": "0123456789" + "ü", "times": 100_000 // 11}


class TestErrors:
    """What a caller is told: a code, one sentence, and not more than fits into trailers."""

    def test_a_huge_error_of_create_is_cut(self, deployment: Deployment) -> None:
        code, details = refusal(lambda: deployment.flyte.create(create_request("scripted", {"create": HUGE})))
        assert code is Code.INTERNAL
        assert details.startswith("failed to create scripted task with error:\n RuntimeError: 0123456789")

    def test_a_huge_error_of_a_sync_task_is_cut(self, deployment: Deployment) -> None:
        code, details = refusal(lambda: deployment.flyte.execute(sync_messages("instant", HUGE)))
        assert code is Code.INTERNAL
        assert details.startswith("failed to do instant task with error:\n RuntimeError: 0123456789")

    def test_a_huge_error_of_get_is_no_error_and_cut(self, deployment: Deployment) -> None:
        resource = deployment.flyte.get("scripted", answering(deployment.flyte, **HUGE))
        assert resource.phase == Phase.INITIALIZING
        assert "RuntimeError: 0123456789" in resource.message
        assert len(resource.message) < MAX_DETAILS

    def test_secrets_of_the_request_are_not_in_what_the_connector_says(self, deployment: Deployment) -> None:
        said = {"error": "cannot log in as joe with tr0ub4dor"}
        custom = {"password": "tr0ub4dor", **said, "create": said}
        code, details = refusal(lambda: deployment.flyte.create(create_request("scripted", custom)))
        assert (code, details.count("tr0ub4dor")) == (Code.INTERNAL, 0)
        assert "cannot log in as joe with [secret]" in details
        code, details = refusal(lambda: deployment.flyte.execute(sync_messages("instant", custom)))
        assert (code, details.count("tr0ub4dor")) == (Code.INTERNAL, 0)
        assert "cannot log in as joe with [secret]" in details

    @pytest.mark.parametrize("length", range(975, 1005, 3))
    def test_nor_is_a_part_of_one_where_a_long_text_is_cut(self, deployment: Deployment, length: int) -> None:
        said = {"error": "x" * length + "tr0ub4dor" + "y" * 1000}
        request = create_request("scripted", {"password": "tr0ub4dor", "create": said})
        assert "tr0" not in refusal(lambda: deployment.flyte.create(request))[1]
        messages = sync_messages("instant", {"password": "tr0ub4dor", **said})
        assert "tr0" not in refusal(lambda: deployment.flyte.execute(messages))[1]


def raw(flyte: Flyte, path: str, request: bytes = b"") -> object:
    """Call a method with bytes as they are."""
    return flyte.channel.unary_unary(path)(request, timeout=PATIENCE)


# Each takes a client, a task type and a resource_meta.
READERS: dict[str, Callable[[Flyte, str, bytes], object]] = {
    "GetTask": lambda flyte, task_type, meta: flyte.get(task_type, meta),
    "DeleteTask": lambda flyte, task_type, meta: flyte.delete(task_type, meta),
    "GetTaskMetrics": lambda flyte, task_type, meta: flyte.metrics(task_type, meta),
    "GetTaskLogs": lambda flyte, task_type, meta: flyte.logs(task_type, meta),
}

# Those that begin something, and so have no resource_meta yet.
STARTERS: dict[str, Callable[[Flyte, str], object]] = {
    "CreateTask": lambda flyte, task_type: flyte.create(create_request(task_type)),
    "ExecuteTaskSync": lambda flyte, task_type: flyte.execute(sync_messages(task_type)),
}


class TestStatusCodes:
    """One code for each kind of refusal."""

    @pytest.mark.parametrize("method", [*READERS, *STARTERS])
    def test_an_unknown_task_type_is_not_found(self, deployment: Deployment, method: str) -> None:
        def call() -> object:
            if method in STARTERS:
                return STARTERS[method](deployment.flyte, "quantum")
            return READERS[method](deployment.flyte, "quantum", b"{}")

        code, details = refusal(call)
        assert code is Code.NOT_FOUND
        assert "Cannot find connector" in details
        assert "quantum" in details

    def test_an_unknown_agent_is_not_found(self, deployment: Deployment) -> None:
        metadata = deployment.flyte.metadata
        code, details = refusal(lambda: metadata.GetAgent(agent_pb2.GetAgentRequest(name="Nobody")))
        assert (code, "Nobody" in details) == (Code.NOT_FOUND, True)

    @pytest.mark.parametrize("meta", [b"", b"{}", b'{"job":1,"answer":""}', b"\xff", b'{"job":"x"', b"[" * 5000])
    @pytest.mark.parametrize("method", READERS)
    def test_a_meta_that_cannot_be_decoded_is_an_invalid_argument(
        self, deployment: Deployment, method: str, meta: bytes
    ) -> None:
        code, details = refusal(lambda: READERS[method](deployment.flyte, "scripted", meta))
        assert code is Code.INVALID_ARGUMENT, details
        assert "resource_meta" in details

    @pytest.mark.parametrize("token", ["nonsense", "-1.0", "9" * 30])
    def test_a_token_that_nobody_gave_is_an_invalid_argument(self, deployment: Deployment, token: str) -> None:
        flyte = deployment.flyte
        meta = flyte.create(deployment.shell("exit 0"))
        code, details = refusal(lambda: flyte.logs("shell", meta, token=token))
        assert (code, "token" in details) == (Code.INVALID_ARGUMENT, True)

    def test_a_request_without_a_template_is_an_invalid_argument(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        code, details = refusal(lambda: flyte.create(agent_pb2.CreateTaskRequest(output_prefix="s3://x")))
        assert (code, "template" in details) == (Code.INVALID_ARGUMENT, True)
        bare = agent_pb2.ExecuteTaskSyncRequest(header=agent_pb2.CreateRequestHeader(output_prefix="s3://x"))
        code, details = refusal(lambda: flyte.execute([bare]))
        assert (code, "template" in details) == (Code.INVALID_ARGUMENT, True)

    def test_a_sync_call_without_a_header_is_an_invalid_argument(self, deployment: Deployment) -> None:
        _, inputs = sync_messages("instant")
        for messages in ([], [inputs]):
            code, details = refusal(lambda messages=messages: deployment.flyte.execute(messages))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert (code, "header" in details) == (Code.INVALID_ARGUMENT, True)

    def test_bytes_that_are_no_message_are_an_invalid_argument(self, deployment: Deployment) -> None:
        path = "/flyteidl.service.AsyncAgentService/CreateTask"
        assert refusal(lambda: raw(deployment.flyte, path, b"\xff\xff\xff"))[0] is Code.INVALID_ARGUMENT

    def test_a_shell_task_without_a_command_says_what_is_missing(self, deployment: Deployment) -> None:
        code, details = refusal(lambda: deployment.flyte.create(create_request("shell")))
        assert (code, "custom.command" in details) == (Code.INVALID_ARGUMENT, True)

    @pytest.mark.parametrize("method", ["GetTaskMetrics", "GetTaskLogs"])
    def test_a_method_that_the_connector_does_not_have_is_unimplemented(
        self, deployment: Deployment, method: str
    ) -> None:
        flyte = deployment.flyte
        meta = flyte.create(create_request("twin"))
        assert refusal(lambda: READERS[method](flyte, "twin", meta))[0] is Code.UNIMPLEMENTED

    def test_an_async_call_for_a_sync_connector_is_unimplemented_and_the_other_way_round(
        self, deployment: Deployment
    ) -> None:
        assert refusal(lambda: STARTERS["CreateTask"](deployment.flyte, "instant"))[0] is Code.UNIMPLEMENTED
        assert refusal(lambda: STARTERS["ExecuteTaskSync"](deployment.flyte, "shell"))[0] is Code.UNIMPLEMENTED

    @pytest.mark.parametrize("path", ["/flyteidl.service.AsyncAgentService/PauseTask", "/no.such.Service/GetTask"])
    def test_an_unknown_path_is_unimplemented(self, deployment: Deployment, path: str) -> None:
        assert refusal(lambda: raw(deployment.flyte, path))[0] is Code.UNIMPLEMENTED

    def test_the_same_key_with_other_parameters_is_a_failed_precondition(self, deployment: Deployment) -> None:
        flyte = deployment.flyte
        request = create_request("scripted", {"answer": {"phase": "RUNNING"}})
        meta = flyte.create(request)
        request.template.custom.update({"answer": {"phase": "FAILED"}})
        code, details = refusal(lambda: flyte.create(request))
        assert code is Code.FAILED_PRECONDITION
        assert "other parameters" in details
        assert flyte.get("scripted", meta).phase == Phase.RUNNING

    def test_a_request_above_4_mib_is_resource_exhausted_and_the_connection_goes_on(
        self, deployment: Deployment
    ) -> None:
        flyte = deployment.flyte
        request = create_request("scripted")
        request.inputs.literals["x"].scalar.primitive.string_value = "x" * 5_000_000
        assert refusal(lambda: flyte.create(request))[0] is Code.RESOURCE_EXHAUSTED
        header, inputs = sync_messages("instant")
        inputs.inputs.CopyFrom(request.inputs)
        assert refusal(lambda: flyte.execute([header, inputs]))[0] is Code.RESOURCE_EXHAUSTED
        assert flyte.check()

    def test_a_connector_that_raises_is_internal_with_what_it_said(self, deployment: Deployment) -> None:
        request = create_request("scripted", {"create": {"error": "quota exceeded"}})
        code, details = refusal(lambda: deployment.flyte.create(request))
        assert code is Code.INTERNAL
        assert details == "failed to create scripted task with error:\n RuntimeError: quota exceeded."

    def test_a_connector_that_takes_too_long_is_a_deadline_exceeded(self, deployment: Deployment) -> None:
        messages = sync_messages("hasty", {"wait": "never"})
        assert refusal(lambda: deployment.flyte.execute(messages))[0] is Code.DEADLINE_EXCEEDED
