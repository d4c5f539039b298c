"""What the document for authors shows, done; and what it says of each method, error and policy."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flytower.actors.bulkhead import CircuitOpen, Spared
from flytower.actors.failures import KINDS
from flytower.connectors.bound import _OFFERED
from flytower.runtime.host_errors import LaneFull
from tests.flytower.test_docs import blocks
from tests.flytower.test_readme import README
from tests.processes import process

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs/connectors.md").read_text()


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """A folder with the files of the document and of the README."""
    for text in (DOCUMENT, README):
        for block in blocks(text, "python"):
            (tmp_path / block.splitlines()[0].removeprefix("# ")).write_text(block)
    return tmp_path


def commands(program: str) -> list[list[str]]:
    lines = [line for block in blocks(DOCUMENT, "console") for line in block.splitlines()]
    return [line[2:].split()[1:] for line in lines if line.startswith(f"$ {program} ")]


@pytest.mark.usefixtures("folder")
def test_its_sync_connector_is_served_and_its_task_executed(
    start: Callable[..., Any], run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    serve, submit = commands("flytower")
    server = start(*serve[1:])
    done = run(*submit, "--endpoint", server.grpc)
    assert done.stdout == 'SUCCEEDED\n  greeting = "Hello, Ada!"\n', done.stderr
    refused = run(*submit[:2], "--endpoint", server.grpc)
    assert refused.returncode == 1
    assert "a greeting needs the input `name`" in refused.stderr


def test_its_print_shop_prints(folder: Path, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    ((script, _),) = commands("python")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with process([sys.executable, script, str(port)], cwd=folder, stderr=subprocess.DEVNULL):
        while not listens(port):
            pass
        done = run("run", "print", "--modules", "print_shop", PRINT_SHOP_URL=f"http://127.0.0.1:{port}")
    assert json.loads(done.stdout) == {"pages": 3}, done.stderr


def listens(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def test_it_has_every_method_with_all_that_the_server_gives_it() -> None:
    said = dict(re.findall(r"^\| `(\w+)\(([^)]*)\)` \|", DOCUMENT.partition("\n## What names")[0], re.MULTILINE))
    assert {name: tuple(given.split(", ")) for name, given in said.items()} == _OFFERED


def test_it_has_every_error_that_an_author_can_raise() -> None:
    raised = {error.__name__ for error, _ in KINDS} - {each.__name__ for each in (CircuitOpen, Spared, LaneFull)}
    assert all(f"`{name}" in DOCUMENT.partition("## What to raise")[2] for name in raised)


def test_its_table_of_policies_is_current() -> None:
    code = "import policy_doc; print(policy_doc.text(), end='')"
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout == DOCUMENT, "run scripts/policy_doc.py"
