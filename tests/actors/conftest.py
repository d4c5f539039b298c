"""A PostgreSQL for the tests of the ledger, started when the first of them asks for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.actors.postgres_server import NoPostgres, PostgresServer, running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIRED = "FLYTOWER_REQUIRE_POSTGRES"
"""Set where nothing may be skipped: a missing PostgreSQL fails the tests that need it."""


@pytest.fixture(scope="session", name="postgres_server")
def _postgres_server() -> Iterator[PostgresServer]:
    try:
        running = running_postgres()
        server = running.__enter__()
    except NoPostgres as error:
        if os.environ.get(REQUIRED):
            raise
        pytest.skip(str(error))
    yield server
    running.__exit__(None, None, None)


@pytest.fixture(name="postgres")
def _postgres(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database."""
    from sqlalchemy import create_engine  # noqa: PLC0415 - for these tests only

    engine = create_engine(postgres_server.url().replace("postgresql://", "postgresql+psycopg://"))
    name = f"test_{abs(hash(request.node.nodeid)):x}_{os.getpid()}"
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return postgres_server.url(name)
