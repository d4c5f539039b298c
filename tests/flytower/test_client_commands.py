"""`flytower submit`, `get`, `delete`, `logs`, `connectors`, `settings`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import pytest
from click.testing import CliRunner, Result
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from flytower.cli.app import main
from flytower.cli.output import BASE64, meta_to_text, resource_data, text_to_meta
from flytower.cli.table import plain_table
from flytower.connectors.resource import TaskExecution
from flytower.protocol.generated.flyteidl.admin import Resource
from flytower.protocol.generated.flyteidl.core import Literal, LiteralMap, Scalar
from flytower.protocol.literals import to_literal_map

if TYPE_CHECKING:
    from collections.abc import Iterator


class ServerProcess(Protocol):
    """A running server, as the fixture of this folder gives it."""

    grpc: str
    metrics: str


def invoke(server: ServerProcess | str, *args: str) -> Result:
    endpoint = server if isinstance(server, str) else server.grpc
    return CliRunner().invoke(main, args, env={"FLYTOWER_ENDPOINT": endpoint})


def submitted(server: ServerProcess, *args: str) -> str:
    result = invoke(server, "submit", *args)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def sh(command: str) -> tuple[str, str, str]:
    return "shell", "--custom", json.dumps({"command": command})


class TestOneTask:
    """From submit to delete, in one process of a server."""

    def test_what_submit_prints_is_what_get_and_logs_take(self, server: ServerProcess) -> None:
        meta = submitted(server, *sh("echo out; echo err >&2"))
        got = invoke(server, "get", "shell", meta, "--wait")
        assert got.exit_code == 0
        assert got.stdout.startswith("SUCCEEDED\n  exit_code = 0\n")
        assert '  stdout = "out\\n"\n' in got.stdout
        assert invoke(server, "logs", "shell", meta).stdout == "out\nerr\n"

    def test_words_after_two_dashes_are_the_containers_arguments(self, server: ServerProcess) -> None:
        result = invoke(server, "submit", "shell", "--wait", "--json", "--", "printf", "%s", "--wait")
        assert json.loads(result.stdout)["outputs"] == {"exit_code": 0, "stdout": "--wait"}

    def test_waiting_for_a_task_that_fails_exits_with_1_and_says_why(self, server: ServerProcess) -> None:
        result = invoke(server, "submit", *sh("echo because >&2; exit 3"), "--wait")
        assert result.exit_code == 1
        assert result.stdout.startswith("FAILED: because\n")
        assert "created " in result.stderr

    def test_a_running_task_is_told_and_deleted(self, server: ServerProcess) -> None:
        meta = submitted(server, *sh("echo up; exec sleep 600"))
        while invoke(server, "logs", "shell", meta).stdout != "up\n":
            pass
        running = invoke(server, "get", "shell", meta, "--json")
        assert json.loads(running.stdout)["phase"] in {"RUNNING", "INITIALIZING"}
        assert invoke(server, "delete", "shell", meta).exit_code == 0
        gone = invoke(server, "get", "shell", meta, "--wait")
        assert gone.exit_code == 1
        assert gone.stdout.startswith("ABORTED")

    def test_a_log_is_followed_to_its_end(self, server: ServerProcess) -> None:
        meta = submitted(server, *sh("echo first; sleep 1; echo last"))
        assert invoke(server, "logs", "shell", meta, "--follow").stdout == "first\nlast\n"

    def test_the_custom_can_be_in_a_file(self, server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> None:
        file = tmp_path_factory.mktemp("custom") / "it.json"
        file.write_text('{"command": "true"}')
        assert invoke(server, "submit", "shell", "--custom", f"@{file}", "--wait").exit_code == 0

    def test_the_same_output_prefix_is_the_same_task(self, server: ServerProcess) -> None:
        first = submitted(server, *sh("true"), "--output-prefix", "s3://here/0")
        assert submitted(server, *sh("true"), "--output-prefix", "s3://here/0") == first
        assert submitted(server, *sh("true")) != first

    def test_a_sync_task_is_executed_at_once(self, server: ServerProcess) -> None:
        custom = json.dumps({"url": f"http://{server.metrics}/healthz", "method": "GET"})
        result = invoke(server, "submit", "webhook", "--custom", custom, "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["outputs"]["info"]["response_data"] == "ok\n"

    def test_a_sync_task_that_fails_exits_with_1(self, server: ServerProcess) -> None:
        custom = json.dumps({"url": f"http://{server.metrics}/nothing", "method": "GET"})
        assert invoke(server, "submit", "webhook", "--custom", custom).exit_code == 1


class TestExitCodes:
    """1: refused or failed. 2: the command line. 3: no server."""

    def test_what_the_server_refuses(self, server: ServerProcess) -> None:
        result = invoke(server, "submit", "no-such-type")
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: NOT_FOUND: Cannot find connector")

    @pytest.mark.parametrize(
        "args",
        [
            ("submit", "shell", "--custom", "[1]"),
            ("submit", "shell", "--custom", "{"),
            ("submit", "shell", "--custom", "@/no/such/file"),
            ("submit", "shell", "--input", "novalue"),
            ("submit", "shell", "--input", "n=99999999999999999999"),
            ("get", "shell", "base64:!"),
            ("connectors", "--endpoint", "nowhere"),
            ("connectors", "--endpoint", ":80"),
            ("no-such-command",),
        ],
    )
    def test_a_wrong_command_line(self, args: tuple[str, ...]) -> None:
        assert invoke("127.0.0.1:1", *args).exit_code == 2

    def test_no_server(self) -> None:
        result = invoke("127.0.0.1:1", "connectors")
        assert result.exit_code == 3
        assert "127.0.0.1:1 cannot be reached" in result.stderr

    def test_settings_that_cannot_be(self) -> None:
        result = CliRunner().invoke(main, ["settings"], env={"FLYTOWER_PORT": "x"})
        assert result.exit_code == 2


class TestLists:
    """Connectors and settings."""

    def test_connectors_in_columns(self, server: ServerProcess) -> None:
        lines = invoke(server, "connectors").stdout.splitlines()
        assert lines[0].split("  ")[0] == "Connector"
        assert "Shell Connector    shell (0)             async" in lines

    def test_connectors_as_json(self, server: ServerProcess) -> None:
        found = json.loads(invoke(server, "connectors", "--json").stdout)
        assert {"name": "Webhook Connector", "task_types": ["webhook (0)"], "is_sync": True} in found

    def test_settings_with_their_origins(self) -> None:
        env = {"FLYTOWER_GRACE": "7"}
        data = json.loads(CliRunner().invoke(main, ["settings", "--json"], env=env).stdout)
        assert data["grace"] == {"value": 7.0, "origin": "FLYTOWER_GRACE"}
        assert data["port"]["origin"] == "default"
        table = CliRunner().invoke(main, ["settings"], env=env).stdout
        assert "limits.max_calls" in table

    def test_every_command_explains_itself(self) -> None:
        listed = CliRunner().invoke(main, ["--help"]).stdout
        for name in main.list_commands(None):  # type: ignore[arg-type]  # the context is not used
            result = CliRunner().invoke(main, [name, "--help"])
            assert result.exit_code == 0
            assert f"  {name} " in listed

    def test_columns_are_aligned(self) -> None:
        assert plain_table(("a", "bbb"), [("cc", "d"), ("e", "")]) == ["a   bbb", "cc  d", "e"]


METADATA: Any = agent_pb2_grpc.AgentMetadataServiceServicer
ASYNCHRONOUS: Any = agent_pb2_grpc.AsyncAgentServiceServicer


class OldServer(METADATA, ASYNCHRONOUS):  # type: ignore[misc]  # grpc ships no types
    """A server of another make: bytes for a resource_meta, no task categories, plain results in its log."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def ListAgents(self, request: Any, context: Any) -> Any:  # noqa: N802
        agent = agent_pb2.Agent(name="Old", supported_task_types=["old"])
        return agent_pb2.ListAgentsResponse(agents=[agent])

    def CreateTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        return agent_pb2.CreateTaskResponse(resource_meta=b"\x80\x04pickle")

    def GetTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        return agent_pb2.GetTaskResponse(resource=agent_pb2.Resource(phase=3))

    def GetTaskLogs(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        yield agent_pb2.GetTaskLogsResponse(body=agent_pb2.GetTaskLogsResponseBody(results=["line"]))


@contextmanager
def old_server() -> Iterator[tuple[OldServer, str]]:
    servicer = OldServer()
    server = grpc.server(ThreadPoolExecutor(2))
    agent_pb2_grpc.add_AgentMetadataServiceServicer_to_server(servicer, server)
    agent_pb2_grpc.add_AsyncAgentServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_the_commands_are_clients_of_any_connector_server() -> None:
    with old_server() as (servicer, endpoint):
        assert "old" in invoke(endpoint, "connectors").stdout
        created = invoke(endpoint, "submit", "old", "--input", "n=3", "--input", "s=text", "--version", "2")
        meta = created.stdout.strip()
        assert meta.startswith(BASE64)
        assert invoke(endpoint, "get", "old", meta).stdout == "SUCCEEDED\n"
        assert invoke(endpoint, "logs", "old", meta).stdout == "line\n"
    create, get = servicer.requests
    assert create.template.task_type_version == 2
    assert create.inputs.literals["n"].scalar.primitive.integer == 3
    assert create.inputs.literals["s"].scalar.primitive.string_value == "text"
    assert get.resource_meta == b"\x80\x04pickle"
    assert (get.task_type, get.task_category.name) == ("old", "old")  # servers of before categories read the first


@given(st.binary() | st.text().map(str.encode))
def test_a_resource_meta_printed_and_given_back_is_the_same(meta: bytes) -> None:
    text = meta_to_text(meta)
    assert text_to_meta(text) == meta
    assert text.isprintable()
    assert not text.startswith("-")


def test_a_resource_is_shown_without_what_is_not_set() -> None:
    assert resource_data(Resource(phase=TaskExecution.RUNNING)) == {"phase": "RUNNING"}
    assert resource_data(Resource(phase=TaskExecution.SUCCEEDED, outputs=to_literal_map({"x": 1})))["outputs"] == {
        "x": 1
    }


def test_outputs_that_nobody_can_read_do_not_hide_the_phase() -> None:
    strange = LiteralMap(literals={"x": Literal(scalar=Scalar())})
    data = resource_data(Resource(phase=TaskExecution.SUCCEEDED, outputs=strange))
    assert data["phase"] == "SUCCEEDED"
    assert "cannot be shown" in data["outputs"]
