"""The durable stores: SQLite in a file, PostgreSQL on a server. One code for both, on SQLAlchemy Core."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, insert, select, update
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from flytower.actors.ledger.database import SQLITE_BEGIN, is_sqlite, make_engine, parse, wait_less, without_secrets
from flytower.actors.ledger.prepared import Prepared
from flytower.actors.ledger.revision import is_current
from flytower.actors.ledger.schema import (
    ROW_FIELDS,
    change_of,
    changes,
    commands,
    owner,
    respites,
    row_of,
    tasks,
    values_of,
)
from flytower.actors.ledger.store import Action, Change, Command, LedgerError, LedgerLost
from flytower.actors.ledger.wal import check_wal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Table
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.engine import URL, Connection, Engine, RowMapping

    from flytower.actors.ledger.row import Row

REMOVE_ROWS = 500
"""Ids in one DELETE: SQLite allows 999 parameters in a statement in its oldest supported versions."""

FIRST_CHANGES = 50
"""Changes at the beginning of a task's history that are kept."""

LAST_CHANGES = 150
"""Changes at its end that are kept: a job whose phase goes to and fro must not fill the disk."""


class SqlStore:
    """Rows in a table of a database.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, or `postgresql://user@host/database`.
        read: Only read it, beside the server that owns it, and leave commands: nothing is made or upgraded.

    Raises:
        LedgerError: The database cannot be opened, is damaged, or was written by a newer version of Flytower.
    """

    blocking = True

    def __init__(self, url: str, *, read: bool = False) -> None:
        self._url = parse(url)
        self.label = without_secrets(self._url)
        self._epoch: int | None = None  # this server's; None as long as it does not own the ledger
        self._writing = Lock()  # one writer at a time: SQLite has no more, and deadlocks have no place to begin
        with self._translated("open"):
            self._engine = make_engine(self._url)
            with _closed_on_error(self._engine):
                self._prepare(read=read)
        row, change = _insert(self._url, tasks), _insert(self._url, changes)
        newer = {name: row.excluded[name] for name in (*ROW_FIELDS, "digest") if name != "id"}
        upsert = row.on_conflict_do_update(index_elements=["id"], set_=newer, where=tasks.c.seq < row.excluded.seq)
        dialect = self._engine.dialect
        self._upsert = Prepared(upsert, dialect)
        self._remember = Prepared(change.on_conflict_do_nothing(), dialect)
        self._look_at_epoch = Prepared(_EPOCH, dialect)

    def __repr__(self) -> str:
        return f"<SqlStore {self.label}>"

    # ---- rows -------------------------------------------------------------------------------------------------

    def put(self, rows: Sequence[Row]) -> None:
        """Write all rows in one transaction."""
        values = [values_of(row) for row in _newest(rows)]
        if not values:
            return
        happened = [change_of(row) for row in rows]
        long = [row for row in values if row["seq"] > FIRST_CHANGES + LAST_CHANGES]
        with self._write() as connection:
            self._upsert.execute_many(connection, values)
            self._remember.execute_many(connection, happened)
            if long:
                connection.execute(_SHORTEN, [{"of": row["id"], "until": row["seq"] - LAST_CHANGES} for row in long])

    def remove(self, ids: Iterable[str]) -> None:
        """Take rows out in one transaction."""
        wanted = sorted(ids)
        with self._write() as connection:
            for start in range(0, len(wanted), REMOVE_ROWS):
                some = wanted[start : start + REMOVE_ROWS]
                for column in (tasks.c.id, changes.c.task, commands.c.task):
                    connection.execute(delete(column.table).where(column.in_(some)))

    def get(self, task: str) -> Row | None:
        """Return the row of a task, or None."""
        with self._read() as connection:
            found = connection.execute(select(tasks).where(tasks.c.id == task)).mappings().first()
        return None if found is None else self._sound(found)

    def rows(self, category: tuple[str, int] | None = None) -> Sequence[Row]:
        """Return all rows, or those of one task category."""
        query = select(tasks)
        if category is not None:
            query = query.where(and_(tasks.c.category_name == category[0], tasks.c.category_version == category[1]))
        with self._read() as connection:
            found = connection.execute(query).mappings().all()
        return [self._sound(values) for values in found]

    def history(self, task: str) -> Sequence[Change]:
        """Return the changes of a task."""
        columns = [changes.c[name] for name in Change._fields]
        with self._read() as connection:
            found = connection.execute(select(*columns).where(changes.c.task == task).order_by(changes.c.seq))
            return [Change(*values) for values in found]

    # ---- commands ---------------------------------------------------------------------------------------------

    def post(self, task: str, action: Action, at: float) -> None:
        """Leave a command."""
        with self._write() as connection:
            connection.execute(insert(commands), {"task": task, "action": action, "at": at})

    def commands(self) -> Sequence[Command]:
        """Return the commands that were not settled."""
        columns = [commands.c[name] for name in Command._fields]
        with self._read() as connection:
            return [Command(*values) for values in connection.execute(select(*columns).order_by(commands.c.number))]

    def settle(self, numbers: Sequence[int]) -> None:
        """Take out commands."""
        with self._write() as connection:
            connection.execute(delete(commands).where(commands.c.number.in_(numbers)))

    # ---- respites ---------------------------------------------------------------------------------------------

    def note_respite(self, category: tuple[str, int], until: float) -> None:
        """Write down until when an external system wants to be left alone."""
        name, version = category
        row = _insert(self._url, respites).values(category_name=name, category_version=version, until=until)
        keys = [respites.c.category_name, respites.c.category_version]
        with self._write() as connection:
            connection.execute(row.on_conflict_do_update(index_elements=keys, set_={"until": row.excluded.until}))

    def respite(self, category: tuple[str, int]) -> float:
        """Return what was written last, 0.0 where nothing was."""
        name, version = category
        of_it = and_(respites.c.category_name == name, respites.c.category_version == version)
        with self._read() as connection:
            return float(connection.execute(select(respites.c.until).where(of_it)).scalar() or 0.0)

    # ---- ownership --------------------------------------------------------------------------------------------

    def own(self, holder: str) -> None:
        """Begin a new epoch: from now on no other server may write, and this one may until the next epoch.

        Args:
            holder: Who this server is, for people.
        """
        with self._write() as connection:
            connection.execute(update(owner).values(epoch=owner.c.epoch + 1, holder=holder))
            self._epoch = connection.execute(select(owner.c.epoch)).scalar_one()
        if is_sqlite(self._url):
            wait_less(self._engine)

    def holder(self) -> str:
        """Return who owned the ledger last."""
        with self._read() as connection:
            return str(connection.execute(select(owner.c.holder)).scalar_one())

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Hold a connection outside of any transaction, for locks of a session."""
        with self._translated("open"), self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    # ---- opening ----------------------------------------------------------------------------------------------

    def _prepare(self, *, read: bool) -> None:
        if is_sqlite(self._url):
            check_wal(self._url.database or "")
        if not is_current(self._engine):
            from flytower.actors.ledger import migrate  # noqa: PLC0415 - Alembic, for whom it has something to do

            (migrate.require_current if read else migrate.upgrade)(self._engine, self.label)
        if not read:
            self._check()

    def _check(self) -> None:
        """Refuse a file whose pages do not fit together, or a row that is not what was written."""
        if is_sqlite(self._url):
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

    # ---- transactions -----------------------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._translated("read"), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """Begin a transaction that may write: the lock first, then the look whether this server still may."""
        with self._writing, self._translated("write"):
            engine = self._engine.execution_options(**{SQLITE_BEGIN: "IMMEDIATE"})
            with engine.begin() as connection:
                if self._epoch is not None:
                    self._fence(connection)
                yield connection

    def _fence(self, connection: Connection) -> None:
        epoch, holder = self._look_at_epoch.one(connection)
        if epoch != self._epoch:
            raise LedgerLost(
                f"The ledger {self.label} belongs to another server now ({holder}): this one must not write to it any "
                f"more, and stops. See that only one server has this ledger at a time."
            )

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Translate what the database says, once, here."""
        try:
            yield
        except (ImportError, NoSuchModuleError) as error:  # SQLAlchemy 1.4 has no psycopg
            raise LedgerError(
                f"The ledger {self.label} needs a package that is missing, or does not fit the others: {error}. "
                f"PostgreSQL's driver comes with pip install 'flytower[postgres]'"
            ) from error
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise LedgerError(f"The ledger {self.label} cannot be {PARTICIPLES[what]}: {cause}") from error
        except (OSError, OverflowError, UnicodeError) as error:
            # The last two are a value that the driver cannot hand to the database.
            raise LedgerError(f"The ledger {self.label} cannot be {PARTICIPLES[what]}: {error}") from error


def _insert(url: URL, into: Table) -> sqlite.Insert | postgresql.Insert:
    """Return a statement that can say what happens on a conflict, in one dialect; the others are not imported."""
    if is_sqlite(url):
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - see above

        return sqlite.insert(into)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - likewise

    return postgresql.insert(into)


_SHORTEN = delete(changes).where(
    and_(changes.c.task == bindparam("of"), changes.c.seq > FIRST_CHANGES, changes.c.seq <= bindparam("until"))
)

_EPOCH = select(owner.c.epoch, owner.c.holder).with_for_update(read=True)
"""Locked against the next owner until the transaction has ended (SQLite, which knows no row locks, has only one)."""


def _newest(rows: Sequence[Row]) -> Iterable[Row]:
    """Return the row of the highest seq for each id: the first of them, as when each was written alone.

    In the order of their ids, so that two who write the same rows never wait for each other in a circle.
    """
    newest: dict[str, Row] = {}
    for row in rows:
        if row.id not in newest or newest[row.id].seq < row.seq:
            newest[row.id] = row
    return [newest[task] for task in sorted(newest)]


PARTICIPLES = {"open": "opened", "read": "read", "write": "written"}

RESTORE = (
    "Restore it from a backup, or move it away to begin with an empty one; jobs it knew must then be looked after."
)


@contextmanager
def _closed_on_error(engine: Engine) -> Iterator[None]:
    """Give the connections back when the store that would close them does not come to be."""
    try:
        yield
    except BaseException:
        engine.dispose()
        raise
