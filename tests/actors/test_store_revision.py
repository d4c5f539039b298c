"""Which schema a ledger has is known without Alembic."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from flytower.actors.ledger.migrate import SCRIPTS
from flytower.actors.ledger.revision import NEWEST
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import LedgerError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_newest_schema_is_that_of_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST]


def test_a_package_that_is_missing_is_named_by_whom_it_concerns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flytower.actors.ledger.migrate", None)
    monkeypatch.delattr("flytower.actors.ledger.migrate")
    with pytest.raises(LedgerError, match=r"new\.sqlite needs a package that is missing.*ledger"):
        SqlStore(f"sqlite:///{tmp_path}/new.sqlite")
