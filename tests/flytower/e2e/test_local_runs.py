"""flytekit tasks that run locally on Flytower's task actors, in processes of their own, with real signals."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.flytower.conftest import environment
from tests.flytower.e2e.deployment import until

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What a program writes to a terminal to move and to colour, and not to say anything."""

PYFLYTE = [sys.executable, "-m", "flytekit.clis.sdk_in_container.pyflyte"]


@dataclass
class Terminal:
    """What a program shows to a person."""

    process: subprocess.Popen[str]
    file: int
    shown: str = ""

    def read_until(self, pattern: str) -> None:
        """Read on until it has shown this."""
        while re.search(pattern, CONTROL.sub("", self.shown), re.DOTALL) is None:
            read = os.read(self.file, 65536)
            assert read, self.shown
            self.shown += read.decode(errors="replace")


@dataclass
class User:
    """Somebody who runs things in a folder."""

    folder: Path
    started: list[subprocess.Popen[str]]
    terminals: list[int] = field(default_factory=list)

    def start(self, *command: str) -> subprocess.Popen[str]:
        variables = environment(self.folder, LOCAL_RECORD=str(self.folder / "record"), HOME=str(self.folder))
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env=variables,
        )
        self.started.append(process)
        return process

    def terminal(self, *command: str) -> Terminal:
        """Run something whose stderr is a terminal."""
        ours, theirs = pty.openpty()
        variables = {"LOCAL_RECORD": str(self.folder / "record"), "HOME": str(self.folder), "TERM": "xterm"}
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=theirs,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env={**environment(self.folder, **variables), "COLUMNS": "80"},
        )
        os.close(theirs)
        self.terminals.append(ours)
        self.started.append(process)
        return Terminal(process, ours)

    def python(self, what: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, "local_tasks.py", what)

    def run(self, *command: str) -> tuple[int, str, str]:
        process = self.start(*command)
        out, err = process.communicate()
        return process.returncode, out, err

    def record(self) -> list[str]:
        path = self.folder / "record"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(name="user")
def _user(tmp_path: Path) -> Iterator[User]:
    shutil.copy(HERE / "local_tasks.py", tmp_path)
    user = User(tmp_path, [])
    yield user
    for process in user.started:
        process.kill()
        process.communicate()
    for terminal in user.terminals:
        os.close(terminal)


def test_a_workflow_of_an_async_and_a_sync_task_runs_from_plain_python(user: User) -> None:
    code, out, err = user.run(sys.executable, "local_tasks.py", "double_and_add")
    assert (code, out) == (0, "108\n"), err
    assert "double: SUCCEEDED" in err


def test_it_runs_with_pyflyte_run(user: User) -> None:
    code, out, err = user.run(*PYFLYTE, "run", "local_tasks.py", "double_and_add", "--x", "5")
    assert code == 0, err
    assert "110" in out


def test_a_function_task_finds_its_inputs_under_the_prefix_and_leaves_its_outputs_there(user: User) -> None:
    code, out, err = user.run(sys.executable, "local_tasks.py", "all_kinds")
    assert (code, out) == (0, "109\n"), err


def test_tasks_that_run_at_once_share_one_node(user: User) -> None:
    code, out, err = user.run(sys.executable, "local_tasks.py", "together")
    assert (code, out) == (0, "[0, 2, 4, 6]\n"), err
    threads = {line.split()[2] for line in (user.folder / "record").read_text().splitlines()}
    assert len(threads) == 1


@pytest.mark.parametrize(("where", "out"), [("in asyncio", "14\n"), ("in trio", "16\n")])
def test_a_task_runs_inside_of_a_running_loop_which_is_its_users_own(user: User, where: str, out: str) -> None:
    assert user.run(sys.executable, "local_tasks.py", where)[:2] == (0, out)


def test_a_retryable_failure_ends_the_run(user: User) -> None:
    code, _, err = user.run(sys.executable, "local_tasks.py", "preempted")
    assert code != 0
    assert "it was preempted" in err


def test_a_task_that_takes_longer_than_its_timeout_is_deleted(user: User) -> None:
    code, _, err = user.run(sys.executable, "local_tasks.py", "too_slow")
    assert code != 0
    assert "did not end within 1 s" in err
    assert user.record() == ["create", "deleting", "delete"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("task", ["for_ever", "plain_for_ever"])
def test_an_interrupted_run_deletes_its_job_before_it_ends(user: User, task: str, number: signal.Signals) -> None:
    process = user.python(task)
    until(user.record)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    assert user.record() == ["create", "deleting", "delete"]


def test_pyflyte_run_that_is_interrupted_deletes_its_job(user: User) -> None:
    process = user.start(*PYFLYTE, "run", "local_tasks.py", "for_ever", "--x", "5")
    until(user.record)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert user.record() == ["create", "deleting", "delete"]


def test_a_second_interruption_gives_up_and_names_the_job(user: User) -> None:
    process = user.python("stubborn")
    until(user.record)
    process.send_signal(signal.SIGINT)
    until(lambda: "deleting" in user.record())
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = ""
    while "given up" not in said:
        said += process.stderr.readline()
    assert "stubborn" in said
    assert "job" in said


def test_a_failure_elsewhere_in_the_program_deletes_the_job(user: User) -> None:
    code, _, err = user.run(sys.executable, "local_tasks.py", "elsewhere")
    assert code != 0
    assert "something else went wrong" in err
    assert user.record() == ["create", "deleting", "delete"]


def test_who_has_no_terminal_gets_a_line_for_each_change_and_each_link(user: User) -> None:
    process = user.python("for_ever")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("for_ever: console: http://127.0.0.1/jobs/")
    assert re.fullmatch(r"for_ever: RUNNING: \[busy\] \(\d+\.\d s\)\n", process.stderr.readline())


def test_a_terminal_shows_phase_message_link_and_a_clock_that_ticks(user: User) -> None:
    """The task's connector never says anything new, so only the clock can change."""
    terminal = user.terminal(sys.executable, "local_tasks.py", "for_ever")
    terminal.read_until(r"for_ever: console: http://127.0.0.1/jobs/a-job-whose-address-is-longer-than-a-line/log\r")
    terminal.read_until(r"for_ever: RUNNING: \[busy\].* 0:00:01")
    terminal.read_until(r"for_ever: RUNNING: \[busy\].* 0:00:02")


def test_tasks_that_run_at_once_share_the_terminal_and_each_leaves_a_line(user: User) -> None:
    terminal = user.terminal(sys.executable, "local_tasks.py", "together")
    terminal.read_until(r"(double: SUCCEEDED \(\d+\.\d s\)\r\n.*){4}")
    assert terminal.process.stdout is not None
    assert terminal.process.stdout.read() == "[0, 2, 4, 6]\n", "what goes into a pipe is not the terminal's"


class TestFlytowerRun:
    """The same from the command line, without flytekit."""

    COMMAND = (sys.executable, "-m", "flytower", "run", "--modules", "local_tasks")

    def test_it_prints_outputs_on_stdout_and_progress_on_stderr(self, user: User) -> None:
        code, out, err = user.run(*self.COMMAND, "local_job", "--input", "x=21")
        assert (code, json.loads(out)) == (0, {"o0": 42})
        assert "local_job: SUCCEEDED" in err

    def test_it_runs_sync_tasks(self, user: User) -> None:
        assert json.loads(user.run(*self.COMMAND, "local_add", "--input", "x=1")[1]) == {"o0": 101}

    @pytest.mark.parametrize(
        ("args", "code", "said"),
        [
            (("local_job", "--input", "x=1", "--custom", '{"mode": "retryable"}'), 1, "it was preempted"),
            (("local_job", "--input", "x=1", "--custom", '{"mode": "for_ever"}', "--timeout", "1"), 1, "within 1 s"),
            (("nonsense",), 2, "Cannot find connector"),
            (("local_job", "--custom", "{"), 2, "Invalid value"),
        ],
    )
    def test_what_goes_wrong_has_its_exit_code_and_its_words(
        self, user: User, args: tuple[str, ...], code: int, said: str
    ) -> None:
        found = user.run(*self.COMMAND, *args)
        assert (found[0], found[1]) == (code, "")
        assert said in found[2]

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_an_interruption_deletes_the_job(self, user: User, number: signal.Signals, code: int) -> None:
        process = user.start(*self.COMMAND, "local_job", "--input", "x=1", "--custom", '{"mode": "for_ever"}')
        until(user.record)
        process.send_signal(number)
        process.communicate()
        assert process.returncode == code
        assert user.record() == ["create", "deleting", "delete"]

    def test_a_second_ctrl_c_gives_up_and_names_the_job(self, user: User) -> None:
        process = user.start(*self.COMMAND, "local_job", "--input", "x=1", "--custom", '{"mode": "stubborn"}')
        until(user.record)
        process.send_signal(signal.SIGINT)
        until(lambda: "deleting" in user.record())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        assert process.returncode == 130
        assert re.search(r"local_job: given up; its job may still run, delete it by hand: .*flytower-run-", err)
