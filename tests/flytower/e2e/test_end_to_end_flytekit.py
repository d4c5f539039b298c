"""flytekit's connectors, unmodified, in a real server: what they are given, and what their mistakes do not do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from flyteidl.admin import agent_pb2

from flytower import Policy
from tests.flytower.e2e.client import Phase, create_request, literals, sync_messages
from tests.flytower.e2e.conftest import deployed
from tests.flytower.e2e.deployment import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.flytower.e2e.deployment import Deployment

SERVED = Path(__file__).resolve().parents[2] / "connectors" / "flytekit" / "served.py"

ARGS = ("--flytekit", "--modules", "flytekit_served")


@pytest.fixture(name="flytekit_modules", scope="module")
def _flytekit_modules(tmp_path_factory: pytest.TempPathFactory, modules: Path) -> Path:
    folder = tmp_path_factory.mktemp("flytekit-modules")
    shutil.copytree(modules, folder, dirs_exist_ok=True)
    shutil.copy(SERVED, folder / "flytekit_served.py")
    return folder


@pytest.fixture(name="served", scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory, flytekit_modules: Path) -> Iterator[Deployment]:
    """One server for all tests that only use it."""
    folder = tmp_path_factory.mktemp("flytekit")
    allowed = {"FLYTOWER_FLYTEKIT_PICKLED_METADATA": "fk_pickling", "FLYTOWER_FLYTEKIT_OWN_LOOP": "fk_blocking"}
    with deployed(folder, flytekit_modules, *ARGS, mark="flytekit", **allowed) as deployment:
        yield deployment


def test_flytekit_s_connectors_are_listed_beside_flytower_s(served: Deployment) -> None:
    agents = {agent.name: agent for agent in served.flyte.metadata.ListAgents(agent_pb2.ListAgentsRequest()).agents}
    assert {"Coroutine Connector", "Plain Connector", "Sensor", "Webhook Connector", "Shell Connector"} <= set(agents)
    assert agents["Instant flytekit Connector"].is_sync
    assert list(agents["Coroutine Connector"].supported_task_types) == ["fk_coroutine", "fk_blocking"]


def test_a_connector_is_given_flytekit_s_own_models_and_its_answer_is_converted_as_flytekit_does(
    served: Deployment,
) -> None:
    request = create_request("fk_coroutine")
    request.inputs.CopyFrom(literals(x=21))
    meta = served.flyte.create(request)
    assert json.loads(meta) == {"job": request.output_prefix, "state": "succeeded", "inputs": {"x": 21}}
    resource = served.flyte.until("fk_coroutine", meta)
    outputs = resource.outputs.literals
    assert (resource.phase, resource.message) == (Phase.SUCCEEDED, "succeeded")
    assert outputs["doubled"].scalar.primitive.integer == 42
    assert outputs["plain"].scalar.binary.tag == "msgpack"
    assert outputs["here"].scalar.primitive.boolean
    assert [link.uri for link in resource.log_links] == ["http://127.0.0.1/console"]
    assert resource.custom_info["job"] == request.output_prefix
    given = ["TaskTemplate", "LiteralMap", "TaskExecutionMetadata"]
    assert f"create {request.output_prefix} flytekit.models.task {given} []" in served.record()


def test_outputs_that_are_literals_already_stay_what_they_are(served: Deployment) -> None:
    resource = served.flyte.until("fk_plain", served.flyte.create(create_request("fk_plain", {"state": "succeeded"})))
    assert resource.outputs.literals["n"].scalar.primitive.integer == 1


def test_plain_functions_run_in_threads_and_are_deleted(served: Deployment) -> None:
    request = create_request("fk_plain")
    meta = served.flyte.create(request)
    served.flyte.until("fk_plain", meta, Phase.RUNNING)
    served.flyte.delete("fk_plain", meta)
    served.flyte.until("fk_plain", meta, Phase.ABORTED)
    assert f"delete {request.output_prefix}" in served.record()


@pytest.mark.parametrize("task_type", ["fk_coroutine", "fk_blocking"])
def test_a_coroutine_can_call_flytekit_s_type_engine(served: Deployment, task_type: str) -> None:
    request = create_request(task_type, {"engine": True})
    request.inputs.CopyFrom(literals(x=33 if task_type == "fk_coroutine" else 34))
    served.flyte.until(task_type, served.flyte.create(request))
    assert f"engine {{'x': {request.inputs.literals['x'].scalar.primitive.integer}}}" in served.record()


@pytest.mark.parametrize("task_type", ["fk_coroutine", "fk_blocking"])
def test_a_coroutine_can_make_event_loops_and_set_the_policy(served: Deployment, task_type: str) -> None:
    meta = served.flyte.create(create_request(task_type, {"loop": True}))
    assert served.flyte.until(task_type, meta).phase == Phase.SUCCEEDED
    assert "loop done twice" in served.record()


def test_what_a_plain_function_raises_is_what_its_caller_reads(served: Deployment) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.flyte.create(create_request("fk_plain", {"fail": "the queue is closed"}))
    assert "ValueError: the queue is closed" in refused.value.details()


def test_a_sync_connector_answers_at_once(served: Deployment) -> None:
    (answer,) = served.flyte.execute(sync_messages("fk_instant", x=21))
    assert answer.header.resource.outputs.literals["doubled"].scalar.primitive.integer == 42


def test_logs_come_over_the_wire(served: Deployment) -> None:
    meta = served.flyte.create(create_request("fk_coroutine", {"state": "running"}))
    request = agent_pb2.GetTaskLogsRequest(
        resource_meta=meta, task_category=agent_pb2.TaskCategory(name="fk_coroutine")
    )
    messages = list(served.flyte.tasks.GetTaskLogs(request, timeout=30))
    assert [line for message in messages for line in message.body.results] == ["one line", "another"]


def test_so_do_metrics(served: Deployment) -> None:
    meta = served.flyte.create(create_request("fk_coroutine", {"state": "running"}))
    assert [result.metric for result in served.flyte.metrics("fk_coroutine", meta).results] == ["cpu"]


def test_what_a_connector_does_not_have_is_unimplemented(served: Deployment) -> None:
    meta = served.flyte.create(create_request("fk_plain"))
    with pytest.raises(grpc.RpcError) as refused:
        served.flyte.metrics("fk_plain", meta)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


# ---- what kills or stalls the stock server ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task_type", "how"), [("fk_coroutine", "coroutine"), ("fk_plain", "function"), ("fk_blocking", "coroutine")]
)
def test_a_connector_that_exits_ends_its_own_call(served: Deployment, task_type: str, how: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.flyte.create(create_request(task_type, {"exit": how}))
    assert refused.value.code() is grpc.StatusCode.INTERNAL
    assert "SystemExit" in refused.value.details()
    assert served.server.process.poll() is None
    served.flyte.create(create_request("fk_plain"))


def test_so_does_a_sync_one(served: Deployment) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.flyte.execute(sync_messages("fk_instant", {"exit": True}, x=1))
    assert "SystemExit" in refused.value.details()
    (answer,) = served.flyte.execute(sync_messages("fk_instant", x=21))
    assert answer.header.resource.phase == Phase.SUCCEEDED


def test_a_task_that_a_connector_has_spawned_and_that_exits_ends_nobody(served: Deployment) -> None:
    meta = served.flyte.create(create_request("fk_coroutine", {"exit": "task"}))
    assert served.server.process.poll() is None
    assert served.flyte.until("fk_coroutine", meta).phase == Phase.SUCCEEDED


def test_agents_are_listed_while_a_coroutine_blocks_on_a_loop_of_its_own(served: Deployment) -> None:
    request = create_request("fk_blocking", {"block": 3.0})
    creating = served.flyte.tasks.CreateTask.future(request, timeout=60)
    until(lambda: any(f"create {request.output_prefix} " in line for line in served.record()))
    for _ in range(20):
        served.flyte.metadata.ListAgents(agent_pb2.ListAgentsRequest(), timeout=30)
    assert f"created {request.output_prefix}" not in served.record(), "they were answered while it blocked"
    assert creating.result().resource_meta


def test_a_connector_whose_threads_are_all_taken_holds_up_no_other(served: Deployment) -> None:
    """The other one needs a thread as well: its outputs are converted in one."""
    requests = [create_request("fk_plain", {"block": 3.0}) for _ in range(2 * Policy().thread_limit)]
    creating = [served.flyte.tasks.CreateTask.future(request, timeout=60) for request in requests]
    meta = served.flyte.create(create_request("fk_coroutine"))
    assert served.flyte.until("fk_coroutine", meta).outputs.literals["doubled"].scalar.primitive.integer == 0
    assert not all(call.done() for call in creating), "it was answered while they waited for threads"
    assert all(call.result().resource_meta for call in creating)


def test_the_log_and_a_metric_name_the_connector_that_needs_a_loop_of_its_own(served: Deployment) -> None:
    """With its task type, which is what the setting takes; the other type of that connector has such a loop."""
    served.flyte.create(create_request("fk_blocking", {"block": 1.0}))
    served.flyte.create(create_request("fk_coroutine", {"block": 1.0}))
    until(lambda: culprits(served))
    assert culprits(served) == {"create of Coroutine Connector (fk_coroutine)"}
    counted = {key[1] for key in served.samples() if key[0] == "flytower_loop_blocked_total"} - {"culprit=unknown"}
    assert counted == {"culprit=create of Coroutine Connector (fk_coroutine)"}


def culprits(served: Deployment) -> set[str]:
    """Return who is named in the log for having blocked the event loop; a busy machine, which may too, has no name."""
    said = [json.loads(line) for line in served.server.log().splitlines() if "the event loop is blocked" in line]
    return {each["culprit"] for each in said} - {None}


@pytest.mark.parametrize("task_type", ["fk_coroutine", "fk_plain"])
def test_a_get_that_fails_is_never_an_error_of_get_task(served: Deployment, task_type: str) -> None:
    """Flyte counts such errors over a task's whole life: the last answer stands, and says how old it is, and why."""
    meta = served.flyte.create(create_request(task_type, {"state": "terminating"}))
    served.flyte.until(task_type, meta, Phase.RUNNING)
    down = served.folder / "down"
    down.touch()
    try:
        until(lambda: "HTTP 503" in served.flyte.get(task_type, meta).message)
        for _ in range(20):
            resource = served.flyte.get(task_type, meta)
            assert resource.phase == Phase.RUNNING
            assert re.search(r"last answer \d+ s ago: .*ConnectionError: HTTP 503", resource.message)
    finally:
        down.unlink()
    until(lambda: "HTTP 503" not in served.flyte.get(task_type, meta).message)


def test_a_create_that_outlives_its_caller_is_given_to_the_retry(served: Deployment) -> None:
    request = create_request("fk_coroutine", {"sleep": 2.0})
    meta = served.flyte.create(request, timeout=1.0)
    assert meta.startswith(b'{"flytower_task"')
    assert served.flyte.until("fk_coroutine", meta).phase == Phase.SUCCEEDED
    assert served.flyte.create(request) == meta
    assert sum(f"create {request.output_prefix} " in line for line in served.record()) == 1


def test_a_state_that_flytekit_does_not_know_is_no_failure(served: Deployment) -> None:
    meta = served.flyte.create(create_request("fk_coroutine", {"state": "QUEUED"}))
    resource = served.flyte.until("fk_coroutine", meta, Phase.RUNNING)
    assert resource.message == "Unrecognized state: queued (the job counts as running)"


def test_metadata_is_unpickled_by_its_plugin_only_and_only_when_that_is_allowed(
    served: Deployment, tmp_path: Path, flytekit_modules: Path
) -> None:
    meta = served.flyte.create(create_request("fk_pickling"))
    assert meta.startswith(b"\x80")
    assert served.flyte.until("fk_pickling", meta).phase == Phase.SUCCEEDED
    with deployed(tmp_path, flytekit_modules, *ARGS, mark="flytekit") as other:
        with pytest.raises(grpc.RpcError) as refused:
            other.flyte.create(create_request("fk_pickling"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert "flytekit_pickled_metadata" in other.server.log()


# ---- plugins ---------------------------------------------------------------------------------------------------------

PLUGIN = """
from flytekit.extend.backend.base_connector import ConnectorRegistry
from flytekit_served import CoroutineConnector

ConnectorRegistry.register(CoroutineConnector("fk_plugged"))
"""

ENTRY_POINTS = """
[flytekit.plugins]
broken = broken_plugin
plugged = plugged_plugin
"""


def test_installed_plugins_are_served_and_a_broken_one_keeps_nobody_from_it(
    tmp_path: Path, flytekit_modules: Path
) -> None:
    """Two distributions' worth of plugins, as pip lays them down."""
    folder = tmp_path / "site"
    shutil.copytree(flytekit_modules, folder)
    (folder / "broken_plugin.py").write_text("raise RuntimeError('its library is too new')")
    (folder / "plugged_plugin.py").write_text(PLUGIN)
    installed = folder / "plugged-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINTS)
    with deployed(tmp_path, folder, "--flytekit", mark="plugins") as deployment:
        meta = deployment.flyte.create(create_request("fk_plugged"))
        assert deployment.flyte.until("fk_plugged", meta).phase == Phase.SUCCEEDED
        assert "its library is too new" in deployment.server.log()


# ---- who does not ask for it -----------------------------------------------------------------------------------------

WITHOUT = """
import sys
from flytower.cli import serve, app, ledger, demo
from flytower.connectors.loading import load_entry_points
load_entry_points()
print([name for name in sys.modules if name.split(".")[0] in ("flytekit", "flyteidl", "google")])
"""

MISSING = """
import sys
sys.modules["flytekit"] = None
from flytower.cli.app import main
main(["serve", "--flytekit", "--port", "0"])
"""


def test_a_server_without_it_imports_nothing_of_flytekit() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_who_has_not_installed_it_is_told_how(run: Callable[..., Any], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'flytower[flytekit]'" in done.stderr
