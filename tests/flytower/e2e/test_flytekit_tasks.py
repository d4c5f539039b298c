"""flytekit's own sensor and webhook tasks as clients: locally, and as the templates that they send to a server."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flyteidl.core import tasks_pb2

from tests.flytower.conftest import environment
from tests.flytower.e2e.client import Phase, create_request, sync_messages
from tests.flytower.e2e.conftest import deployed
from tests.flytower.e2e.echo import echoing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.flytower.e2e.deployment import Deployment

OWN_TASKS = Path(__file__).with_name("own_tasks.py")


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    with echoing() as url:
        yield url


def start(folder: Path, url: str, *args: str) -> subprocess.Popen[str]:
    shutil.copy(OWN_TASKS, folder)
    return subprocess.Popen(
        [sys.executable, "own_tasks.py", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(folder, OWN_TASKS_URL=url, HOME=str(folder)),
    )


def test_they_run_locally_on_flytower_when_its_mixin_comes_first(url: str, tmp_path: Path) -> None:
    awaited = tmp_path / "a-file"
    with start(tmp_path, url, "workflow", str(awaited)) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("awaited: RUNNING")
        awaited.touch()
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["response_data"] == 'got {"number":7}'
    assert "awaited: SUCCEEDED" in err


@pytest.mark.parametrize(
    ("number", "code", "out", "said"),
    [
        ("3", 0, "[0.0, 1.0, 2.0]", ""),
        ("-1", 1, "", "Failed to run the task count with error: .*no such list"),
        ("-2", 1, "", r"Failed to run the task count with error: .*SystemExit\(4\)"),
    ],
)
def test_plain_values_become_what_the_task_declares(
    url: str, tmp_path: Path, number: str, code: int, out: str, said: str
) -> None:
    with start(tmp_path, url, "count", number) as process:
        found, err = process.communicate()
    assert (process.returncode, found) == (code, out), err
    assert re.search(said, " ".join(err.split()))


def test_inputs_have_the_form_that_the_task_declares(url: str, tmp_path: Path) -> None:
    """By its value alone, an input that may be missing would be a plain integer."""
    with start(tmp_path, url, "form") as process:
        out, err = process.communicate()
    assert out == '"union"', err


@pytest.mark.parametrize("task_type", ["own_for_ever", "own_plain_for_ever"])
def test_ctrl_c_deletes_the_job_of_a_flytekit_connector(url: str, tmp_path: Path, task_type: str) -> None:
    with start(tmp_path, url, "run", task_type) as process:
        assert process.stderr is not None
        assert "job runs" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode != 0
    assert not (tmp_path / "job").exists()


@pytest.fixture(name="templates", scope="module")
def _templates(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with start(tmp_path_factory.mktemp("templates"), url, "templates") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    return {name: tasks_pb2.TaskTemplate.FromString(bytes.fromhex(text)) for name, text in json.loads(out).items()}


@pytest.fixture(name="served", scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory, modules: Path) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("own-tasks"), modules, "--flytekit", mark="own-tasks") as deployment:
        yield deployment


def test_a_server_takes_what_the_sensor_task_sends(
    served: Deployment, templates: dict[str, Any], tmp_path: Path
) -> None:
    request = create_request("sensor")
    request.template.CopyFrom(templates["awaited"])
    request.inputs.literals["path"].scalar.primitive.string_value = str(tmp_path / "a-file")
    meta = served.flyte.create(request)
    served.flyte.until("sensor", meta, Phase.RUNNING)
    (tmp_path / "a-file").touch()
    assert served.flyte.until("sensor", meta).phase == Phase.SUCCEEDED


def test_a_server_takes_what_the_webhook_task_sends(served: Deployment, templates: dict[str, Any]) -> None:
    messages = list(sync_messages("webhook", x=7))
    messages[0].header.template.CopyFrom(templates["hook"])
    (answer,) = served.flyte.execute(iter(messages))
    assert answer.header.resource.phase == Phase.SUCCEEDED, answer.header.resource.message
    assert "info" in answer.header.resource.outputs.literals
