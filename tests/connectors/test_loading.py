"""Modules and entry points with connectors: one that fails is named, and the others are served."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from flytower.connectors import ConnectorRegistry, FlyteConnectorNotFound, Registry, load_entry_points, load_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONNECTOR = """
from flytower.connectors import ConnectorRegistry, Resource, SyncConnectorBase, TaskExecution

class Connector(SyncConnectorBase):
    name = {name!r}
    def __init__(self):
        super().__init__(task_type_name={name!r})
    def do(self, task_template, output_prefix, inputs=None, **kwargs):
        return Resource(TaskExecution.SUCCEEDED)
"""

REGISTER = "\nConnectorRegistry.register(Connector())\n"


@pytest.fixture
def write_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored_registry: None
) -> Iterator[Callable[[str, str], str]]:
    """Return a writer of importable modules."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def connector(name: str, after: str = REGISTER) -> str:
    return CONNECTOR.format(name=name) + after


def test_a_module_registers_what_it_has(write_module: Callable[[str, str], str]) -> None:
    assert load_modules([write_module("ft_good", connector("good"))]) == []
    assert ConnectorRegistry.get_connector("good").name == "good"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("def broken(:", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_fails_is_named_and_the_others_are_served(
    write_module: Callable[[str, str], str], text: str, reason: str
) -> None:
    bad, good = write_module("ft_bad", text), write_module("ft_good", connector("good"))
    (failure,) = load_modules([bad, good, "ft_good"])
    assert failure.name == "ft_bad"
    assert failure.reason.startswith(reason)
    assert str(failure).startswith(f"ft_bad: {reason}")
    assert ConnectorRegistry.get_connector("good").name == "good"


def test_a_module_that_is_not_there_is_named(restored_registry: None) -> None:
    (failure,) = load_modules(["no_such_module_anywhere"])
    assert failure.reason == "ModuleNotFoundError: No module named 'no_such_module_anywhere'"


def test_what_a_failing_module_had_registered_is_taken_back(write_module: Callable[[str, str], str]) -> None:
    """Half of its connectors would be served, and nobody would know which."""
    (failure,) = load_modules([write_module("ft_half", connector("half", REGISTER + "raise ValueError('late')"))])
    assert failure.reason == "ValueError: late"
    with pytest.raises(FlyteConnectorNotFound):
        ConnectorRegistry.get_connector("half")


def test_a_key_interrupt_during_an_import_stops_the_loading(write_module: Callable[[str, str], str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_modules([write_module("ft_interrupted", "raise KeyboardInterrupt")])


def test_a_registry_of_ones_own_takes_over_what_was_loaded(write_module: Callable[[str, str], str]) -> None:
    module = write_module("ft_good", connector("good"))
    for registry in (Registry(), Registry()):  # the second time the module is imported already
        assert load_modules([module], registry) == []
        assert registry.get_connector("good").name == "good"


@pytest.fixture
def declare(tmp_path: Path) -> Callable[[dict[str, str]], None]:
    """Return a way to install a package with entry points."""

    def write(points: dict[str, str]) -> None:
        folder = tmp_path / "ft_package-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: ft-package\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[ft.group]", *lines, ""]))

    return write


def test_entry_points_are_modules_classes_or_instances(
    write_module: Callable[[str, str], str], declare: Callable[[dict[str, str]], None]
) -> None:
    write_module("ft_module", connector("module"))
    write_module("ft_class", connector("class", ""))
    write_module("ft_instance", connector("instance", "\nmade = Connector()\n"))
    write_module("ft_both", connector("both"))
    declare({"m": "ft_module", "c": "ft_class:Connector", "i": "ft_instance:made", "b": "ft_both:Connector"})
    for _ in range(2):  # once more changes nothing
        assert load_entry_points("ft.group") == []
    for name in ("module", "class", "instance", "both"):
        assert ConnectorRegistry.get_connector(name).name == name


def test_an_entry_point_that_fails_is_named_and_the_others_are_served(
    write_module: Callable[[str, str], str], declare: Callable[[dict[str, str]], None]
) -> None:
    write_module("ft_bad", "raise SystemExit(1)")
    write_module("ft_good", connector("good"))
    declare({"bad": "ft_bad", "good": "ft_good", "gone": "ft_good:NoSuchThing"})
    registry = Registry()
    failures = {failure.name: failure.reason for failure in load_entry_points("ft.group", registry)}
    assert set(failures) == {"bad = ft_bad", "gone = ft_good:NoSuchThing"}
    assert failures["bad = ft_bad"] == "SystemExit: 1"
    assert registry.get_connector("good").name == "good"


def test_the_connectors_that_ship_are_entry_points(restored_registry: None) -> None:
    registry = Registry()
    assert load_entry_points(registry=registry) == []
    assert registry.get_connector("shell").name == "Shell Connector"
    assert registry.get_connector("webhook").name == "Webhook Connector"
