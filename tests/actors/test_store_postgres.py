"""The SQL store on a real PostgreSQL: the same rules as everywhere, and what only a server on a network can do."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine

from flytower.actors.ledger import database
from flytower.actors.ledger.conformance import Rule, check_store, rules
from flytower.actors.ledger.opening import open_store, open_to_read
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import LedgerError, LedgerLost
from tests.postgres_server import running_postgres
from tests.processes import process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres_server import PostgresServer

OPENER = """
import sys
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.row import Row

sys.stdin.readline()
store = SqlStore(sys.argv[1])
store.put([Row(sys.argv[2], 1, "spark", 0, "live")])
store.close()
"""


def row(task: str, seq: int = 1) -> Row:
    return Row(task, seq, "spark", 0, "live")


@pytest.fixture(name="own_server")
def _own_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that this test may stop and pause. Asks for the shared one too: it knows whether there is any."""
    assert postgres_server.process.poll() is None
    with running_postgres() as server:
        yield server


@pytest.mark.parametrize("rule", rules(durable=True), ids=lambda rule: rule.__name__)
def test_the_store_on_postgresql_obeys(rule: Rule, postgres: str) -> None:
    rule(lambda: SqlStore(postgres))


def test_the_whole_suite_runs_twice_over_one_database(postgres: str) -> None:
    for _ in range(2):
        check_store(lambda: SqlStore(postgres), durable=True)


def test_two_servers_may_make_the_schema_at_once(postgres: str) -> None:
    with ExitStack() as stack:
        openers = [
            stack.enter_context(
                process([sys.executable, "-c", OPENER, postgres, f"task-{number}"], stdin=subprocess.PIPE)
            )
            for number in range(3)
        ]
        for opener in openers:
            opener.communicate(b"go\n")
        assert [opener.returncode for opener in openers] == [0, 0, 0]
    with closing(SqlStore(postgres)) as store:
        assert sorted(kept.id for kept in store.rows()) == ["task-0", "task-1", "task-2"]


def test_two_stores_that_write_the_same_rows_the_other_way_round_never_block_each_other(postgres: str) -> None:
    ids = [f"task-{number:02}" for number in range(50)]

    def write(order: list[str]) -> None:
        with closing(SqlStore(postgres)) as store:
            for seq in range(1, 20):
                store.put([row(task, seq) for task in order])

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, [ids, ids[::-1]]))
    with closing(SqlStore(postgres)) as store:
        assert {kept.seq for kept in store.rows()} == {19}


def test_every_connection_has_its_time_limits(postgres: str) -> None:
    with closing(SqlStore(postgres)) as store, store.connected() as connection:
        for name, seconds in (("statement_timeout", database.STATEMENT_SECONDS), ("lock_timeout", 10)):
            assert connection.exec_driver_sql(f"SHOW {name}").scalar() == f"{seconds}s"
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        dsn = connection.connection.dbapi_connection.info.get_parameters()  # type: ignore[union-attr]  # psycopg's own
    assert (dsn["connect_timeout"], dsn["tcp_user_timeout"]) == ("5", str(1000 * database.SILENCE_SECONDS))


def test_a_statement_that_takes_too_long_is_given_up_by_name(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "STATEMENT_SECONDS", 1)
    with closing(SqlStore(postgres)) as store, closing(SqlStore(postgres)) as other:
        store.put([row("a")])
        with other._write() as connection:
            connection.exec_driver_sql("LOCK TABLE tasks")
            with pytest.raises(LedgerError, match=r"cannot be written: .*(timeout|canceling)"):
                store.put([row("a", 2)])
        store.put([row("a", 3)])
        assert store.rows() == [row("a", 3)]


def test_a_database_that_was_restarted_is_written_again_and_nothing_acknowledged_is_lost(
    own_server: PostgresServer,
) -> None:
    with closing(open_store(own_server.url())) as store:
        store.put([row("a")])
        own_server.stop()
        with pytest.raises(LedgerError, match=r"cannot be written"):
            store.put([row("b")])
        own_server.start()
        store.put([row("c")])
        assert sorted(kept.id for kept in store.rows()) == ["a", "c"]


def test_a_host_that_stands_still_is_given_up(own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CONNECT_SECONDS", 1)
    own_server.pause()
    with pytest.raises(LedgerError, match=r"cannot be opened: .*timeout"):
        SqlStore(own_server.url())
    own_server.go_on()


# ---- one owner at a time -------------------------------------------------------------------------------------------


def test_a_second_server_is_refused_and_told_who_has_it(postgres: str) -> None:
    with closing(open_store(postgres)), pytest.raises(LedgerError, match=r"in use by process \d+ on .*--ledger"):
        open_store(postgres)
    open_store(postgres).close()


def test_a_server_that_waits_gets_the_ledger_when_the_other_ends(postgres: str) -> None:
    first = open_store(postgres)
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(open_store, postgres, wait=30.0)
        first.close()
        second.result().close()


def test_a_server_whose_session_broke_may_not_write_once_another_has_begun(postgres: str) -> None:
    first = open_store(postgres)
    engine = create_engine(postgres.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    engine.dispose()
    with closing(open_store(postgres)) as second:
        second.put([row("a")])
        with pytest.raises(LedgerLost, match="belongs to another server now"):
            first.put([row("a", 2)])
        assert second.rows() == [row("a")]
    first.close()


def test_operators_may_read_and_ask_beside_the_server(postgres: str) -> None:
    with closing(open_store(postgres)) as server:
        server.put([row("a")])
        with closing(open_to_read(postgres)) as operator:
            assert operator.rows() == [row("a")]
            operator.post("a", "delete", 1.0)
        assert [(each.task, each.action) for each in server.commands()] == [("a", "delete")]


def test_reading_makes_no_schema(postgres: str) -> None:
    with pytest.raises(LedgerError, match="start a server with it first"):
        open_to_read(postgres)


def test_a_wrong_password_is_not_told(own_server: PostgresServer) -> None:
    (own_server.folder / "data" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
    own_server.stop()
    own_server.start()
    url = own_server.url().replace("tester@", "tester:verysecret@")
    with pytest.raises(LedgerError, match="authentication failed") as refused:
        SqlStore(url)
    assert "verysecret" not in f"{refused.value!r} {refused.value.__cause__!r}"
