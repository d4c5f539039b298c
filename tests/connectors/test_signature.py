"""A method is given by name what it has room for; one that asks for more is refused when it is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flytower.connectors import ConnectorContractError
from flytower.connectors.signature import inspect_method

if TYPE_CHECKING:
    from collections.abc import Callable

OFFERED = ("resource_meta", "token", "lines")


def look(function: Callable[..., Any], subject: str = "resource_meta") -> Any:
    return inspect_method("get of X", function, OFFERED, subject)


def test_a_method_gets_what_it_names() -> None:
    accepted = look(lambda resource_meta, lines=0: None)
    assert accepted.pick({"resource_meta": 1, "token": 2, "lines": 3}) == {"resource_meta": 1, "lines": 3}
    assert accepted.takes("lines")
    assert not accepted.takes("token")


def test_a_method_with_kwargs_gets_everything() -> None:
    accepted = look(lambda resource_meta, **kwargs: None)
    assert accepted.pick({"resource_meta": 1, "token": 2}) == {"resource_meta": 1, "token": 2}
    assert accepted.takes("token")


@pytest.mark.parametrize(
    "function", [lambda meta: None, lambda meta, /: None, lambda *args: None, lambda m, *, lines: None]
)
def test_a_method_may_call_its_subject_what_it_likes(function: Callable[..., Any]) -> None:
    assert look(function).first


def test_a_method_may_take_its_subject_as_a_keyword_only() -> None:
    assert not look(lambda **kwargs: None).first
    assert not look(lambda *, resource_meta: None).first


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda resource_meta, secret: None, "asks for 'secret'"),
        (lambda resource_meta, *, secret: None, "asks for 'secret'"),
        (lambda resource_meta, token, /: None, "asks for"),
        (lambda: None, "has no parameter resource_meta"),
        (lambda *, lines=0: None, "has no parameter resource_meta"),
    ],
)
def test_a_method_that_cannot_be_called_is_refused_with_the_reason(function: Callable[..., Any], problem: str) -> None:
    with pytest.raises(ConnectorContractError, match=problem):
        look(function)


def test_a_default_is_no_demand() -> None:
    look(lambda resource_meta, secret="x": None)
