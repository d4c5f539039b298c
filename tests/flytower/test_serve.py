"""`flytower serve` as a process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from flytower.cli.options import spread
from flytower.cli.serve import format_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


def module(folder: Path, name: str, text: str | None = None) -> None:
    (folder / f"{name}.py").write_text(text if text is not None else CONNECTOR.format(name=name))


def submit(endpoint: str, task_type: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flytower", "submit", task_type, "--endpoint", endpoint, "--timeout", "50"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        pass


def answers(url: str, status: int) -> bool:
    return httpx.get(url, trust_env=False).status_code == status


class TestReady:
    """What a script waits for."""

    def test_one_line_on_stdout_with_both_addresses_and_nothing_else(self, start: Callable[..., object]) -> None:
        server = start()
        assert server.ready == f"flytower ready grpc={server.grpc} metrics={server.metrics}\n"
        assert answers(f"http://{server.metrics}/readyz", 200)
        assert server.stop() == 0
        assert server.rest_of_stdout() == ""

    def test_both_connectors_that_ship_are_served(self, start: Callable[..., object]) -> None:
        server = start()
        page = httpx.get(f"http://{server.metrics}/", trust_env=False).text
        assert "shell (0)" in page
        assert "webhook (0)" in page

    def test_the_observer_can_be_switched_off(self, start: Callable[..., object]) -> None:
        server = start("--metrics-port", "off")
        assert server.metrics == "off"

    def test_the_console_script_is_the_same_program(self, start: Callable[..., object]) -> None:
        server = start(command=(sys.executable.replace("python3", "flytower").replace("python", "flytower"), "serve"))
        assert server.grpc

    @pytest.mark.parametrize(("address", "text"), [(("127.0.0.1", 1), "127.0.0.1:1"), (("::1", 2), "[::1]:2")])
    def test_an_address_is_written_so_that_it_can_be_read(self, address: tuple[str, int], text: str) -> None:
        assert format_address(address) == text

    def test_logs_are_json_lines_when_nobody_watches(self, start: Callable[..., object]) -> None:
        server = start()
        server.stop()
        events = [json.loads(line) for line in server.log().splitlines()]
        assert {event["name"] for event in events if event["event"] == "Serving a connector"} == {
            "Shell Connector",
            "Webhook Connector",
        }

    def test_logs_can_be_for_a_person_and_less(self, start: Callable[..., object]) -> None:
        server = start("--log-format", "console", "--log-level", "error")
        server.stop()
        assert server.log() == ""


class TestModules:
    """Where connectors come from."""

    def test_an_option_takes_several_modules_and_can_be_repeated(
        self, start: Callable[..., object], tmp_path: Path
    ) -> None:
        for name in ("one", "two", "three"):
            module(tmp_path, name)
        server = start("--modules", "one", "two", "--modules", "three", "--no-entry-points")
        page = httpx.get(f"http://{server.metrics}/", trust_env=False).text
        for text in ("one (0)", "two (0)", "three (0)"):
            assert text in page
        assert "shell" not in page

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
            ("raise SystemExit('no licence')", "SystemExit: no licence"),
            ("1 +", "SyntaxError"),
            (
                "from flytower.connectors.shell import *\nConnectorRegistry.register(ShellConnector())",
                "Duplicate connector",
            ),
        ],
    )
    def test_a_module_that_fails_is_named_with_its_reason_and_the_others_serve(
        self, start: Callable[..., object], tmp_path: Path, text: str, reason: str
    ) -> None:
        module(tmp_path, "broken", text)
        module(tmp_path, "fine")
        server = start("--modules", "broken", "fine")
        assert "fine (0)" in httpx.get(f"http://{server.metrics}/", trust_env=False).text
        failures = [event for line in server.log().splitlines() if "reason" in (event := json.loads(line))]
        assert [event["module"] for event in failures] == ["broken"]
        assert reason in failures[0]["reason"]

    def test_a_server_without_connectors_says_so_and_runs(self, start: Callable[..., object]) -> None:
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

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_stops_it_with_exit_code_0(self, start: Callable[..., object], number: int) -> None:
        assert start().stop(number) == 0

    def test_a_call_in_flight_finishes_while_readiness_is_gone(
        self, start: Callable[..., object], tmp_path: Path
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

    def test_a_call_that_outlasts_the_grace_is_ended(self, start: Callable[..., object], tmp_path: Path) -> None:
        module(tmp_path, "slow")
        server = start("--modules", "slow", "--grace", "0.1")
        with ThreadPoolExecutor() as pool:
            call = pool.submit(submit, server.grpc, "slow")
            until((tmp_path / "started").exists)
            server.process.send_signal(signal.SIGTERM)
            result = call.result()
            assert result.returncode == 3
            assert "UNAVAILABLE" in result.stderr
            (tmp_path / "go").touch()  # the connector's thread cannot be killed, only left
        assert server.process.wait() == 0

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_a_second_signal_does_not_wait_for_the_grace(
        self, start: Callable[..., object], tmp_path: Path, number: int, code: int
    ) -> None:
        module(tmp_path, "slow")
        server = start("--modules", "slow", "--grace", "3600")
        with ThreadPoolExecutor() as pool:
            call = pool.submit(submit, server.grpc, "slow")
            until((tmp_path / "started").exists)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: answers(f"http://{server.metrics}/readyz", 503))
            assert server.stop(number) == code
            assert call.result().returncode == 3


class TestRefusals:
    """What keeps it from starting, and with which exit code."""

    def test_wrong_settings_are_a_usage_error_with_every_problem(self, start: Callable[..., object]) -> None:
        server = start("--port", "70000", "--log-level", "loud", FLYTOWER_GRACEFUL="1")
        assert server.process.wait() == 2
        for text in ("port", "log_level", "did you mean FLYTOWER_GRACE?"):
            assert text in server.log()

    def test_an_unknown_key_of_the_file_is_refused(self, start: Callable[..., object], tmp_path: Path) -> None:
        (tmp_path / "it.toml").write_text("modulse = []")
        server = start("--config", "it.toml")
        assert server.process.wait() == 2
        assert "did you mean modules?" in server.log()

    @pytest.mark.parametrize("flag", ["--port", "--metrics-port"])
    def test_a_taken_port_is_named_at_once(self, start: Callable[..., object], flag: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = start(flag, str(port))
            assert server.ready == ""
            assert server.process.wait() == 1
        assert f"127.0.0.1:{port} cannot be listened on" in server.log()

    def test_limits_are_in_force(self, start: Callable[..., object], run: Callable[..., object]) -> None:
        server = start(FLYTOWER_LIMITS_MAX_MESSAGE_BYTES="2000")
        result = run("submit", "shell", "--endpoint", server.grpc, "--custom", json.dumps({"command": "x" * 3000}))
        assert result.returncode == 1
        assert "RESOURCE_EXHAUSTED" in result.stderr
