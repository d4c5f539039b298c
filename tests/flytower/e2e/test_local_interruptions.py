"""What interrupts local tasks without flytekit: signals inside of event loops, and the end of the program."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.flytower.conftest import environment
from tests.flytower.e2e.deployment import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TASKS = Path(__file__).with_name("plain_tasks.py")


@pytest.fixture(name="begin")
def _begin(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    shutil.copy(TASKS, tmp_path)
    started: list[subprocess.Popen[str]] = []

    def begin(what: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, TASKS.name, what],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=tmp_path,
            env=environment(tmp_path),
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def record(folder: Path) -> list[str]:
    path = folder / "record"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_one_signal_inside_of_a_loop_is_enough(
    begin: Callable[[str], subprocess.Popen[str]], tmp_path: Path, loop: str, number: signal.Signals
) -> None:
    process = begin(loop)
    until(lambda: record(tmp_path))
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode != 0
    assert "given up" not in err
    assert record(tmp_path) == ["create it", "deleting it", "delete it"]


def test_ctrl_c_deletes_the_jobs_of_a_pool_of_threads(
    begin: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Python waits for such threads when the main one ends."""
    process = begin("threads")
    until(lambda: len(record(tmp_path)) == 2)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert {"delete one", "delete two"} <= set(record(tmp_path))


def test_a_failure_elsewhere_deletes_the_job_of_a_thread_that_the_program_waits_for(
    begin: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = begin("elsewhere")
    _, err = process.communicate()
    assert process.returncode == 1
    assert "something else went wrong" in err
    assert record(tmp_path) == ["create it", "deleting it", "delete it"]


def test_ctrl_c_while_the_program_ends_gives_up_and_names_the_job(
    begin: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = begin("stubborn elsewhere")
    until(lambda: "deleting stubborn" in record(tmp_path))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert 'stubborn: given up; its job may still run, delete it by hand: {"job":"stubborn"}' in err
