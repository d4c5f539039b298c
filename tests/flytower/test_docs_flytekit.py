"""What the document about flytekit shows, done."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flytower.settings import catalogue
from tests.flytower.conftest import FLYTOWER, environment

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "flytekit.md").read_text()

SCRIPTS = Path(sys.executable).parent
"""Where the commands that the document names are."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def command(beginning: str) -> list[str]:
    """Return the only command of the document that begins like this, in words."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    (found,) = [line for line in lines if line.startswith(beginning)]
    return shlex.split(found)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """Return a folder with the document's files."""
    for block in (*blocks("python"), *blocks("toml")):
        (tmp_path / block.splitlines()[0].removeprefix("# ")).write_text(block)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
    variables = environment(folder, HOME=str(folder), PATH=path)
    return subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("settings", ["flags", "file"])
def test_its_connector_is_served_with_flags_and_with_its_file(folder: Path, settings: str) -> None:
    serve = command("flytower serve")[1:] if settings == "flags" else ["serve", "--config", "flytower.toml"]
    with subprocess.Popen(
        [*FLYTOWER, *serve, "--port", "0", "--metrics-port", "off"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        endpoint = server.stdout.readline().split("grpc=")[1].split()[0]
        done = run(folder, *FLYTOWER, *command("flytower submit")[1:], "--endpoint", endpoint)
        server.terminate()
    assert done.stdout == "SUCCEEDED: orders built\n  rows = 3\n", done.stderr


def test_its_workflow_runs_from_python_and_with_pyflyte(folder: Path) -> None:
    done = run(folder, *command("python nightly.py"))
    assert done.stdout == "3\n", done.stderr
    assert "build: SUCCEEDED: orders built" in done.stderr
    done = run(folder, *command("pyflyte run"))
    assert "build: SUCCEEDED: customers built" in done.stderr


def test_its_sensor_is_a_task(folder: Path) -> None:
    done = run(folder, sys.executable, "-c", "import sensors; print(sensors.WaitForFile('it').task_type)")
    assert done.stdout == "sensor\n", done.stderr


def test_its_command_without_flytekit_works(folder: Path) -> None:
    done = run(folder, *command("flytower run shell"))
    assert '"stdout": "hello\\n"' in done.stdout, done.stderr


def test_its_command_with_flytekit_works(folder: Path) -> None:
    done = run(folder, *command("flytower run --flytekit"))
    assert json.loads(done.stdout) == {"rows": 3}, done.stderr


def test_it_explains_each_setting_that_is_about_flytekit() -> None:
    names = [key.name for key in catalogue() if key.name.startswith("flytekit_")]
    assert names
    assert [name for name in names if f"**`{name}`**" not in DOCUMENT] == []
