"""What becomes of each of flytekit's connector plugins, beside the table that says it."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import metadata
from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from tests.flytower.conftest import READY, ServerProcess, end, launch
from tests.flytower.e2e.client import Flyte
from tests_plugins import table
from tests_plugins.counterparts.jobs import Place
from tests_plugins.environments import CannotBeInstalled, environment_of
from tests_plugins.plugins import PLUGINS, Drive, Plugin
from tests_plugins.site import HALF, Site, failures, listed
from tests_plugins.table import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests_plugins.drives import Driven

pytestmark = pytest.mark.timeout(1800)  # an install may take minutes, and waits for the others

ALWAYS = {"sensor", "webhook", "shell"}
"""Listed without any plugin."""

NO_CLOUD = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_GCE_CHECK": "true",
    "SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true",
}
"""Some clients ask the network where they run: on no cloud."""

names = [plugin.name for plugin in PLUGINS]


@pytest.mark.parametrize("plugin", [p for p in PLUGINS if p.drive], ids=[p.name for p in PLUGINS if p.drive])
def test_a_plugin_is_listed_and_driven_as_the_table_says(
    plugin: Plugin, tmp_path: Path, settle: Callable[[Row], None]
) -> None:
    assert plugin.drive is not None
    python = environment_of(plugin.name, plugin.name)
    own = ALWAYS if plugin.name != "flytekit" else {"shell"}
    types, driven = _drive(plugin, plugin.drive, python, tmp_path)
    served = types - own
    if plugin.pickled:
        assert _listed_without_settings(plugin, python, tmp_path) == types - set(plugin.pickled)
    assert served == set(driven) | set(plugin.undriven)
    settle(Row(plugin.name, _version(plugin, python), _listed(plugin, served), _driven(plugin, driven)))


@pytest.mark.parametrize("plugin", [p for p in PLUGINS if p.broken], ids=[p.name for p in PLUGINS if p.broken])
def test_a_plugin_that_is_broken_is_so_for_the_reason_in_the_table(
    plugin: Plugin, tmp_path: Path, settle: Callable[[Row], None]
) -> None:
    try:
        python = environment_of(plugin.name, plugin.name)
    except CannotBeInstalled as error:
        assert plugin.broken in str(error)  # noqa: PT017 - it may be installed, and not imported
        return settle(Row(plugin.name, "", "", f"cannot be installed: {plugin.broken}"))
    with _served(python, tmp_path) as server, Flyte(server.grpc) as flyte:
        assert listed(flyte) == ALWAYS  # the others are there
        (failure,) = failures(server.log())
        assert plugin.broken in failure["reason"]
    return settle(Row(plugin.name, _version(plugin, python), "", f"cannot be imported: {plugin.broken}"))


def test_the_table_has_these_plugins_and_no_others() -> None:
    assert [row.plugin for row in table.rows()] == names


# ---- doing it ------------------------------------------------------------------------------------------------------


@contextmanager
def _served(python: Path, folder: Path, **variables: str) -> Iterator[ServerProcess]:
    """Run a server as a user would; its log is shown when something fails."""
    command = (str(python), "-m", "flytower", "serve", "--flytekit", "--log-format", "json")
    server = launch(folder, command=command, **NO_CLOUD, **variables)
    try:
        assert server.process.stdout is not None
        while not server.grpc and server.ready:  # some plugins print while they are loaded
            server.ready = server.process.stdout.readline()
            match = READY.fullmatch(server.ready)
            server.grpc = match[1] if match is not None else ""
        assert server.grpc
        yield server
        assert server.stop() == 0
    except BaseException as error:
        error.add_note(server.log())
        raise
    finally:
        end(server)


def _listed_without_settings(plugin: Plugin, python: Path, folder: Path) -> set[str]:
    """Serve a plugin that pickles metadata without allowing it; what is listed then."""
    with _served(python, folder) as server, Flyte(server.grpc) as flyte:
        refused = [line for line in failures(server.log()) if "flytekit_pickled_metadata" in line["reason"]]
        assert sorted(line["task_type"] for line in refused) == sorted(plugin.pickled)
        return listed(flyte)


def _drive(plugin: Plugin, drive: Drive, python: Path, folder: Path) -> tuple[set[str], Driven]:
    """Serve a plugin beside its counterpart, and drive it; what is listed, and what was done."""
    settings = {
        "FLYTOWER_FLYTEKIT_PICKLED_METADATA": ",".join(plugin.pickled),
        "FLYTOWER_FLYTEKIT_OWN_LOOP": ",".join(plugin.own_loop),
    }
    place = Place(folder / "counterpart", python)
    place.folder.mkdir()
    with (
        drive.counterpart(place) as counterpart,
        _served(python, folder, **settings, **drive.variables, **counterpart.variables) as server,
        Flyte(server.grpc) as flyte,
    ):
        assert failures(server.log()) == []
        return listed(flyte), drive.ask(Site(flyte, counterpart, folder))


# ---- saying it -----------------------------------------------------------------------------------------------------


def _version(plugin: Plugin, python: Path) -> str:
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    (found,) = metadata.distributions(name=plugin.name, path=[str(packages)])
    return found.version


def _listed(plugin: Plugin, served: set[str]) -> str:
    freely = ", ".join(f"`{name}`" for name in sorted(served - set(plugin.pickled)))
    named = ", ".join(f"`{name}`" for name in sorted(served & set(plugin.pickled)))
    return "; ".join(part for part in (freely, named and f"pickled metadata: {named}") if part)


def _driven(plugin: Plugin, driven: Driven) -> str:
    assert plugin.drive is not None
    said = {name: _verbs(name, plugin, driven) for name in sorted({*driven, *plugin.undriven})}
    ordered = sorted(said, key=lambda name: (len(said[name]), said[name]))  # what needs explaining comes last
    groups = groupby(ordered, key=said.__getitem__)
    parts = [f"{', '.join(f'`{name}`' for name in group)}: {verbs}" for verbs, group in groups]
    return f"{'; '.join(parts)}; against {plugin.drive.against}"


def _verbs(name: str, plugin: Plugin, driven: Driven) -> str:
    if name not in plugin.undriven:
        return driven[name]
    return f"{HALF} ({plugin.undriven[name]})" if name in driven else f"not driven ({plugin.undriven[name]})"
