"""A ledger that an earlier version has left behind opens, with all that was in it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flytower.actors.ledger import migrations
from flytower.actors.ledger.opening import open_store
from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.ledger.store import Command

GOLDEN = sorted((Path(__file__).parent / "ledger_golden").glob("*.sqlite"))


def read(path: Path) -> dict[str, Any]:
    def with_bytes(found: dict[str, Any]) -> Any:
        return bytes.fromhex(found["hex"]) if set(found) == {"hex"} else found

    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), object_hook=with_bytes)
    return data


def schema(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
        return found.fetchall()


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for file in (request.param, request.param.with_suffix(".json")):
        shutil.copy(file, tmp_path)
    return tmp_path / str(request.param.name)


def test_there_is_one_for_each_version_of_the_schema() -> None:
    versions = Path(migrations.__path__[0]) / "versions"
    assert [path.stem for path in GOLDEN] == sorted(path.stem[:5] for path in versions.glob("v*.py"))


def test_it_opens_with_every_row_its_history_its_commands_and_its_respites(golden: Path) -> None:
    expected = read(golden.with_suffix(".json"))
    rows = [Row(**values) for values in expected["rows"]]
    with closing(open_store(f"sqlite:///{golden}")) as store:
        assert sorted(store.rows(), key=lambda row: row.id) == rows
        assert store.commands() == [Command(*values) for values in expected["commands"]]
        for name, version, until in expected.get("respites", []):
            assert store.respite((name, version)) == until
        for row in rows:
            assert [(change.seq, change.note) for change in store.history(row.id)] == [
                (1, "begun"),
                (row.seq, row.note),
            ]


def test_it_comes_to_the_schema_of_a_new_one(golden: Path, tmp_path: Path) -> None:
    SqlStore(f"sqlite:///{golden}").close()
    fresh = tmp_path / "fresh.sqlite"
    SqlStore(f"sqlite:///{fresh}").close()
    assert schema(golden) == schema(fresh)
