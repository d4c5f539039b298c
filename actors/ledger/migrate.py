"""Bringing a database to this version's schema, with Alembic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from flytower.actors.ledger.store import LedgerError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

SCRIPTS = "flytower.actors.ledger:migrations"
"""Where the migrations are: inside the package, so that an installed Flytower has them."""

SQLITE_BEGIN = "sqlite_begin"
"""The execution option that says how transactions begin on SQLite. A migration takes the lock before it looks."""


def upgrade(engine: Engine, label: str) -> None:
    """Apply the migrations that the database does not have yet.

    Args:
        engine: The database.
        label: What to call it in an error, without its password.

    Raises:
        LedgerError: A newer version of Flytower has written it.
    """
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    scripts = ScriptDirectory.from_config(config)
    if _is_current(engine, scripts, label):
        return
    with engine.execution_options(**{SQLITE_BEGIN: "IMMEDIATE"}).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


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
