"""Servers as processes of their own, with a client and a folder each."""

from __future__ import annotations

import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.flytower.conftest import end, launch
from tests.flytower.e2e.client import Flyte
from tests.flytower.e2e.deployment import Deployment
from tests.flytower.e2e.job_processes import kill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent

SPEC_EXAMPLE = HERE.parent.parent / "connectors" / "spec_example.txt"

MODULES = ("end_to_end_connectors", "spec_example")


@pytest.fixture(name="modules", scope="session")
def _modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with modules of connectors, far from where any server runs."""
    folder = tmp_path_factory.mktemp("modules")
    shutil.copy(HERE / "served_connectors.py", folder / "end_to_end_connectors.py")
    shutil.copy(SPEC_EXAMPLE, folder / "spec_example.py")
    return folder


@contextmanager
def deployed(folder: Path, modules: Path, *args: str, mark: str, **variables: Any) -> Iterator[Deployment]:
    """Run a server for a while. Its jobs are left as they are: the mark's owner ends them."""
    server = launch(folder, "--modules", *MODULES, *args, PYTHONPATH=str(modules), **variables)
    try:
        assert server.grpc, server.log()
        with Flyte(server.grpc) as flyte:
            yield Deployment(server, flyte, folder, mark)
    finally:
        end(server)


@pytest.fixture(name="mark")
def _mark() -> Iterator[str]:
    """Mark the shell jobs of a test; what has the mark does not survive it."""
    mark = uuid.uuid4().hex
    try:
        yield mark
    finally:
        kill(mark)


@pytest.fixture(name="deployment", scope="session")
def _deployment(tmp_path_factory: pytest.TempPathFactory, modules: Path) -> Iterator[Deployment]:
    """One server for all tests that only use it."""
    mark = uuid.uuid4().hex
    try:
        with deployed(tmp_path_factory.mktemp("deployment"), modules, mark=mark) as deployment:
            yield deployment
    finally:
        kill(mark)


@pytest.fixture(name="deploy")
def _deploy(tmp_path: Path, modules: Path, mark: str) -> Callable[..., object]:
    """Run servers of a test's own, one after the other in the same folder."""

    def deploy(*args: str, **variables: str) -> object:
        return deployed(tmp_path, modules, *args, mark=mark, **variables)

    return deploy
