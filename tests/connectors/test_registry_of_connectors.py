"""Which connector serves which task category, and what is said about it."""

from __future__ import annotations

from typing import Any

import pytest

from flytower.connectors import (
    Agent,
    ConnectorRegistry,
    FlyteConnectorNotFound,
    Registry,
    SyncConnectorBase,
    TaskCategory,
)
from flytower.connectors.shell import ShellConnector
from flytower.protocol.generated.flyteidl import admin


def sync(task_type: str = "t", version: int = 0, name: str = "N") -> SyncConnectorBase:
    class Sync(SyncConnectorBase):
        def do(self, task_template: Any, output_prefix: str, inputs: Any = None, **kwargs: Any) -> Any: ...

    Sync.name = name
    return Sync(task_type_name=task_type, task_type_version=version)


def test_a_connector_is_found_by_type_and_version() -> None:
    registry = Registry()
    zero, one = sync("t", 0), sync("t", 1)
    registry.register(zero)
    registry.register(one)
    assert registry.get_connector("t") is zero
    assert registry.get_connector("t", 1) is one
    assert registry.get_bound("t", 1).connector is one
    assert [bound.connector for bound in registry.list_bound()] == [zero, one]


def test_what_is_not_there_is_said_in_flytekits_words() -> None:
    registry = Registry()
    with pytest.raises(FlyteConnectorNotFound, match=r"^Cannot find connector for task category: t_v3\.$"):
        registry.get_connector("t", 3)
    with pytest.raises(FlyteConnectorNotFound, match=r"^Cannot find connector for name: N\.$"):
        registry.get_connector_metadata("N")


def test_a_second_connector_for_a_category_needs_override() -> None:
    registry = Registry()
    first, second = sync(name="First"), sync(name="Second")
    registry.register(first)
    with pytest.raises(ValueError, match=r"^Duplicate connector for task type: t_v0$"):
        registry.register(second)
    assert registry.get_connector("t") is first
    registry.register(second, override=True)
    assert registry.get_connector("t") is second
    assert [agent.name for agent in registry.list_connectors()] == ["Second"]


def test_connectors_of_one_name_are_listed_as_one_with_both_fields() -> None:
    """Flyte's two clients read one field each."""
    registry = Registry()
    for connector in (sync("a", 0), sync("a", 1), sync("b", 0), sync("c", name="Other")):
        registry.register(connector)
    category = admin.TaskCategory
    assert registry.list_connectors() == [
        Agent(
            name="N",
            is_sync=True,
            supported_task_types=["a", "b"],
            supported_task_categories=[category(name="a"), category(name="a", version=1), category(name="b")],
        ),
        Agent(
            name="Other",
            is_sync=True,
            supported_task_types=["c"],
            supported_task_categories=[category(name="c")],
        ),
    ]
    assert registry.get_connector_metadata("N") == registry.list_connectors()[0]


def test_registering_again_with_override_does_not_list_it_twice() -> None:
    registry = Registry()
    registry.register(sync())
    registry.register(sync(), override=True)
    assert registry.get_connector_metadata("N").supported_task_types == ["t"]
    assert len(registry.get_connector_metadata("N").supported_task_categories) == 1


def test_a_name_cannot_be_synchronous_and_asynchronous() -> None:
    registry = Registry()
    registry.register(sync(name="Shell Connector"))
    with pytest.raises(ValueError, match="synchronous and an asynchronous"):
        registry.register(ShellConnector())
    assert len(registry.list_bound()) == 1


def test_registries_are_independent_and_can_take_over_from_another() -> None:
    first, second = Registry(), Registry()
    mine = sync("t")
    first.register(mine)
    second.register(sync("t"))
    second.register(sync("u"))
    first.include(second)
    assert first.get_connector("t") is mine
    assert first.get_connector("u") is second.get_connector("u")
    copied = first.copy()
    copied.register(sync("v"))
    with pytest.raises(FlyteConnectorNotFound):
        first.get_connector("v")
    assert repr(first) == "<Registry of t_v0, u_v0>"
    assert repr(Registry()) == "<Registry of nothing>"


def test_the_registry_of_the_process_has_the_same_methods(restored_registry: None) -> None:
    connector = sync("process-wide", name="Process-wide")
    ConnectorRegistry.register(connector)
    assert ConnectorRegistry.get_connector("process-wide") is connector
    assert ConnectorRegistry.get_connector_metadata("Process-wide").is_sync
    assert ConnectorRegistry.get_connector_metadata("Process-wide") in ConnectorRegistry.list_connectors()
    with pytest.raises(ValueError, match="Duplicate"):
        ConnectorRegistry.register(connector)
    ConnectorRegistry.register(connector, override=True)


def test_a_category_is_a_value() -> None:
    assert TaskCategory("spark") == TaskCategory(name="spark", version=0)
    assert len({TaskCategory("spark"), TaskCategory("spark"), TaskCategory("spark", 1)}) == 2
    assert str(TaskCategory("spark", 1)) == "spark_v1"
    with pytest.raises(AttributeError):
        TaskCategory("spark").version = 2  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(("name", "version"), [("", 0), (None, 0), ("x", "1"), ("x", True), ("x", 1.0)])
def test_a_category_that_is_none_is_refused(name: Any, version: Any) -> None:
    with pytest.raises(ValueError, match="task category"):
        TaskCategory(name, version)
