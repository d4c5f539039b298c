"""Bringing a database to this version's schema, with Alembic. Imported when one has not got it: see `revision`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from flytower.actors.ledger.database import SQLITE_BEGIN
from flytower.actors.ledger.store import LedgerError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

SCRIPTS = "flytower.actors.ledger:migrations"
"""Where the migrations are: inside the package, so that an installed Flytower has them."""

MIGRATION_LOCK = 0x666C7974
"""PostgreSQL's number for the lock of whoever migrates ("flyt"): of two servers that start at once, one waits."""


def upgrade(engine: Engine, label: str) -> None:
    """Apply the migrations that the database does not have yet.

    Args:
        engine: The database.
        label: What to call it in an error, without its password.

    Raises:
        LedgerError: A newer version of Flytower has written it.
    """
    config, scripts = _scripts()
    if _is_current(engine, scripts, label):
        return
    with engine.execution_options(**{SQLITE_BEGIN: "IMMEDIATE"}).begin() as connection:
        _lock(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def require_current(engine: Engine, label: str) -> None:
    """Refuse a database that has not this version's schema, without changing it.

    Raises:
        LedgerError: It was written by another version of Flytower, or by none.
    """
    _, scripts = _scripts()
    if not _is_current(engine, scripts, label):
        raise LedgerError(
            f"The ledger {label} is empty, or of an older version of Flytower: start a server with it first, "
            f"which brings it to schema {scripts.get_current_head()}."
        )


def _scripts() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    return config, ScriptDirectory.from_config(config)


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")


def _is_current(engine: Engine, scripts: ScriptDirectory, label: str) -> bool:
    with engine.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise LedgerError(
            f"The ledger {label} has schema {current}, which a newer version of Flytower has written; "
            f"this version knows {scripts.get_current_head()}. Run that version, or a newer one."
        )
    return current == scripts.get_current_head()
