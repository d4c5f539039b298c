"""What all tests share: no time limits on hypothesis' examples, no blocking call on the event loop, a PostgreSQL."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import blockbuster.blockbuster as detector
import pytest
import trio
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine

from tests.postgres_server import NoPostgres, PostgresServer, running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ADDRESS = re.compile(r" at 0x[0-9a-f]+")

WATCHED = ("flytower", "flytower.runtime", "flytower.protocol", "flytower.connectors", "flytower.actors")
"""Whose calls must not block: a test itself may, when nothing else runs on its loop."""


MAY_BLOCK = (
    ("prometheus_client/process_collector.py", {"collect"}),  # it reads /proc, which is no disk
    ("actors/local.py", {"execute"}),  # synchronous by contract: who calls it inside a loop waits, and so does the loop
    ("linecache.py", {"updatecache", "checkcache"}),  # a traceback reads its source, once, for a crash in the log
)
"""Where calls that look blocking are not: a file's end, and its functions."""


FLYTEKIT_IS_MISSING = sys.version_info >= (3, 13)
"""flytekit does not install there. Everywhere else its absence fails the tests that need it."""

NEED_FLYTEKIT = [
    "actors/test_local_takeover.py",
    "connectors/flytekit",
    "flytower/e2e/test_end_to_end_flytekit.py",
    "flytower/e2e/test_flytekit_tasks.py",
    "flytower/e2e/test_local_interruptions.py",
    "flytower/e2e/test_local_runs.py",
    "flytower/e2e/test_run_flytekit.py",
    "flytower/e2e/test_spec_workflow.py",
    "flytower/e2e/test_unchanged_tasks.py",
    "flytower/test_docs_flytekit.py",
    "protocol/test_literal_types.py",
]

collect_ignore = NEED_FLYTEKIT if FLYTEKIT_IS_MISSING else []


def pytest_report_header() -> str | None:
    """Say what is not run, where something is not."""
    return f"without flytekit, and so without {', '.join(NEED_FLYTEKIT)}" if FLYTEKIT_IS_MISSING else None


def pytest_collection_finish() -> None:
    """Give Ctrl-C back to whom it belongs: flytekit, which some tests import, has made it the exit of the process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _TrioLoops:
    """Answers blockbuster's only question, whether this thread runs an event loop, for trio instead of asyncio."""

    @staticmethod
    def get_running_loop() -> object:
        if trio.lowlevel.in_trio_run():
            return trio
        raise RuntimeError("this thread runs no trio")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a parameter by what it is, and the same in each process: without addresses."""
    return None if val is None or isinstance(val, str | bytes | int | float | type) else ADDRESS.sub("", repr(val))


@pytest.fixture(autouse=True)
def nothing_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockBuster]:
    """A call of the project's code that blocks the loop's thread fails the test; worker threads may block."""
    monkeypatch.setattr(detector, "asyncio", _TrioLoops)
    buster = BlockBuster(scanned_modules=list(WATCHED))
    for function in buster.functions.values():
        for file, callers in MAY_BLOCK:
            function.can_block_in(file, callers)
    buster.activate()
    yield buster
    buster.deactivate()


# ---- PostgreSQL ------------------------------------------------------------------------------------------------

REQUIRED = "REQUIRE_POSTGRES"
"""Set where nothing may be skipped: a missing PostgreSQL fails the tests that need it. No `FLYTOWER_` variable, which
would be a setting."""


@pytest.fixture(scope="session", name="postgres_server")
def _postgres_server() -> Iterator[PostgresServer]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except NoPostgres as error:
            if os.environ.get(REQUIRED):
                raise
            pytest.skip(str(error))
        yield server


@pytest.fixture(name="postgres")
def _postgres(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database."""
    engine = create_engine(postgres_server.url().replace("postgresql://", "postgresql+psycopg://"))
    name = f"test_{abs(hash(request.node.nodeid)):x}_{os.getpid()}"
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return postgres_server.url(name)
