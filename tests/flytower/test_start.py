"""What a server that starts imports, and what it leaves to those who need it."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from flytower.cli.lean_imports import lean_imports, without_collections

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.flytower.conftest import ServerProcess

WATCHER = """
import atexit, sys
from pathlib import Path

def write():
    from flytower.protocol.deferred import FIELDS
    from flytower.protocol.generated.message_pool import default_message_pool
    messages = default_message_pool.type_to_url
    made = sum(isinstance(vars(message)[FIELDS], dict) for message in messages)
    Path("modules").write_text("\\n".join(sys.modules))
    Path("messages").write_text(f"{made} {len(messages)}")

atexit.register(write)
"""

NEVER = {
    *("flytekit", "flyteidl", "google.protobuf", "grpc", "rich", "pydantic", "pygments", "httpx", "anyio", "pytest"),
    *("flytower.actors.local", "flytower.protocol.client", "flytower.protocol.generate", "flytower.cli.session"),
    *("prometheus_client", "h11", "http.server", "flytower.actors.exposition", "flytower.actors.http_connection"),
    *("html", "http", "msgpack", "flytower.actors.status_page", "flytower.protocol.literals"),
    *("flytower.connectors.webhook_call", "flytower.connectors.webhook_request"),
    *("flytower.runtime.testing", "flytower.connectors.testing", "flytower.cli.demo", "flytower.cli.run"),
}
"""What no server needs for its start, whatever its ledger: each takes from some milliseconds to most of a second."""

DATABASES = {"sqlalchemy", "sqlite3", "psycopg", "alembic", "mako"}


@pytest.fixture(name="imported")
def _imported(tmp_path: Path, start: Callable[..., ServerProcess]) -> Callable[[str], set[str]]:
    """Return what a server with a ledger has imported by its end."""
    (tmp_path / "watcher.py").write_text(WATCHER)

    def imported(ledger: str) -> set[str]:
        assert start("--modules", "watcher", "--ledger", ledger).stop() == 0
        return set((tmp_path / "modules").read_text().splitlines())

    return imported


def test_a_server_with_its_ledger_in_memory_imports_no_database_and_nothing_that_only_others_need(
    imported: Callable[[str], set[str]],
) -> None:
    modules = imported("memory://")
    assert (NEVER | DATABASES) & modules == set()
    assert {"flytower.actors.node", "flytower.connectors.webhook"} <= modules


def test_a_server_whose_file_needs_no_migration_imports_neither_alembic_nor_another_database(
    imported: Callable[[str], set[str]], tmp_path: Path
) -> None:
    ledger = f"sqlite:///{tmp_path}/its.sqlite"
    assert "alembic" in imported(ledger)
    modules = imported(ledger)
    assert (NEVER | {"alembic", "mako", "psycopg", "sqlalchemy.dialects.postgresql"}) & modules == set()
    assert "sqlalchemy.dialects.sqlite" in modules


def test_of_the_hundred_messages_only_those_that_are_used_become_dataclasses(
    imported: Callable[[str], set[str]], tmp_path: Path
) -> None:
    imported("memory://")
    made, messages = map(int, (tmp_path / "messages").read_text().split())
    assert messages > 100
    assert 0 < made < messages // 5


def test_nothing_is_collected_while_the_command_line_is_imported() -> None:
    code = """
import gc, flytower.cli.lean_imports
looks = []
gc.callbacks.append(lambda phase, _: looks.append(phase))
import flytower.__main__
gc.callbacks.clear()
print(len(looks))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_what_is_hidden_while_a_command_is_imported_can_be_imported_afterwards() -> None:
    code = "import flytower.cli.app as app; app._module('flytower.cli.serve'); import rich.table; print('drawn')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("drawn\n", "")


def test_what_was_imported_before_is_not_hidden() -> None:
    import rich  # noqa: PLC0415 - the subject

    with lean_imports():
        assert sys.modules["rich"] is rich
    assert sys.modules["rich"] is rich


@pytest.mark.parametrize("collecting", [True, False])
def test_the_garbage_collector_is_afterwards_as_it_was(*, collecting: bool) -> None:
    if not collecting:
        gc.disable()
    try:
        with without_collections():
            assert not gc.isenabled()
        assert gc.isenabled() is collecting
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable()
