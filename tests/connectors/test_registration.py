"""What is told a connector that cannot work, when it is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flytower.connectors import (
    AsyncConnectorBase,
    Bound,
    ConnectorContractError,
    ConnectorError,
    ConnectorMethodNotImplemented,
    Flavour,
    Policy,
    Recovery,
)
from tests.connectors.recording import Full, Meta, Recording, Sync

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_connector_with_a_method_missing_cannot_be_made() -> None:
    class Half(AsyncConnectorBase):
        def create(self, *args: Any, **kwargs: Any) -> Any: ...

    with pytest.raises(TypeError, match="abstract"):
        Half(task_type_name="half", metadata_type=Meta)  # type: ignore[abstract]


@pytest.mark.parametrize("kind", [Meta("1"), dict, None])
def test_a_metadata_type_that_is_none_is_refused(kind: Any) -> None:
    with pytest.raises(ConnectorContractError, match="metadata_type"):
        Recording(metadata_type=kind)


def changed(**attributes: Any) -> Callable[[], Recording]:
    return type("Changed", (Recording,), attributes)


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"name": ""}, "name must be"),
        ({"name": 5}, "name must be"),
        ({"policy": {"get_timeout": 1}}, "policy must be"),
        ({"flavour": "asyncio"}, "flavour must be"),
        ({"flavour": Flavour.THREAD}, "flavour must be"),
        ({"policy": Policy(recovery=Recovery.FIND)}, "no method `find`"),
        ({"get": lambda self, resource_meta, secret: None}, "get of Recording asks for 'secret'"),
        ({"create": lambda self, project: None}, "create of Recording asks for 'project'"),
        (
            {"create": lambda self, task_template: None, "policy": Policy(recovery=Recovery.TOKEN)},
            "takes no `idempotency_key`",
        ),
    ],
)
def test_a_connector_that_cannot_work_is_refused_at_registration(attributes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConnectorContractError, match=problem):
        Bound(changed(**attributes)())


def test_a_connector_that_forgot_its_base_class_is_told_so() -> None:
    with pytest.raises(ConnectorContractError, match="super"):
        Bound(changed(__init__=lambda self: None)())


def test_something_else_is_no_connector() -> None:
    with pytest.raises(ConnectorContractError):
        Bound("connector")  # type: ignore[arg-type]


def test_what_is_known_of_a_connector_is_there_to_read() -> None:
    bound = Bound(Full())
    assert (bound.name, str(bound.category), bound.is_sync) == ("Recording", "recording_v0", False)
    assert bound.capabilities.metrics
    assert bound.capabilities.find
    assert bound.capabilities.idempotency_key
    assert repr(bound) == "<Bound 'Recording' for recording_v0>"
    assert Bound(Sync()).is_sync


def test_errors_about_connectors_have_one_base() -> None:
    assert issubclass(ConnectorContractError, ConnectorError)
    assert issubclass(ConnectorMethodNotImplemented, ConnectorError)
