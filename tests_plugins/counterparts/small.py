"""Counterparts of a few lines."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests_plugins.counterparts.jobs import Counterpart, Place
from tests_plugins.counterparts.web import Answer, Asked, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = Path(__file__).resolve().parents[1] / "cluster"


@contextmanager
def web_page(_: Place) -> Iterator[Counterpart]:
    """Take what is posted."""
    record: list[str] = []

    def take(asked: Asked) -> Answer:
        record.append(asked.text)
        return 200, {}

    with serving(take) as port:
        yield Counterpart({"URL": f"http://127.0.0.1:{port}/"}, lambda: record)


@contextmanager
def files(place: Place) -> Iterator[Counterpart]:
    """Have Airflow at home in a folder, and its operators look into the file system there."""
    variables = {
        "AIRFLOW_HOME": str(place.folder / "airflow"),
        "AIRFLOW_CONN_FS_DEFAULT": '{"conn_type": "fs", "extra": {"path": "/"}}',
        "PYTHONPATH": str(MODULES),
    }
    yield Counterpart(variables, list)
