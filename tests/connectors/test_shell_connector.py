"""The shell connector with real processes."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from flytower.connectors import (
    ConnectorError,
    InvalidRequest,
    TaskExecution,
    TaskExecutionMetadata,
    TaskTemplate,
)
from flytower.connectors.shell_process import read_stat
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.generated.flyteidl.core import Container, KeyValuePair
from tests.connectors.shell_answers import outputs

if TYPE_CHECKING:
    from pathlib import Path


in_thread = trio.to_thread.run_sync


# ---- how jobs end ---------------------------------------------------------------------------------------------


async def test_a_command_that_succeeds_gives_its_exit_code_and_its_output(shell: Any) -> None:
    resource = await shell.run(["printf", "%s\n", "hello", "a  b"])
    assert resource.phase is TaskExecution.SUCCEEDED
    assert outputs(resource) == {"exit_code": 0, "stdout": "hello\na  b\n"}


async def test_a_command_that_fails_is_failed_with_the_last_line_of_its_errors(shell: Any) -> None:
    resource = await shell.run("echo out; echo first >&2; echo ' disk on fire ' >&2; echo >&2; exit 3")
    assert resource.phase is TaskExecution.FAILED
    assert resource.message == "disk on fire"
    assert outputs(resource) == {"exit_code": 3, "stdout": "out\n"}


async def test_a_command_that_fails_in_silence_is_failed_with_its_exit_code(shell: Any) -> None:
    assert (await shell.run("exit 7")).message == "exited with code 7"


async def test_a_command_that_a_signal_ends_is_failed_with_its_name(shell: Any) -> None:
    resource = await shell.run("kill -9 $$")
    assert resource.phase is TaskExecution.FAILED
    assert resource.message == "exited with code 137 (SIGKILL)"
    assert (await shell.run("echo why >&2; kill -9 $$")).message == "exited with code 137 (SIGKILL): why"


async def test_a_command_that_does_not_exist_is_failed_with_127(shell: Any) -> None:
    resource = await shell.run(["no-such-program-anywhere"])
    assert resource.phase is TaskExecution.FAILED
    assert outputs(resource)["exit_code"] == 127
    assert "no-such-program-anywhere" in resource.message


@pytest.mark.parametrize("word", ["exit", "trap", "eval", "cd", "_job_identify"])
async def test_a_word_that_the_shell_knows_is_only_a_program_name(shell: Any, word: str) -> None:
    """`["exit", "0"]` must not end the wrapper before it has written down how the command ended."""
    resource = await shell.run([word, "0"])
    assert resource.phase in (TaskExecution.FAILED, TaskExecution.SUCCEEDED)  # there may be a program of that name
    assert "exit_code" in outputs(resource)


async def test_words_reach_the_command_as_they_are(shell: Any) -> None:
    words = ["$HOME", "*", "a;b", "`id`", "x'y\"z", "", "-n", "new\nline", "ünï"]
    program = "import json,sys; print(json.dumps(sys.argv[1:]))"
    resource = await shell.run([sys.executable, "-c", program, *words])
    assert json.loads(outputs(resource)["stdout"]) == words


async def test_each_phase_has_the_link_to_the_folder(shell: Any) -> None:
    """Flyte keeps the links of the first answer in each phase."""
    meta = await shell.create("sleep 60")
    folder = shell.folder(meta).path.as_uri()
    assert [link.uri for link in (await shell.bound.get(meta)).log_links] == [folder]
    await shell.bound.delete(meta)
    assert [link.uri for link in (await shell.bound.get(meta)).log_links] == [folder]


# ---- what they are given --------------------------------------------------------------------------------------


async def test_a_job_has_its_variables_and_not_the_servers(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_TOKEN", "hunter2")
    resource = await shell.run("env", env={"GREETING": "hello world", "COUNT": 5, "pid": "mine", "group": "mine"})
    lines = outputs(resource)["stdout"].splitlines()
    assert {"GREETING=hello world", "COUNT=5", "pid=mine", "group=mine"} <= set(lines)
    assert "hunter2" not in outputs(resource)["stdout"]
    assert f"PATH={os.environ['PATH']}" in lines


async def test_a_job_whose_path_leads_nowhere_still_has_an_exit_code(shell: Any) -> None:
    resource = await shell.run(["true"], env={"PATH": "/nowhere"})
    assert outputs(resource)["exit_code"] == 127


async def test_a_job_runs_where_it_is_told(shell: Any, tmp_path: Path) -> None:
    where = tmp_path / "a folder"
    where.mkdir()
    assert outputs(await shell.run("pwd", cwd=str(where)))["stdout"] == f"{where}\n"


async def test_a_job_that_is_not_told_runs_in_a_folder_of_its_own(shell: Any) -> None:
    meta = await shell.create("echo mine > file")
    await shell.end_of(meta)
    assert (shell.folder(meta).path / "work" / "file").read_text() == "mine\n"


async def test_a_working_folder_that_is_not_there_fails_the_job(shell: Any) -> None:
    resource = await shell.run("true", cwd="/no/such/folder")
    assert resource.phase is TaskExecution.FAILED
    assert "/no/such/folder" in resource.message
    assert outputs(resource)["exit_code"] == 126


async def test_a_container_task_runs_its_command_and_args_with_all_variables(shell: Any) -> None:
    template = TaskTemplate(
        type="shell",
        custom=dict_to_struct({"env": {"C": "custom"}}),
        container=Container(
            command=["sh", "-c"],
            args=["echo $A $B $C"],
            env=[KeyValuePair(key="B", value="container"), KeyValuePair(key="C", value="lost")],
        ),
    )
    metadata = TaskExecutionMetadata(environment_variables={"A": "metadata", "B": "lost"})
    meta = await shell.bound.create(template, "", None, metadata, "k")
    assert outputs(await shell.end_of(meta))["stdout"] == "metadata container custom\n"


@pytest.mark.parametrize(
    ("custom", "problem"),
    [
        ({}, "nothing to run"),
        ({"command": ""}, "empty"),
        ({"command": []}, "custom.command"),
        ({"command": [None]}, "custom.command"),
        ({"command": ["a\0b"]}, "character"),
        ({"command": ["-rf"]}, "no program"),
        ({"command": [""]}, "no program"),
        ({"command": 5}, "custom.command"),
        ({"command": "true", "env": ["A=1"]}, "custom.env"),
        ({"command": "true", "env": {"A=B": "1"}}, "environment variable"),
        ({"command": "true", "env": {"a.b": "1"}}, "environment variable"),
        ({"command": "true", "env": {"A": [1]}}, "custom.env.A"),
        ({"command": "true", "cwd": "relative"}, "custom.cwd"),
        ({"command": "true", "cwd": 5}, "custom.cwd"),
    ],
)
async def test_a_task_that_cannot_be_run_is_refused_before_anything_starts(
    shell: Any, custom: dict[str, Any], problem: str
) -> None:
    template = TaskTemplate(type="shell", custom=dict_to_struct(custom))
    with pytest.raises(InvalidRequest, match=problem):
        await shell.bound.create(template, "", None, None, "k")
    assert not list(shell.root.glob("*"))


async def test_a_command_longer_than_the_system_allows_is_refused_for_good(shell: Any) -> None:
    with pytest.raises(ConnectorError, match="longer than the system allows"):
        await shell.create(["echo", "x" * 4_000_000])


# ---- once and only once ---------------------------------------------------------------------------------------


async def test_the_same_key_gives_the_same_job_and_runs_it_once(shell: Any) -> None:
    first = await shell.create("echo run", key="k")
    await shell.end_of(first)
    assert await shell.create("echo run", key="k") == first
    assert outputs(await shell.end_of(first))["stdout"] == "run\n"


async def test_creates_with_one_key_at_the_same_time_run_one_command(shell: Any) -> None:
    metas: set[bytes] = set()

    async def create() -> None:
        metas.add(await shell.create("echo run; sleep 0.2", key="k"))

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(create)
    (meta,) = metas
    assert outputs(await shell.end_of(meta))["stdout"] == "run\n"


async def test_without_a_key_each_create_is_a_job_of_its_own(shell: Any, template: Any) -> None:
    create = shell.bound.connector.create
    first, second = [await in_thread(create, template(command="true"), "") for _ in range(2)]
    assert first.job_id != second.job_id
    await shell.end_of(first.encode())
    await shell.end_of(second.encode())


async def test_a_folder_that_a_killed_server_made_is_no_claim(shell: Any) -> None:
    """Killed between making the folder and starting the process: the repeated create starts it."""
    meta = await shell.create("echo run", key="k")
    await shell.end_of(meta)
    folder = shell.folder(meta).path
    for name in ("owner", "exit_code", "stdout", "stderr"):
        (folder / name).unlink()
    assert await shell.bound.find("k") is None
    assert await shell.create("echo again", key="k") == meta
    assert outputs(await shell.end_of(meta))["stdout"] == "again\n"


async def test_a_job_outlives_the_server_that_started_it(shell: Any, tmp_path: Path) -> None:
    """A process that creates a job and is then killed leaves it running; another server finds it by its key."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from flytower.connectors.shell import ShellConnector\n"
        "from flytower.connectors import TaskTemplate\n"
        "from flytower.protocol.codec import dict_to_struct\n"
        "template = TaskTemplate(type='shell', custom=dict_to_struct({'command': sys.argv[2]}))\n"
        "ShellConnector(Path(sys.argv[1])).create(template, '', idempotency_key='k')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    gate = tmp_path / "gate"
    command = f"while [ ! -e {gate} ]; do sleep 0.02; done; echo survived"
    server = await trio.run_process([sys.executable, "-c", program, str(shell.root), command], check=False)
    assert server.returncode == -signal.SIGKILL
    meta = await shell.bound.find("k")
    assert meta is not None
    assert (await shell.bound.get(meta)).phase is TaskExecution.RUNNING
    gate.touch()
    assert outputs(await shell.end_of(meta))["stdout"] == "survived\n"


async def test_a_running_job_is_found_after_a_restart(shell: Any) -> None:
    meta = await shell.create("echo ready; sleep 60", key="k")
    await shell.printed(meta, "ready")
    shell.restart()
    assert await shell.bound.find("k") == meta
    assert await shell.bound.find("other") is None
    assert (await shell.bound.get(meta)).phase is TaskExecution.RUNNING
    await shell.bound.delete(meta)


async def test_the_process_has_a_session_of_its_own_and_is_not_our_child(shell: Any) -> None:
    meta = await shell.create("echo ready; sleep 60")
    owner = await shell.owner(meta)
    stat = await in_thread(read_stat, owner.pid)
    assert stat is not None
    assert stat.session == stat.group == owner.group != os.getsid(0)
    parents = await trio.run_process(["ps", "-o", "ppid=", "-p", str(owner.pid)], capture_stdout=True)
    assert int(parents.stdout) != os.getpid()
    await shell.bound.delete(meta)


async def test_fifty_jobs_at_once_all_end_as_they_should(shell: Any) -> None:
    codes: dict[int, int] = {}

    async def run(number: int) -> None:
        resource = await shell.run(f"echo {number}; exit {number % 3}", key=f"job-{number}")
        assert outputs(resource)["stdout"] == f"{number}\n"
        codes[number] = outputs(resource)["exit_code"]

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(run, number)
    assert codes == {number: number % 3 for number in range(50)}
