"""What these tests share: whether they compare the table with what is, or write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests_plugins import table
from tests_plugins.plugins import PLUGINS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests_plugins.table import Row


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the option that has the table written."""
    parser.addoption("--write-table", action="store_true", help="Write the table of docs/flytekit.md.")


@pytest.fixture(name="settle")
def _settle(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Compare a row with the document's, or put it there."""

    def settle(row: Row) -> None:
        if request.config.getoption("--write-table"):
            table.write(row, [plugin.name for plugin in PLUGINS])
        assert row in table.rows()

    return settle
