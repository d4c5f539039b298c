"""Connecting to the databases that a ledger can be in, with timeouts on everything."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from flytower.actors.ledger.store import LedgerError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine

SQLITE_BEGIN = "sqlite_begin"
"""The execution option that says how transactions begin on SQLite. A migration takes the lock before it looks."""

BUSY_SECONDS = 5.0
"""How long SQLite waits for another process's lock (`flytower tasks` writes beside the server): commits take less."""

OWNER_BUSY_SECONDS = 0.25
"""How long the server itself waits for such a lock: commands of `flytower tasks` hold it for milliseconds, and who asks
for something that cannot be written is told so at once."""

SWITCH_SECONDS = 0.01
"""Until the switch to a log is tried again, while another process switches the same new file: that takes a commit."""

LOG_BYTES = 4 << 20
"""How large SQLite's log may stay after a checkpoint: one burst must not occupy the disk for good."""

CONNECT_SECONDS = 5
"""How long a connection to PostgreSQL may take: a failover is noticed, a slow handshake still succeeds."""

STATEMENT_SECONDS = 10
"""How long one statement may take on PostgreSQL: a stalled database must not hold the ledger for ever."""

SILENCE_SECONDS = 15
"""How long PostgreSQL's host may leave what was sent unacknowledged: a host that is gone says nothing at all."""

USAGE = "use memory://, sqlite:///path or postgresql://user@host/name"


def parse(url: str) -> URL:
    """Read the URL of a ledger.

    Raises:
        LedgerError: It is none; a password in it is not quoted.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # Not quoted, and not chained to what quotes it: what cannot be parsed may have a password anywhere.
        raise LedgerError(f"The ledger's URL cannot be parsed ({type(error).__name__}); {USAGE}") from None
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite")
    raise LedgerError(f"{without_secrets(parsed)} is no ledger; {USAGE}")


def without_secrets(url: URL) -> str:
    """Render a URL for people: a password may be in its query too."""
    return url.set(query={}).render_as_string(hide_password=True)


def is_sqlite(url: URL) -> bool:
    """Whether a ledger is a file."""
    return url.get_backend_name() == "sqlite"


def make_engine(url: URL) -> Engine:
    """Make the pool of connections; none is opened yet."""
    if is_sqlite(url):
        # The pool, and that its connections go from thread to thread, are what SQLAlchemy 1.4 would do otherwise.
        settings = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        engine = create_engine(url, future=True, connect_args=settings, hide_parameters=True, poolclass=QueuePool)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options = f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={STATEMENT_SECONDS}s -c synchronous_commit=on"
    arguments = {
        "connect_timeout": CONNECT_SECONDS,
        "options": options,
        "tcp_user_timeout": 1000 * SILENCE_SECONDS,
        "keepalives_idle": SILENCE_SECONDS,
        "keepalives_interval": SILENCE_SECONDS // 3,
        "keepalives_count": 2,
        "application_name": "flytower",
    }
    pool = {"pool_size": 3, "pool_pre_ping": True}
    return create_engine(url, future=True, connect_args=arguments, hide_parameters=True, **pool)


def wait_less(engine: Engine) -> None:
    """Have the owner of a SQLite file give up soon on a lock that another process holds; it tries again by itself."""
    event.listen(engine, "connect", _wait_less)
    engine.dispose()  # whatever is connected by now waits longer


def _wait_less(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={1000 * OWNER_BUSY_SECONDS:.0f}")


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Readers do not block the writer (WAL), and a commit is on the disk when it returns (FULL)."""
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
    cursor.close()
    # The driver begins no transaction for DDL, and a migration must happen whole or not at all: `_begin_sqlite` does.
    connection.isolation_level = None


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Have it log. Of several that open a new file at once SQLite refuses all but one, and does not wait for it."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(SWITCH_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get(SQLITE_BEGIN, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")
