"""The SQL store keeps its promises in a SQLite file, and whatever is wrong with a database is said by name."""

from __future__ import annotations

import re
import socket
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from flytower.actors.ledger import database
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.schema import digest_of, metadata
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRELUDE = """
import sys
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import LedgerError

def row(seq):
    return Row(f"task-{seq}", seq, "spark", 0, "living", request=bytes(2000))

store = SqlStore(f"sqlite:///{sys.argv[1]}")
"""

FULL_DISK = """
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for seq in range(1, 1000):
    try:
        store.put([row(seq)])
    except LedgerError as error:
        message = str(error)
        break
assert len(store.rows()) == seq - 1, "what was acknowledged can be read from a full disk"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.put([row(1000)])
print(seq - 1, message)
"""

READ_ONLY = """
import ctypes, os

# Without its capabilities even root may not write to a file whose mode forbids it.
libc = ctypes.CDLL(None, use_errno=True)
header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capset(header, nothing) == 0
store.put([row(1)])
store.close()
os.chmod(sys.argv[1], 0o444)
try:
    SqlStore(f"sqlite:///{sys.argv[1]}").put([row(2)])
except LedgerError as error:
    print(error)
"""

KILLED_STARTING = """
import os
from sqlalchemy import event
from sqlalchemy.engine import Engine
from flytower.actors.ledger.sql import SqlStore
import sys

@event.listens_for(Engine, "after_cursor_execute")
def die(connection, cursor, statement, *rest):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), 9)

SqlStore(f"sqlite:///{sys.argv[1]}")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@contextmanager
def opened(path: Path) -> Iterator[SqlStore]:
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        yield store


def row(seq: int) -> Row:
    return Row(f"task-{seq}", seq, "spark", 0, "living", request=bytes(2000))


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def execute(path: Path, statement: str, *parameters: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement, parameters).rowcount == 1, "the statement has to change a row"


def said(error: BaseException | None) -> str:
    """What an error and all that it is chained to say, as a log would show it."""
    if error is None:
        return ""
    return f"{error!r} {error} " + said(error.__cause__ or (None if error.__suppress_context__ else error.__context__))


def test_each_connection_writes_a_log_and_waits_for_the_disk(path: Path) -> None:
    with opened(path) as store, store._engine.connect() as one, store._engine.connect() as two:
        for connection in (one, two):
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == database.BUSY_SECONDS * 1000


def test_a_closed_ledger_is_one_file(path: Path) -> None:
    with opened(path) as store:
        store.put([row(1)])
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


def test_the_migrations_make_the_schema_that_the_code_knows(path: Path) -> None:
    with opened(path):
        pass
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_newer_schema_is_refused_with_both_versions(path: Path) -> None:
    with opened(path) as store:
        store.put([row(1)])
    execute(path, "UPDATE alembic_version SET version_num = '9876'")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"ledger\.db has schema 9876, .* newer version .* knows 0003\b"):
        SqlStore(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE alembic_version", "CREATE TABLE tasks", "CREATE INDEX", "INSERT INTO alembic_version"]
)
def test_a_process_killed_while_it_makes_the_schema_leaves_nothing_half_made(path: Path, statement: str) -> None:
    assert run(KILLED_STARTING, path, statement).returncode == -9
    with opened(path) as store:
        store.put([row(1)])
        assert store.rows() == [row(1)]


def test_a_migration_that_fails_says_so_and_can_be_tried_again(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE tasks (mine)")
    with pytest.raises(LedgerError, match=r"ledger\.db cannot be opened: table tasks already exists"):
        SqlStore(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE tasks")
    with opened(path) as store:
        assert store.rows() == []


def test_several_may_open_a_new_ledger_at_once(path: Path) -> None:
    def begin(seq: int) -> None:
        with opened(path) as store:
            store.put([row(seq)])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(begin, range(1, 9)))
    with opened(path) as store:
        assert sorted(kept.seq for kept in store.rows()) == list(range(1, 9))


def test_one_may_read_while_another_writes(path: Path) -> None:
    with opened(path) as writer, opened(path) as reader:
        writer.put([row(1)])
        with reader._read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM tasks").scalar() == 1
            writer.put([row(2)])
            assert connection.exec_driver_sql("SELECT count(*) FROM tasks").scalar() == 1
        assert len(reader.rows()) == 2


def test_a_ledger_that_another_process_holds_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    with opened(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"ledger\.db cannot be written: database is locked"):
            store.put([row(1)])
        other.execute("ROLLBACK")
        store.put([row(1)])
        assert store.rows() == [row(1)]


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"This is my diary. " * 100)
    with pytest.raises(LedgerError, match=r"ledger\.db cannot be opened: file is not a database"):
        SqlStore(f"sqlite:///{path}")
    assert path.read_bytes() == b"This is my diary. " * 100


def test_a_directory_and_a_missing_folder_are_named(path: Path) -> None:
    path.mkdir()
    for wrong in (path, path / "missing" / "ledger.db"):
        with pytest.raises(LedgerError, match=re.escape(f"{wrong} cannot be opened: unable to open database file")):
            SqlStore(f"sqlite:///{wrong}")


def test_a_log_that_cannot_be_read_is_named(path: Path) -> None:
    path.with_name("ledger.db-wal").mkdir()
    with pytest.raises(LedgerError, match=r"ledger\.db cannot be opened: .*directory"):
        SqlStore(f"sqlite:///{path}")


def test_a_file_cut_short_is_named(path: Path) -> None:
    with opened(path) as store:
        store.put([row(seq) for seq in range(1, 20)])
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(LedgerError, match=r"ledger\.db (is damaged|cannot be opened)"):
        SqlStore(f"sqlite:///{path}")


def test_no_flipped_byte_of_a_file_changes_a_row_unseen(path: Path) -> None:
    with opened(path) as store:
        store.put([row(1), row(2)])
    sound = path.read_bytes()
    for offset in range(100, len(sound), 331):
        path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 0xFF]) + sound[offset + 1 :])
        try:
            store = SqlStore(f"sqlite:///{path}")
        except LedgerError:
            continue
        with closing(store):
            assert [store.get("task-1"), store.get("task-2")] == [row(1), row(2)], offset


def test_an_index_that_does_not_fit_the_rows_is_refused_by_name(path: Path) -> None:
    """A task that is not found through it would be written a second time."""
    with opened(path) as store:
        store.put([row(1)])
    content = path.read_bytes()
    places = [found.start() for found in re.finditer(b"task-1", content)]
    assert len(places) == 3, "one in the table, one in the index of its key, one in its history"
    refused = 0
    for place in places:
        path.write_bytes(content[:place] + b"risk-1" + content[place + 6 :])
        try:
            SqlStore(f"sqlite:///{path}").close()
        except LedgerError as error:
            assert "ledger.db is damaged" in str(error)  # noqa: PT017 - only two of the three are
            refused += 1
    assert refused == 2


@pytest.mark.parametrize(
    ("column", "value"),
    [("seq", 2), ("stage", "gone"), ("meta", b""), ("request", b"x"), ("wish", 1), ("digest", b"")],
)
def test_a_row_that_was_changed_behind_its_back_is_refused_by_name(path: Path, column: str, value: object) -> None:
    with opened(path) as store:
        store.put([row(1)])
        execute(path, f"UPDATE tasks SET {column} = ?", value)  # noqa: S608 - the names are those above
        for read in (store.rows, lambda: store.get("task-1")):
            with pytest.raises(LedgerError, match=r"ledger\.db is damaged: the row of task task-1 has changed"):
                read()
    with pytest.raises(LedgerError, match="task-1"):
        SqlStore(f"sqlite:///{path}")


def test_a_full_disk_is_named_and_nothing_acknowledged_is_lost(path: Path) -> None:
    done = run(PRELUDE + FULL_DISK, path)
    assert done.returncode == 0, done.stderr
    acknowledged, _, message = done.stdout.partition(" ")
    assert re.search(r"ledger\.db cannot be written: (disk I/O error|database or disk is full)", message)
    assert int(acknowledged) > 5
    with opened(path) as store:
        assert sorted(kept.seq for kept in store.rows()) == [*range(1, int(acknowledged) + 1), 1000]


def test_a_read_only_file_is_named(path: Path) -> None:
    done = run(PRELUDE + READ_ONLY, path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"ledger\.db cannot be written: attempt to write a readonly database", done.stdout)
    with opened(path) as store:
        assert store.rows() == [row(1)]


def test_a_value_that_no_database_can_hold_is_refused_without_showing_the_row(path: Path) -> None:
    with opened(path) as store:
        for wrong in (Row("a", 1 << 63, "c", 0, "living"), Row("a", 1, "\ud800", 0, "living")):
            with pytest.raises(LedgerError, match=r"ledger\.db cannot be written"):
                store.put([wrong])
        assert store.rows() == []


def test_an_error_never_shows_what_is_in_a_row(path: Path) -> None:
    with opened(path) as store:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TRIGGER no BEFORE INSERT ON tasks BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(LedgerError) as refused:
            store.put([Row("a", 1, "spark", 0, "living", place="private")])
    assert "private" not in said(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ledger.db",
        "memory://",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://u:secret@127.0.0.1/x",
        "postgresql//u:secret@127.0.0.1/x",
        "postgresql://u:secret@127.0.0.1:port/x",
        "postgresql://u@127.0.0.1:secret/x",
        "oracle://127.0.0.1/x?password=secret",
    ],
)
def test_a_url_that_is_no_ledger_is_refused_with_what_to_use_and_without_its_password(url: str) -> None:
    with pytest.raises(LedgerError, match=r"use memory://, sqlite:///path or postgresql://") as refused:
        SqlStore(url)
    assert "secret" not in said(refused.value)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refusing(silent: int) -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("form", ["u:secret@127.0.0.1:{port}/x", "127.0.0.1:{port}/x?user=u&password=secret"])
def test_a_postgresql_that_refuses_is_named_without_its_password(form: str, refusing: int) -> None:
    with pytest.raises(LedgerError, match=rf"127\.0\.0\.1:{refusing}/x cannot be opened: .*refused") as refused:
        SqlStore("postgresql://" + form.format(port=refusing))
    assert "secret" not in said(refused.value)


def test_a_postgresql_that_says_nothing_is_given_up(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CONNECT_SECONDS", 1)
    with pytest.raises(LedgerError, match=r"cannot be opened: .*timeout"):
        SqlStore(f"postgresql://u:secret@127.0.0.1:{silent}/x")


def test_a_missing_driver_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerError, match=r"pip install 'flytower\[postgres\]'"):
        SqlStore("postgresql://u@127.0.0.1/x")


def test_it_says_what_it_is_without_its_password(path: Path) -> None:
    with opened(path) as store:
        assert repr(store) == f"<SqlStore sqlite:///{path}>"
        assert store.blocking


def test_a_digest_tells_what_is_not_there_from_what_spells_the_same() -> None:
    assert digest_of(row(1)._replace(meta=None)) != digest_of(row(1)._replace(meta=b"None"))
