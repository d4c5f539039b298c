"""`flytower serve` as a process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest
from click.testing import CliRunner

from flytower.cli.options import spread
from flytower.cli.serve import YOUNG_OBJECTS, format_address, serve

if TYPE_CHECKING:
    from collections.abc import Callable


class ServerProcess(Protocol):
    """A running server, as the fixtures of this folder give it."""

    process: subprocess.Popen[str]
    ready: str
    grpc: str
    metrics: str

    def stop(self, number: int = ...) -> int: ...
    def rest_of_stdout(self) -> str: ...
    def log(self) -> str: ...


CONNECTOR = """
from pathlib import Path
import time
from flytower import ConnectorRegistry, Resource, SyncConnectorBase, TaskExecution

class {name}(SyncConnectorBase):
    name = "{name} Connector"

    def __init__(self):
        super().__init__(task_type_name="{name}")

    def do(self, task_template, output_prefix, inputs=None, **kwargs):
        Path("started").touch()
        while not Path("go").exists():
            time.sleep(0.01)
        return Resource(phase=TaskExecution.SUCCEEDED)

ConnectorRegistry.register({name}())
"""


BROKEN = [
    ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    ("raise SystemExit('no licence')", "SystemExit: no licence"),
    ("1 +", "SyntaxError"),
    ("from flytower.connectors.shell import *\nConnectorRegistry.register(ShellConnector())", "Duplicate connector"),
]


def module(folder: Path, name: str, text: str | None = None) -> None:
    (folder / f"{name}.py").write_text(text if text is not None else CONNECTOR.format(name=name))


def submit(endpoint: str, task_type: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flytower", "submit", task_type, "--endpoint", endpoint, "--timeout", "50"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def events(server: ServerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log().splitlines()]


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        pass


def answers(url: str, status: int) -> bool:
    return httpx.get(url, trust_env=False).status_code == status


class TestReady:
    """What a script waits for."""

    def test_one_line_on_stdout_with_both_addresses_and_events_as_json_on_stderr(
        self, start: Callable[..., ServerProcess]
    ) -> None:
        server = start()
        assert server.ready == f"flytower ready grpc={server.grpc} metrics={server.metrics}\n"
        assert server.stop() == 0
        assert server.rest_of_stdout() == ""
        names = {event["name"] for event in events(server) if event["event"] == "Serving a connector"}
        assert names == {"Shell Connector", "Webhook Connector"}

    def test_probes_say_so_too_and_the_status_page_shows_both_connectors_that_ship(self, server: ServerProcess) -> None:
        assert answers(f"http://{server.metrics}/readyz", 200)
        page = httpx.get(f"http://{server.metrics}/", trust_env=False).text
        assert "shell (0)" in page
        assert "webhook (0)" in page

    def test_the_console_script_without_an_observer_and_with_logs_for_a_person(
        self, start: Callable[..., ServerProcess]
    ) -> None:
        script = str(Path(sys.executable).with_name("flytower"))
        flags = ("--metrics-port", "off", "--log-format", "console", "--log-level", "error")
        server = start(*flags, command=(script, "serve"))
        assert server.metrics == "off"
        assert server.stop(signal.SIGINT) == 0
        assert server.log() == ""

    @pytest.mark.parametrize(("address", "text"), [(("127.0.0.1", 1), "127.0.0.1:1"), (("::1", 2), "[::1]:2")])
    def test_an_address_is_written_so_that_it_can_be_read(self, address: tuple[str, int], text: str) -> None:
        assert format_address(address) == text


class TestModules:
    """Where connectors come from."""

    def test_an_option_takes_several_modules_and_can_be_repeated(
        self, start: Callable[..., ServerProcess], tmp_path: Path
    ) -> None:
        for name in ("one", "two", "three"):
            module(tmp_path, name)
        server = start("--modules", "one", "two", "--modules", "three", "--no-entry-points")
        page = httpx.get(f"http://{server.metrics}/", trust_env=False).text
        for text in ("one (0)", "two (0)", "three (0)"):
            assert text in page
        assert "shell" not in page

    def test_modules_that_fail_are_named_with_their_reasons_and_the_others_serve(
        self, start: Callable[..., ServerProcess], tmp_path: Path
    ) -> None:
        reasons = {}
        for number, (text, reason) in enumerate(BROKEN):
            module(tmp_path, f"broken{number}", text)
            reasons[f"broken{number}"] = reason
        module(tmp_path, "fine")
        server = start("--modules", *reasons, "fine")
        assert "fine (0)" in httpx.get(f"http://{server.metrics}/", trust_env=False).text
        told = {event["module"]: event["reason"] for event in events(server) if "reason" in event}
        assert told.keys() == reasons.keys()
        assert [name for name, reason in reasons.items() if reason not in told[name]] == []

    def test_its_garbage_collector_looks_less_often_and_not_at_what_was_imported(
        self, tmp_path: Path, start: Callable[..., ServerProcess]
    ) -> None:
        at_the_end = "lambda: Path('collector').write_text(f'{gc.get_threshold()[0]} {gc.get_freeze_count() > 10_000}')"
        module(tmp_path, "watcher", f"import atexit, gc\nfrom pathlib import Path\natexit.register({at_the_end})\n")
        assert start("--modules", "watcher").stop() == 0
        assert (tmp_path / "collector").read_text() == f"{YOUNG_OBJECTS} True"

    def test_a_server_without_connectors_says_so_and_runs(self, start: Callable[..., ServerProcess]) -> None:
        server = start("--no-entry-points")
        assert "no connector to serve" in server.log()
        assert server.stop() == 0

    @pytest.mark.parametrize(
        ("args", "result"),
        [
            (["-m", "a", "b"], ["-m", "a", "-m", "b"]),
            (["-m", "a", "-m", "b", "c"], ["-m", "a", "-m", "b", "-m", "c"]),
            (["-m=a", "b"], ["-m=a", "-m", "b"]),
            (["-m", "a", "--port", "1", "2"], ["-m", "a", "--port", "1", "2"]),
            (["-m"], ["-m"]),
        ],
    )
    def test_several_values_become_several_options(self, args: list[str], result: list[str]) -> None:
        assert spread(args, {"-m"}) == result


class TestStop:
    """Signals."""

    def test_a_call_in_flight_finishes_while_readiness_is_gone(
        self, start: Callable[..., ServerProcess], tmp_path: Path
    ) -> None:
        module(tmp_path, "slow")
        server = start("--modules", "slow")
        with ThreadPoolExecutor() as pool:
            call = pool.submit(submit, server.grpc, "slow")
            until((tmp_path / "started").exists)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: answers(f"http://{server.metrics}/readyz", 503))
            assert answers(f"http://{server.metrics}/healthz", 200)
            assert not call.done()
            (tmp_path / "go").touch()
            assert call.result().stdout == "SUCCEEDED\n"
        assert server.process.wait() == 0

    def test_a_call_that_never_ends_is_ended_inside_the_grace(
        self, start: Callable[..., ServerProcess], tmp_path: Path
    ) -> None:
        module(tmp_path, "slow")
        server = start("--modules", "slow", "--grace", "2")
        with ThreadPoolExecutor() as pool:
            call = pool.submit(submit, server.grpc, "slow")
            until((tmp_path / "started").exists)
            server.process.send_signal(signal.SIGTERM)
            result = call.result()
            assert result.returncode == 3
            assert "UNAVAILABLE" in result.stderr
        assert server.process.wait() == 0, "the connector's thread cannot be killed, only left"

    def test_a_second_signal_does_not_wait_for_the_grace(
        self, start: Callable[..., ServerProcess], tmp_path: Path
    ) -> None:
        module(tmp_path, "slow")
        server = start("--modules", "slow", "--grace", "3600")
        with ThreadPoolExecutor() as pool:
            call = pool.submit(submit, server.grpc, "slow")
            until((tmp_path / "started").exists)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: answers(f"http://{server.metrics}/readyz", 503))
            assert server.stop(signal.SIGINT) == 130
            assert call.result().returncode == 3


class TestRefusals:
    """What keeps it from starting, and with which exit code."""

    def test_wrong_settings_are_a_usage_error_with_every_problem(self) -> None:
        environ = {"FLYTOWER_GRACEFUL": "1"}
        result = CliRunner().invoke(serve, ["--port", "70000", "--log-level", "loud"], env=environ)
        assert result.exit_code == 2
        for text in ("port", "log_level", "did you mean FLYTOWER_GRACE?"):
            assert text in result.stderr

    def test_an_unknown_key_of_the_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "it.toml").write_text("modulse = []")
        result = CliRunner().invoke(serve, ["--config", str(tmp_path / "it.toml")])
        assert result.exit_code == 2
        assert "did you mean modules?" in result.stderr

    @pytest.mark.parametrize("flag", ["--port", "--metrics-port"])
    def test_a_taken_port_is_named_at_once(self, start: Callable[..., ServerProcess], flag: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = start(flag, str(port))
            assert server.ready == ""
            assert server.process.wait() == 1
        assert f"127.0.0.1:{port} cannot be listened on" in server.log()

    def test_limits_are_in_force(
        self, start: Callable[..., ServerProcess], run: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        server = start(FLYTOWER_LIMITS_MAX_MESSAGE_BYTES="2000")
        result = run("submit", "shell", "--endpoint", server.grpc, "--custom", json.dumps({"command": "x" * 3000}))
        assert result.returncode == 1
        assert "RESOURCE_EXHAUSTED" in result.stderr
