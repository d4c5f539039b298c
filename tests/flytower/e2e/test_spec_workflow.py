"""The specification's whole example, its workflow included, from plain Python and with pyflyte."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flytower.conftest import environment

EXAMPLE = Path(__file__).with_name("spec_workflow.txt")
"""Kept as a text, so that no tool ever puts it in order."""

PYFLYTE = (sys.executable, "-m", "flytekit.clis.sdk_in_container.pyflyte", "run")


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLE, tmp_path / "spec_workflow.py")
    return tmp_path


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    variables = environment(folder, HOME=str(folder))
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def test_it_runs_from_plain_python(folder: Path) -> None:
    done = run(folder, sys.executable, "spec_workflow.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Creating external job for task: my_async_flyte_task",
        "Checking status of external job: job-123",
        "Executing sync task: my_sync_flyte_task",
        "Workflow result: 84",
    ]
    assert "my_async_flyte_task: SUCCEEDED: Job completed successfully" in done.stderr


def test_it_runs_with_pyflyte_run(folder: Path) -> None:
    done = run(folder, *PYFLYTE, "spec_workflow.py", "my_connector_workflow", "--input_val", "10")
    assert done.returncode == 0, done.stderr
    assert "Executing sync task: my_sync_flyte_task" in done.stdout
    assert "84" in done.stdout
