"""Write the golden ledger of this version: `python scripts/golden_ledger.py tests/actors/ledger_golden`.

Run it once for each schema. The files it writes are never written again: they prove that later versions can open what
this one has left behind.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from flytower.actors.ledger.row import Row
from flytower.actors.ledger.sql import SqlStore
from flytower.actors.task import Stage
from flytower.protocol.generated.flyteidl.admin import Resource
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase

BEGUN = 1_795_000_000.0
"""A Tuesday in November 2026, in Unix seconds."""


def golden_rows() -> list[Row]:
    """Return a row of every stage, each with something in every column over the whole."""
    rows = []
    for number, stage in enumerate(Stage):
        over = stage in (Stage.FINISHED, Stage.DELETED)
        phase = Phase.SUCCEEDED if over else Phase.RUNNING
        rows.append(
            Row(
                id=f"{number:032x}",
                seq=number + 2,
                category_name="spark",
                category_version=number % 2,
                stage=stage.value,
                key=f"key-{number}",
                generation=1 + number % 2,
                place="place",
                attempt=number,
                fingerprint="f" * 32,
                request=b"\x12\x03abc" if stage in (Stage.RESERVED, Stage.CREATING) else b"",
                meta=None if stage in (Stage.RESERVED, Stage.CREATING, Stage.UNKNOWN) else b'{"job": "%d"}' % number,
                name=b'{"job": "%d"}' % number,
                phase=int(phase),
                resource=bytes(Resource(phase=phase, message=f"task {number}, naïve-任务")),
                wish=stage in (Stage.DELETING, Stage.DELETED),
                verdict=b"\x08\x05" if stage is Stage.DELETING else b"",
                withheld=stage is Stage.CREATING,
                created_at=BEGUN + number,
                changed_at=BEGUN + number + 0.25,
                ended_at=BEGUN + number + 0.25 if over else 0.0,
                note=f"golden {stage.value}",
            )
        )
    return rows


def main(folder: Path) -> None:
    """Write the file, and what must be found in it."""
    path = folder / "v0001.sqlite"
    if path.exists():
        raise SystemExit(f"{path} is there already: a golden file is written once")
    folder.mkdir(parents=True, exist_ok=True)
    rows = golden_rows()
    store = SqlStore(f"sqlite:///{path}")
    store.put([*(Row(row.id, 1, "spark", 0, "reserved", changed_at=BEGUN, note="begun") for row in rows), *rows])
    store.post(rows[2].id, "delete", BEGUN + 100)
    store.own("process 1 on golden")
    store.close()
    expected = {"rows": [row._asdict() for row in rows], "commands": [[1, rows[2].id, "delete", BEGUN + 100]]}
    text = json.dumps(expected, default=lambda value: {"hex": value.hex()}, indent=1, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
