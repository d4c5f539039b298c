"""Which schema a ledger has is known without Alembic."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory

from flytower.actors.ledger.migrate import SCRIPTS
from flytower.actors.ledger.revision import NEWEST


def test_the_newest_schema_is_that_of_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST]
