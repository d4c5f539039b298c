"""One server at a time owns a ledger file; operators read it beside that server, and ask."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flytower.actors.ledger import ownership
from flytower.actors.ledger.database import BUSY_SECONDS, OWNER_BUSY_SECONDS
from flytower.actors.ledger.memory import MemoryStore
from flytower.actors.ledger.opening import open_store, open_to_read
from flytower.actors.ledger.ownership import OwnedStore
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import LedgerError, LedgerLost
from tests.processes import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOLDER = """
import sys
from flytower.actors.ledger.opening import open_store

store = open_store(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""

IN_MEMORY = """
import sys
from flytower.actors.ledger.opening import open_store

open_store("memory://")
print("sqlalchemy" in sys.modules)
"""

WAIT = "PRAGMA busy_timeout"

ROW = Row("a", 1, "spark", 0, "live")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/ledger.sqlite"


@contextmanager
def held(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a process own a ledger for the time of the block."""
    command = [sys.executable, "-c", HOLDER, url]
    with process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder


def test_a_ledger_of_another_process_is_refused_with_its_id(url: str) -> None:
    with (
        held(url) as holder,
        pytest.raises(LedgerError, match=rf"ledger\.sqlite is in use by process {holder.pid} on .*--ledger"),
    ):
        open_store(url)


def test_the_ledger_of_a_killed_process_is_free_at_once(url: str) -> None:
    with held(url):
        pass
    open_store(url).close()


def test_a_server_that_waits_gets_it_when_the_other_ends(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "LOOK_SECONDS", 0.01)
    with ThreadPoolExecutor(1) as threads:
        with held(url):
            waiting = threads.submit(open_store, url, wait=30.0)
        waiting.result().close()


def test_the_file_is_for_its_user_alone_and_its_folder_is_made(url: str, tmp_path: Path) -> None:
    with closing(open_store(url)):
        folder, lock = tmp_path / "state", tmp_path / "state" / "ledger.sqlite.lock"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"file/ledger\.sqlite cannot be opened: .*--ledger"):
        open_store(f"sqlite:///{tmp_path}/file/ledger.sqlite")


def test_a_store_of_an_earlier_epoch_may_not_write(url: str) -> None:
    """Where locks do not work (some network file systems), the epoch still does."""
    with closing(open_store(url)) as first:
        first.put([ROW])
        with closing(SqlStore(url)) as second:
            second.own("process 1 on another host")
        writes: list[Callable[[], None]] = [
            lambda: first.put([ROW]),
            lambda: first.remove(["a"]),
            lambda: first.settle([1]),
        ]
        for write in writes:
            with pytest.raises(LedgerLost, match=r"belongs to another server now \(process 1 on another host\)"):
                write()
        assert first.rows() == [ROW]


def test_its_owner_gives_up_soon_on_a_lock_that_others_hold_and_an_operators_command_does_not(url: str) -> None:
    with closing(OwnedStore(url)) as store, closing(SqlStore(url, read=True)) as beside:
        waits = []
        for each in (store, beside):
            with each._engine.connect() as one, each._engine.connect() as two:
                waits.append({one.exec_driver_sql(WAIT).scalar(), two.exec_driver_sql(WAIT).scalar()})
    assert waits == [{1000 * OWNER_BUSY_SECONDS}, {1000 * BUSY_SECONDS}]


def test_a_ledger_that_cannot_be_opened_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"This is my diary. " * 100)
    for _ in range(2):
        with pytest.raises(LedgerError, match="file is not a database"):
            open_store(f"sqlite:///{path}")


# ---- beside the server ---------------------------------------------------------------------------------------------


def test_operators_read_and_ask_while_the_server_owns_it(url: str) -> None:
    with closing(open_store(url)) as server:
        server.put([ROW])
        with closing(open_to_read(url)) as operator:
            assert operator.rows() == [ROW]
            operator.post("a", "forget", 1.0)
        assert [(each.task, each.action) for each in server.commands()] == [("a", "forget")]


def test_reading_makes_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "missing.sqlite"
    with pytest.raises(LedgerError, match=r"There is no ledger .*missing\.sqlite"):
        open_to_read(f"sqlite:///{missing}")
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(LedgerError, match="start a server with it first"):
        open_to_read(f"sqlite:///{empty}")
    assert not missing.exists()


def test_a_ledger_in_memory_opens_for_its_server_alone() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)
    with pytest.raises(LedgerError, match="status page"):
        open_to_read("memory://")


def test_a_server_with_a_ledger_in_memory_imports_no_database() -> None:
    done = subprocess.run([sys.executable, "-c", IN_MEMORY], capture_output=True, check=True)
    assert done.stdout == b"False\n"


# ---- how large it gets ---------------------------------------------------------------------------------------------


def test_a_file_that_forgets_as_much_as_it_learns_does_not_grow(url: str) -> None:
    def generation(number: int) -> None:
        rows = [Row(f"{number}-{each}", 1, "spark", 0, "finished", resource=os.urandom(500)) for each in range(200)]
        store.put(rows)
        store.remove([row.id for row in rows])

    with closing(open_store(url)) as store:
        for number in range(3):
            generation(number)
    path = Path(url.removeprefix("sqlite:///"))
    size = path.stat().st_size
    with closing(open_store(url)) as store:
        for number in range(3, 30):
            generation(number)
    assert path.stat().st_size <= size
