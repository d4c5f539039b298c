"""`flytower run --flytekit`: any connector of flytekit's runs a task from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.flytower.conftest import FLYTOWER, environment
from tests.flytower.e2e.deployment import until
from tests.flytower.e2e.echo import echoing

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent

SERVED = HERE.parents[1] / "connectors" / "flytekit" / "served.py"

FILE_SENSOR = json.dumps({"sensor_module": "flytekit.sensor.file_sensor", "sensor_name": "FileSensor"})

MODULES = ("--modules", "own_tasks", "--modules", "flytekit_served")

MISSING = """
import sys
sys.modules["flytekit"] = None
from flytower.cli.app import main
main(["run", "--flytekit", "sensor"])
"""


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    with echoing() as url:
        yield url


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    shutil.copy(HERE / "own_tasks.py", tmp_path)
    shutil.copy(SERVED, tmp_path / "flytekit_served.py")
    return tmp_path


def start(folder: Path, *words: str, url: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*FLYTOWER, "run", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env=environment(folder, HOME=str(folder), OWN_TASKS_URL=url),
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


def test_its_sensor_waits_for_a_file(folder: Path) -> None:
    awaited = folder / "a-file"
    with start(folder, "--flytekit", "sensor", "--custom", FILE_SENSOR, "--input", f"path={awaited}") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("sensor: RUNNING")
        awaited.touch()
        code, out, err = outcome(process)
    assert (code, out) == (0, "{}\n"), err
    assert "sensor: SUCCEEDED" in err


def test_its_webhook_calls_a_server(folder: Path, url: str) -> None:
    custom = {"url": url, "method": "POST", "headers": {}, "data": {"number": "{inputs.x}"}, "timeout_sec": 10}
    words = ("--flytekit", "webhook", "--custom", json.dumps(custom), "--input", "x=7")
    code, out, err = outcome(start(folder, *words))
    assert code == 0, err
    assert json.loads(out)["info"]["response_data"] == 'got {"number":7}'


@pytest.mark.parametrize(
    ("words", "outputs"),
    [
        (("fk_coroutine", "--input", "x=4", "--custom", '{"engine": true}'), {"doubled": 8, "plain": {"a": [1, 2.5]}}),
        (("fk_plain", "--custom", '{"state": "succeeded"}'), {"n": 1}),
        (("fk_instant", "--input", "x=21"), {"doubled": 42}),
        (("fk_pickling",), {}),  # its bytes come from this process
    ],
)
def test_connectors_of_one_s_own_run_whichever_way_they_are_written(
    folder: Path, words: tuple[str, ...], outputs: dict[str, object]
) -> None:
    code, out, err = outcome(start(folder, "--flytekit", *MODULES, *words))
    assert code == 0, err
    assert json.loads(out).items() >= outputs.items()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("fk_coroutine", "--custom", '{"exit": "coroutine"}'), 1, "SystemExit"),
        (("fk_plain", "--custom", '{"exit": "function"}'), 1, "SystemExit"),
        (("fk_plain", "--custom", '{"fail": "the queue is closed"}'), 1, "ValueError: the queue is closed"),
        (("fk_plain", "--custom", '{"state": "failed"}'), 1, "FAILED"),
        (("nonsense",), 2, "Cannot find connector"),
    ],
)
def test_what_goes_wrong_has_its_exit_code_and_its_words(
    folder: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    found, out, err = outcome(start(folder, "--flytekit", *MODULES, *words))
    assert (found, out) == (code, ""), err
    assert said in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("task_type", ["own_for_ever", "own_plain_for_ever"])
def test_an_interrupted_run_deletes_its_job(folder: Path, task_type: str, number: signal.Signals, code: int) -> None:
    with start(folder, "--flytekit", *MODULES, task_type) as process:
        until((folder / "job").exists)
        process.send_signal(number)
        found, _, err = outcome(process)
    assert found == code, err
    assert not (folder / "job").exists()


def test_without_the_option_nothing_of_flytekit_s_is_there(folder: Path) -> None:
    code, _, err = outcome(start(folder, "sensor", "--custom", FILE_SENSOR))
    assert code == 2
    assert "Cannot find connector" in err


def test_who_has_not_installed_flytekit_is_told_how(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 2
    assert "pip install 'flytower[flytekit]'" in done.stderr
