"""`from flytower import ...`."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import version

import pytest

import flytower

SPECIFIED = {
    # connectors-spec.md: each name, and the room it lives in
    "TaskCategory": "flytower.connectors.category",
    "ResourceMeta": "flytower.connectors.resource_meta",
    "Resource": "flytower.connectors.resource",
    "ConnectorBase": "flytower.connectors.base",
    "AsyncConnectorBase": "flytower.connectors.base",
    "SyncConnectorBase": "flytower.connectors.base",
    "ConnectorRegistry": "flytower.connectors.registry",
    "FlyteConnectorNotFound": "flytower.connectors.errors",
    "AsyncConnectorService": "flytower.actors.gateway",
    "SyncConnectorService": "flytower.actors.gateway",
    "ConnectorMetadataService": "flytower.actors.gateway",
    "AsyncConnectorExecutorMixin": "flytower.actors.local",
    "SyncConnectorExecutorMixin": "flytower.actors.local",
    # what its example imports from flytekit's models
    "TaskTemplate": "flytower.protocol.generated.flyteidl.core",
    "LiteralMap": "flytower.protocol.generated.flyteidl.core",
    "TaskExecution": "flytower.connectors.resource",
}


@pytest.mark.parametrize("name", SPECIFIED)
def test_every_name_of_the_specification_is_here_and_is_that_of_its_room(name: str) -> None:
    assert getattr(flytower, name) is getattr(importlib.import_module(SPECIFIED[name]), name)
    assert name in flytower.__all__


def test_every_public_name_can_be_imported_and_is_listed_once() -> None:
    assert len(flytower.__all__) == len(set(flytower.__all__))
    assert set(flytower.__all__) <= set(dir(flytower))
    for name in flytower.__all__:
        assert getattr(flytower, name) is not None


def test_the_version_is_that_of_the_distribution() -> None:
    assert flytower.__version__ == version("flytower")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Spark'"):
        _ = flytower.Spark


def imported_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_import_flytower_imports_nothing_else() -> None:
    assert not {"trio", "asyncio", "grpclib", "flytower.connectors"} & imported_by("import flytower")


def test_importing_a_connectors_base_does_not_start_a_server() -> None:
    modules = imported_by("from flytower import AsyncConnectorBase")
    assert "flytower.actors.node" not in modules


def test_help_and_version_import_no_event_loop() -> None:
    assert "trio" not in imported_by("import flytower.cli.app")
