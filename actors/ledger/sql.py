"""The durable stores: SQLite in a file, PostgreSQL for several replicas. One code for both, on SQLAlchemy Core."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, delete, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from flytower.actors.ledger.migrate import SQLITE_BEGIN, upgrade
from flytower.actors.ledger.schema import ROW_FIELDS, row_of, tasks, values_of
from flytower.actors.ledger.store import LedgerError
from flytower.actors.ledger.wal import check_wal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy.engine import URL, Connection, Engine, RowMapping

    from flytower.actors.ledger.row import Row

BUSY_SECONDS = 5.0
"""How long SQLite waits for another process's lock (`flytower tasks` reads beside the server): commits take less."""

CONNECT_SECONDS = 5
"""How long a connection to PostgreSQL may take: a failover is noticed, a slow handshake still succeeds."""

STATEMENT_SECONDS = 10
"""How long one statement may take on PostgreSQL: a stalled database must not hold the ledger for ever."""

REMOVE_ROWS = 500
"""Ids in one DELETE: SQLite allows 999 parameters in a statement in its oldest supported versions."""


class SqlStore:
    """Rows in a table of a database.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, or `postgresql://user@host/database`.

    Raises:
        LedgerError: The database cannot be opened, is damaged, or was written by a newer version of Flytower.
    """

    blocking = True

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self.label = _without_secrets(self._url)
        with self._translated("open"):
            if self._is_sqlite:
                check_wal(self._url.database or "")
            self._engine = self._open()
            with _closed_on_error(self._engine):
                upgrade(self._engine, self.label)
                self._check()
        insert = (sqlite if self._is_sqlite else postgresql).insert(tasks)
        newer = {name: insert.excluded[name] for name in (*ROW_FIELDS, "digest") if name != "id"}
        self._upsert = insert.on_conflict_do_update(
            index_elements=["id"], set_=newer, where=tasks.c.seq < insert.excluded.seq
        )

    def __repr__(self) -> str:
        return f"<SqlStore {self.label}>"

    def put(self, rows: Sequence[Row]) -> None:
        """Write all rows in one transaction."""
        values = [values_of(row) for row in _newest(rows)]
        if values:
            with self._transaction("write") as connection:
                connection.execute(self._upsert, values)

    def remove(self, ids: Iterable[str]) -> None:
        """Take rows out in one transaction."""
        wanted = list(ids)
        with self._transaction("write") as connection:
            for start in range(0, len(wanted), REMOVE_ROWS):
                connection.execute(delete(tasks).where(tasks.c.id.in_(wanted[start : start + REMOVE_ROWS])))

    def get(self, task: str) -> Row | None:
        """Return the row of a task, or None."""
        with self._transaction("read") as connection:
            found = connection.execute(select(tasks).where(tasks.c.id == task)).mappings().first()
        return None if found is None else self._sound(found)

    def rows(self) -> Sequence[Row]:
        """Return all rows."""
        with self._transaction("read") as connection:
            found = connection.execute(select(tasks)).mappings().all()
        return [self._sound(values) for values in found]

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def _open(self) -> Engine:
        if not self._is_sqlite:
            options = f"-c statement_timeout={STATEMENT_SECONDS}s -c synchronous_commit=on"
            arguments = {"connect_timeout": CONNECT_SECONDS, "options": options}
            return create_engine(
                self._url, connect_args=arguments, pool_size=2, pool_pre_ping=True, hide_parameters=True
            )
        engine = create_engine(self._url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _check(self) -> None:
        """Refuse a file whose pages do not fit together, or a row that is not what was written."""
        if self._is_sqlite:
            with self._engine.connect() as connection:
                # Not quick_check, which does not look into indexes: with a wrong one, a task gets a second row.
                verdict = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if verdict != "ok":
                raise LedgerError(f"The ledger {self.label} is damaged: {verdict}. {RESTORE}")
        self.rows()

    def _sound(self, values: RowMapping) -> Row:
        row, intact = row_of(values)
        if not intact:
            raise LedgerError(f"The ledger {self.label} is damaged: the row of task {row.id} has changed. {RESTORE}")
        return row

    @contextmanager
    def _transaction(self, what: str) -> Iterator[Connection]:
        with self._translated(what), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Translate what the database says, once, here."""
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise LedgerError(f"The ledger {self.label} cannot be {PARTICIPLES[what]}: {cause}") from error
        except ImportError as error:
            raise LedgerError(
                f"The ledger {self.label} needs a driver: pip install 'flytower[postgres]' ({error})"
            ) from error
        except (OSError, OverflowError, UnicodeError) as error:
            # The last two are a value that the driver cannot hand to the database.
            raise LedgerError(f"The ledger {self.label} cannot be {PARTICIPLES[what]}: {error}") from error


def _newest(rows: Sequence[Row]) -> Iterable[Row]:
    """Return the row of the highest seq for each id: the first of them, as when each was written alone."""
    newest: dict[str, Row] = {}
    for row in rows:
        if row.id not in newest or newest[row.id].seq < row.seq:
            newest[row.id] = row
    return newest.values()


PARTICIPLES = {"open": "opened", "read": "read", "write": "written"}

RESTORE = (
    "Restore it from a backup, or move it away to begin with an empty one; jobs it knew must then be looked after."
)


USAGE = "use memory://, sqlite:///path or postgresql://user@host/name"


@contextmanager
def _closed_on_error(engine: Engine) -> Iterator[None]:
    """Give the connections back when the store that would close them does not come to be."""
    try:
        yield
    except BaseException:
        engine.dispose()
        raise


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # Not quoted, and not chained to what quotes it: what cannot be parsed may have a password anywhere.
        raise LedgerError(f"The ledger's URL cannot be parsed ({type(error).__name__}); {USAGE}") from None
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite")
    raise LedgerError(f"{_without_secrets(parsed)} is no ledger; {USAGE}")


def _without_secrets(url: URL) -> str:
    """Render a URL for people: a password may be in its query too."""
    return url.set(query={}).render_as_string(hide_password=True)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Readers do not block the writer (WAL), and a commit is on the disk when it returns (FULL)."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
    # The driver begins no transaction for DDL, and a migration must happen whole or not at all: `_begin_sqlite` does.
    connection.isolation_level = None


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get(SQLITE_BEGIN, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")
