"""What the README shows, done."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from flytower.cli.app import COMMANDS
from tests.flytower.conftest import FLYTOWER, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line[2:].split("  #")[0] for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "]


class PrintShop(BaseHTTPRequestHandler):
    """The API that the README's connector is for. A job is done at its third look."""

    jobs: ClassVar[dict[str, int]] = {}  # by id: how often it was looked at
    keys: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        key = self.headers["Idempotency-Key"]
        job = self.keys.setdefault(key, f"job{len(self.keys)}")
        self.jobs.setdefault(job, 0)
        self.answer(201, {"id": job})

    def do_GET(self) -> None:
        job = self.path.rpartition("/")[2]
        if job not in self.jobs:
            self.answer(404, {})
            return
        self.jobs[job] += 1
        self.answer(200, {"state": ["waiting", "printing", "done"][min(self.jobs[job], 3) - 1], "pages": 3})

    def do_DELETE(self) -> None:
        self.jobs.pop(self.path.rpartition("/")[2], None)
        self.answer(200, {})

    def answer(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture(name="shop")
def _shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A print shop, and a folder with the README's files."""
    for block in blocks("python"):
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block)
    PrintShop.jobs.clear()
    PrintShop.keys.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), PrintShop) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("PRINT_SHOP_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        yield tmp_path
        server.shutdown()
        thread.join()


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=folder, capture_output=True, text=True, check=False)


def test_its_connector_is_served_and_its_task_runs(shop: Path) -> None:
    serve = next(command for command in commands() if "serve" in command).split()[1:]
    submit = next(command for command in commands() if "submit" in command).split()[1:]
    with subprocess.Popen(
        [*FLYTOWER, *serve, "--port", "0", "--metrics-port", "off"],
        cwd=shop,
        env=environment(shop),
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        endpoint = server.stdout.readline().split("grpc=")[1].split()[0]
        done = python(shop, "-m", "flytower", *submit, "--endpoint", endpoint)
        server.terminate()
    assert done.stdout == "SUCCEEDED\n  pages = 3\n", done.stderr
    assert len(PrintShop.jobs) == 1


def test_its_local_run_prints_the_outputs(shop: Path) -> None:
    done = python(shop, "try_it.py")
    assert done.stdout == "{'pages': 3}\n", done.stderr


def test_its_command_for_a_local_run_prints_the_outputs(shop: Path) -> None:
    (command,) = re.findall(r"`flytower (run print [^`]*)`", README)
    done = python(shop, "-m", "flytower", *command.split())
    assert json.loads(done.stdout) == {"pages": 3}, done.stderr


def test_its_conformance_test_passes(shop: Path) -> None:
    done = python(shop, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_print_shop.py")
    assert done.returncode == 0, done.stdout


def named(text: str, program: str) -> set[str]:
    """The sub-commands of a program that a text names, in its words or in its examples."""
    return set(re.findall(rf"(?:^\$ |`){program} ([a-z-]+)", text, re.MULTILINE))


def test_every_command_that_it_and_the_docs_name_exists() -> None:
    text = README + (ROOT / "docs/operations.md").read_text()
    assert {"serve", "submit"} <= named(text, "flytower") <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named(text, "make") <= targets


def test_every_file_that_it_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_list_of_settings_is_current() -> None:
    code = "import settings_doc; print(settings_doc.text(), end='')"
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout == (ROOT / "docs/settings.md").read_text(), "run scripts/settings_doc.py"
