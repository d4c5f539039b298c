"""What survives a server: kill -9, a deploy, a stop of the database; and what `flytower tasks` says of it."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.flytower.conftest import FLYTOWER, end, environment, launch
from tests.flytower.e2e.client import Phase, create_request
from tests.flytower.e2e.deployment import until
from tests.processes import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.flytower.e2e.deployment import Deploy

    Run = Callable[..., subprocess.CompletedProcess[str]]

RUNNING = {"answer": {"phase": "RUNNING", "message": "busy"}}


def listed(run: Run, *args: str) -> list[dict[str, Any]]:
    """What `flytower tasks --json` says of the ledger in this test's folder."""
    done = run("tasks", "--json", *args)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


class TestKilled:
    """A server that is killed, and the next one on the same ledger."""

    def test_the_next_server_answers_at_once_and_owns_what_was_running(self, deploy: Deploy) -> None:
        with deploy() as deployment:
            request = create_request("scripted", RUNNING)
            meta = deployment.flyte.create(request)
            deployment.flyte.until("scripted", meta, Phase.RUNNING)
            deployment.server.stop(signal.SIGKILL)
        with deploy() as deployment:
            assert deployment.flyte.get("scripted", meta).phase == Phase.RUNNING
            assert deployment.flyte.create(request) == meta
            assert deployment.creates(request) == 1

    def test_a_create_that_was_under_way_is_repeated_with_its_token_and_its_job_is_given_to_the_retry(
        self, deploy: Deploy
    ) -> None:
        request = create_request("token", {"wait": "go"})
        with deploy() as deployment:
            under_way = deployment.flyte.tasks.CreateTask.future(request, timeout=60)
            until(lambda: len(deployment.record()) == 1)
            assert not under_way.done(), "a call that nobody holds is cancelled"
            deployment.server.stop(signal.SIGKILL)
        with deploy() as deployment:
            until(lambda: len(deployment.record()) == 2)
            deployment.allow("go")
            meta = deployment.flyte.create(request)
            first, second = (line.split()[2] for line in deployment.record())
            assert first == second == json.loads(meta)["job"]

    def test_a_caller_that_got_a_provisional_answer_reads_deletes_and_asks_again_by_it_afterwards(
        self, deploy: Deploy
    ) -> None:
        request = create_request("token", {"wait": "go"})
        with deploy() as deployment:
            meta = deployment.flyte.tasks.CreateTask(request, timeout=1.0).resource_meta
            deployment.server.stop(signal.SIGKILL)
        with deploy() as deployment:
            flyte = deployment.flyte
            assert flyte.get("token", meta).phase == Phase.INITIALIZING
            assert flyte.tasks.CreateTask(request, timeout=1.0).resource_meta == meta
            deployment.allow("go")
            flyte.until("token", meta, Phase.RUNNING)
            assert flyte.create(request) == meta
            flyte.delete("token", meta)
            flyte.until("token", meta, Phase.ABORTED)
            jobs = {line.split()[2] for line in deployment.record() if line.startswith("asked")}
            assert [line for line in deployment.record() if line.startswith("delete")] == [f"delete {jobs.pop()}"]
            assert not jobs, "one token, and so one job"

    def test_a_delete_that_was_acknowledged_is_carried_out_by_the_next_server(self, deploy: Deploy) -> None:
        with deploy() as deployment:
            request = create_request("scripted", {**RUNNING, "delete": {"error": "not now", "times": 1}})
            meta = deployment.flyte.create(request)
            deployment.flyte.delete("scripted", meta)
            deployment.server.stop(signal.SIGKILL)
        with deploy() as deployment:
            deployment.flyte.until("scripted", meta, Phase.ABORTED)
            assert deployment.deletes(request)[0] >= 1

    def test_credentials_are_in_no_file(self, deploy: Deploy, tmp_path: Path) -> None:
        secret = "hunter2-is-a-secret"  # noqa: S105 - planted
        with deploy() as deployment:
            request = create_request("token", {"wait": "go", "api_token": secret})
            under_way = deployment.flyte.tasks.CreateTask.future(request, timeout=60)
            until(lambda: len(deployment.record()) == 1)
            assert not under_way.done(), "a call that nobody holds is cancelled"
            deployment.server.stop(signal.SIGKILL)
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any(path.name.startswith("ledger.sqlite") for path in written)
        for path in written:
            assert secret.encode() not in path.read_bytes(), path


class TestOneOwner:
    """Two servers on one ledger."""

    def test_the_second_one_says_whose_it_is_and_exits(self, deploy: Deploy, tmp_path: Path) -> None:
        with deploy() as deployment:
            other = tmp_path / "other"
            other.mkdir()
            ledger = f"sqlite:///{tmp_path}/ledger.sqlite"
            second = launch(other, FLYTOWER_LEDGER=ledger, FLYTOWER_LEDGER_WAIT="0")
            try:
                assert second.process.wait() == 1
                assert f"in use by process {deployment.server.process.pid}" in second.log()
            finally:
                end(second)

    def test_one_that_waits_can_be_asked_to_stop(self, deploy: Deploy, tmp_path: Path) -> None:
        with deploy():
            other = tmp_path / "other"
            other.mkdir()
            with _waiting(other, f"sqlite:///{tmp_path}/ledger.sqlite") as server:
                server.send_signal(signal.SIGTERM)
                assert server.wait() == 0


@contextmanager
def _waiting(folder: Path, ledger: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that has to wait for the ledger, from when it does."""
    settings = {"LEDGER": ledger, "LEDGER_WAIT": "60", "PORT": "0", "METRICS_PORT": "0"}
    variables = {f"FLYTOWER_{name}": value for name, value in settings.items()}
    log = folder / "stderr"
    options = {"stdout": subprocess.DEVNULL, "cwd": folder, "env": environment(folder, **variables)}
    with log.open("w") as stderr, process([*FLYTOWER, "serve"], stderr=stderr, **options) as server:
        until(lambda: "Opening the ledger" in log.read_text())
        yield server


class TestPostgres:
    """The same server on PostgreSQL."""

    def test_a_killed_server_is_followed_by_one_that_knows_all(self, deploy: Deploy, postgres: str, run: Run) -> None:
        request = create_request("scripted", RUNNING)
        with deploy(FLYTOWER_LEDGER=postgres) as deployment:
            meta = deployment.flyte.create(request)
            deployment.flyte.until("scripted", meta, Phase.RUNNING)
            deployment.server.stop(signal.SIGKILL)
        with deploy(FLYTOWER_LEDGER=postgres) as deployment:
            assert deployment.flyte.create(request) == meta
            assert deployment.creates(request) == 1
            until(lambda: [task["state"] for task in listed(run, "--ledger", postgres)] == ["live"])


class TestTroubledLedger:
    """A ledger that cannot be written."""

    def test_creates_are_refused_and_reads_answered_until_it_can(self, deploy: Deploy, tmp_path: Path) -> None:
        with deploy() as deployment:
            meta = deployment.flyte.create(create_request("scripted", RUNNING))
            deployment.flyte.until("scripted", meta, Phase.RUNNING)
            with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                for _ in range(2):
                    with pytest.raises(grpc.RpcError) as refused:
                        deployment.flyte.create(create_request("scripted", RUNNING))
                    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                    assert "ledger" in refused.value.details()
                    assert deployment.flyte.get("scripted", meta).phase == Phase.RUNNING
                assert deployment.samples()["flytower_ledger_failing",] == 1
                other.execute("ROLLBACK")
            until(lambda: deployment.samples()["flytower_ledger_failing",] == 0)
            deployment.flyte.create(create_request("scripted", RUNNING))

    def test_so_is_it_with_a_full_disk(self, deploy: Deploy, tmp_path: Path) -> None:
        """The disk is full for the server alone: no file of its may grow."""
        with deploy() as deployment:
            meta = deployment.flyte.create(create_request("scripted", RUNNING))
            deployment.flyte.until("scripted", meta, Phase.RUNNING)
            size = (tmp_path / "ledger.sqlite-wal").stat().st_size
            server, unlimited = deployment.server.process.pid, resource.RLIM_INFINITY
            resource.prlimit(server, resource.RLIMIT_FSIZE, (size, unlimited))
            for _ in range(2):
                with pytest.raises(grpc.RpcError) as refused:
                    deployment.flyte.create(create_request("scripted", RUNNING))
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "ledger.sqlite cannot be written" in refused.value.details()
                assert deployment.flyte.get("scripted", meta).phase == Phase.RUNNING
            resource.prlimit(server, resource.RLIMIT_FSIZE, (unlimited, unlimited))
            until(lambda: deployment.samples()["flytower_ledger_failing",] == 0)
            deployment.flyte.create(create_request("scripted", RUNNING))
        assert len(deployment.record()) == 4, "what was refused was not created"

    def test_one_that_may_only_be_read_is_refused_by_name(self, deploy: Deploy, tmp_path: Path) -> None:
        with deploy() as deployment:
            deployment.server.stop()
        ledger = tmp_path / "ledger.sqlite"
        ledger.chmod(0o444)
        done = subprocess.run(
            [sys.executable, "-c", AS_ANYBODY],
            cwd=tmp_path,
            env=environment(tmp_path, FLYTOWER_LEDGER=f"sqlite:///{ledger}", FLYTOWER_PORT="0"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "ledger.sqlite cannot be written: attempt to write a readonly database" in done.stderr


AS_ANYBODY = """
import ctypes
from flytower.cli.app import main

# Without its capabilities even root may not write to a file whose mode forbids it.
header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, nothing) == 0
main(["serve", "--metrics-port", "off"])
"""
"""Runs a server as a user without privileges."""


class TestTasksCommand:
    """`flytower tasks`, with and without a server."""

    def test_it_lists_and_filters_what_a_server_has_left_behind(self, deploy: Deploy, run: Run) -> None:
        with deploy() as deployment:
            live = deployment.flyte.create(create_request("scripted", RUNNING))
            deployment.flyte.until("scripted", live, Phase.RUNNING)
            twin = deployment.flyte.create(create_request("twin"))
            deployment.flyte.until("twin", twin)
            beside = {(task["type"], task["state"], task["phase"]) for task in listed(run)}
            deployment.server.stop()
        assert beside == {("scripted", "live", "RUNNING"), ("twin", "finished", "SUCCEEDED")}
        assert [task["type"] for task in listed(run, "--state", "finished")] == ["twin"]
        assert [task["type"] for task in listed(run, "--type", "scripted")] == ["scripted"]
        assert len(listed(run, "--state", "finished", "--state", "live")) == 2
        assert listed(run, "--older-than", "1h") == []
        assert len(listed(run, "--newer-than", "1h")) == 2
        table = run("tasks").stdout
        assert "scripted" in table
        assert "busy" in table

    def test_a_whole_history_is_shown(self, deploy: Deploy, run: Run) -> None:
        with deploy() as deployment:
            meta = deployment.flyte.create(create_request("scripted", RUNNING))
            deployment.flyte.until("scripted", meta, Phase.RUNNING)
            deployment.flyte.delete("scripted", meta)
            deployment.flyte.until("scripted", meta, Phase.ABORTED)
            deployment.server.stop()
        [task] = listed(run)
        shown = json.loads(run("tasks", "show", task["id"][:8], "--json", "--meta").stdout)
        stages = [change["stage"] for change in shown["history"]]
        assert stages == ["reserved", "creating", "live", "deleting", "deleted"]
        assert shown["history"][1]["note"] == "create has returned"
        assert shown["resource_meta"] == meta.decode()
        assert "somebody asked to delete it" in run("tasks", "show", task["id"]).stdout
        assert meta.decode() not in run("tasks", "show", task["id"]).stdout

    def test_a_delete_is_carried_out_by_the_server_that_runs(self, deploy: Deploy, run: Run) -> None:
        with deploy() as deployment:
            request = create_request("scripted", RUNNING)
            meta = deployment.flyte.create(request)
            [task] = listed(run)
            assert "asked" in run("tasks", "delete", task["id"]).stdout
            deployment.flyte.until("scripted", meta, Phase.ABORTED)
            assert deployment.deletes(request) == [1]

    def test_a_delete_that_is_asked_for_while_no_server_runs_is_carried_out_by_the_next(
        self, deploy: Deploy, run: Run
    ) -> None:
        request = create_request("scripted", RUNNING)
        with deploy() as deployment:
            meta = deployment.flyte.create(request)
            deployment.server.stop(signal.SIGKILL)
        [task] = listed(run)
        assert run("tasks", "delete", task["id"]).returncode == 0
        with deploy() as deployment:
            deployment.flyte.until("scripted", meta, Phase.ABORTED)
            assert deployment.deletes(request) == [1]

    def test_a_task_that_is_forgotten_by_the_server_that_runs_keeps_its_job(self, deploy: Deploy, run: Run) -> None:
        with deploy() as deployment:
            request = create_request("scripted", RUNNING)
            deployment.flyte.create(request)
            [task] = listed(run)
            assert run("tasks", "forget", task["id"]).returncode == 0
            until(lambda: listed(run) == [])
            assert deployment.deletes(request) == [0]

    def test_a_task_that_is_forgotten_while_no_server_runs_is_nobodys_afterwards(
        self, deploy: Deploy, run: Run
    ) -> None:
        with deploy() as deployment:
            request = create_request("scripted", RUNNING)
            deployment.flyte.create(request)
            deployment.server.stop()
        [task] = listed(run)
        assert run("tasks", "forget", task["id"]).returncode == 0
        with deploy() as deployment:
            until(lambda: listed(run) == [])
            assert deployment.deletes(request) == [0]

    def test_a_create_that_nobody_can_resolve_is_listed_as_unknown_and_counted(self, deploy: Deploy, run: Run) -> None:
        with deploy() as deployment:
            under_way = deployment.flyte.tasks.CreateTask.future(
                create_request("scripted", {"wait": "never"}), timeout=60
            )
            until(deployment.record)
            assert not under_way.done(), "a call that nobody holds is cancelled"
            deployment.server.stop(signal.SIGKILL)
        with deploy() as deployment:
            until(lambda: listed(run, "--state", "unknown"))
            [task] = listed(run, "--state", "unknown")
            assert "may exist or not" in task["message"]
            assert deployment.samples()["flytower_tasks", "phase=UNKNOWN", "task_type=scripted"] == 1

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("tasks", "--ledger", "sqlite:///missing.sqlite"), "There is no ledger missing.sqlite"),
            (("tasks", "--ledger", "memory://"), "status page"),
            (("tasks", "--ledger", "mysql://u:hunter2@h/d"), "must begin with one of"),
            (("tasks", "--older-than", "soon"), "is no age"),
        ],
    )
    def test_what_is_wrong_is_said(self, run: Run, args: tuple[str, ...], said: str) -> None:
        done = run(*args)
        assert done.returncode != 0
        assert said in done.stderr
        assert "hunter2" not in done.stderr

    def test_an_id_that_fits_none_or_several_is_refused(self, deploy: Deploy, run: Run) -> None:
        with deploy() as deployment:
            for _ in range(20):
                deployment.flyte.create(create_request("scripted", RUNNING))
        assert "no task whose id begins" in run("tasks", "show", "nothing").stderr
        assert "20 tasks" in run("tasks", "delete", "").stderr
