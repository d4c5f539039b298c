"""flytekit's own task classes, unchanged, on Flytower's task actors: in processes of their own, with real signals."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.flytower.conftest import environment
from tests.flytower.e2e.deployment import until
from tests.flytower.e2e.echo import echoing

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = Path(__file__).with_name("unchanged_tasks.py")

PYFLYTE = ("-m", "flytekit.clis.sdk_in_container.pyflyte", "run", "unchanged_tasks.py")

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@dataclass
class User:
    """Somebody who runs things in a folder."""

    folder: Path
    url: str
    started: list[subprocess.Popen[str]]

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env=environment(self.folder, OWN_TASKS_URL=self.url, HOME=str(self.folder)),
        )
        self.started.append(process)
        return process

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate()
        return process.returncode, out, err

    def record(self) -> list[str]:
        path = self.folder / "record"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    with echoing() as url:
        yield url


@pytest.fixture(name="user")
def _user(tmp_path: Path, url: str) -> Iterator[User]:
    shutil.copy(TASKS, tmp_path)
    user = User(tmp_path, url, [])
    yield user
    for process in user.started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", ["workflow", "in asyncio", "in trio"])
def test_its_sensor_and_its_webhook_run_here_from_python(user: User, how: str) -> None:
    process = user.start(TASKS.name, how, str(user.folder / "a-file"))
    assert process.stderr is not None
    assert process.stderr.readline().startswith("awaited: RUNNING")
    (user.folder / "a-file").touch()
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["response_data"] == 'got {"number":7}'
    assert "awaited: SUCCEEDED" in err


def test_so_they_do_with_pyflyte_run(user: User) -> None:
    process = user.start(*PYFLYTE, "wait_and_call", "--path", str(user.folder / "a-file"), "--x", "8")
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith("awaited: RUNNING"):
        assert line, "pyflyte has ended"
    (user.folder / "a-file").touch()
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "awaited: SUCCEEDED" in err
    assert 'got {"number":8}' in out


def test_a_class_that_calls_flytekit_s_execution_itself_gets_this_one(user: User) -> None:
    """A mixin in front of it would take the choice away."""
    code, _, err = user.run(TASKS.name, "choosing")
    assert code == 0, err
    assert "ends: SUCCEEDED: it is there" in err
    assert user.record() == ["chosen", "create ends"]


def test_its_sensor_waits_no_longer_than_its_timeout(user: User) -> None:
    code, _, err = user.run(TASKS.name, "impatient", str(user.folder / "a-file"))
    assert code == 1
    assert "impatient: RUNNING" in err
    assert "did not end within 1 s; its job was deleted" in " ".join(err.split())


def test_afterwards_flytekit_is_as_it_was(user: User) -> None:
    (user.folder / "a-file").touch()
    code, _, err = user.run(TASKS.name, "for a while", str(user.folder / "a-file"))
    assert code == 0, err
    assert "here: SUCCEEDED" in err
    assert "there: " not in err


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("workflow", ["wait_for_ever", "plainly_wait_for_ever"])
def test_pyflyte_run_that_is_interrupted_deletes_its_job_and_ends(
    user: User, workflow: str, number: signal.Signals
) -> None:
    process = user.start(*PYFLYTE, workflow)
    until(user.record)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    mode = workflow.replace("wait", "").replace("ly_", "").strip("_")
    assert user.record() == [f"{verb} {mode}" for verb in ("create", "deleting", "delete")]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_interruption_of_pyflyte_run_gives_up_and_names_the_job(user: User, number: signal.Signals) -> None:
    process = user.start(*PYFLYTE, "stubborn")
    until(user.record)
    process.send_signal(number)
    until(lambda: "deleting stubborn" in user.record())
    process.send_signal(number)
    _, err = process.communicate()
    assert "given up; its job may still run" in err
    assert "job-of-stubborn" in err
    assert "delete stubborn" not in user.record()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("where", ["asyncio", "trio"])
def test_a_task_that_is_interrupted_inside_of_a_loop_has_its_job_deleted(
    user: User, where: str, number: signal.Signals
) -> None:
    process = user.start(TASKS.name, f"for ever in {where}")
    until(user.record)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    assert user.record() == ["create for_ever", "deleting for_ever", "delete for_ever"]


@pytest.mark.parametrize("number", SIGNALS)
def test_tasks_that_run_at_once_in_threads_have_their_jobs_deleted(user: User, number: signal.Signals) -> None:
    """The main thread, which hears of the signal, waits for a pool of threads and not for a task."""
    process = user.start(TASKS.name, "for ever in threads")
    until(lambda: len(user.record()) == 2)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    assert {"delete for_ever", "delete plain_for_ever"} <= set(user.record())


def test_a_second_interruption_gives_up_the_tasks_of_all_threads_at_once(user: User) -> None:
    process = user.start(TASKS.name, "stubborn in threads")
    until(lambda: len(user.record()) == 2)
    process.send_signal(signal.SIGINT)
    until(lambda: user.record().count("deleting stubborn") == 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert err.count("given up; its job may still run") == 2
    assert "stopped stubborn" not in user.record(), "nothing was waited for"


def test_a_connector_that_exits_ends_its_own_task_and_not_the_program(user: User) -> None:
    code, out, err = user.run(TASKS.name, "outlive")
    assert code == 0, err
    assert "still here: " in out
    assert "SystemExit(3)" in out


def test_a_connector_whose_coroutine_blocks_holds_up_no_other_task(user: User) -> None:
    code, out, err = user.run(TASKS.name, "one blocks")
    assert (code, out) == (0, '"both are over"'), err
