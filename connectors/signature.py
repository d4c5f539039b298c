"""Which of the things that the server has to give a method has room for: found once, when it is registered."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from flytower.connectors.errors import ConnectorContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Accepted(NamedTuple):
    """The names that a method takes by keyword.

    Args:
        names: Those it names itself.
        rest: Whether it has **kwargs, and so takes any other, too.
        first: Whether its first argument is given by position, because it calls it something else.
    """

    names: frozenset[str]
    rest: bool
    first: bool = False

    def takes(self, name: str) -> bool:
        """Say whether the method has room for this name."""
        return self.rest or name in self.names

    def pick(self, offered: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of the offered things the method has room for."""
        if self.rest:
            return dict(offered)
        return {name: value for name, value in offered.items() if name in self.names}


def inspect_method(label: str, function: Callable[..., Any], offered: Iterable[str], subject: str = "") -> Accepted:
    """Look at a method's parameters.

    Args:
        label: What to call it in messages.
        function: The bound method.
        offered: The names of everything that the server can give it.
        subject: The one that it is about, if any ("resource_meta"): its first parameter may be called otherwise.

    Raises:
        ConnectorContractError: It asks for something that the server does not have, or has no room for its subject.
    """
    parameters = list(inspect.signature(function).parameters.values())
    names = frozenset(parameter.name for parameter in parameters if parameter.kind in _NAMED)
    rest = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    first = bool(subject) and subject not in names and bool(parameters) and _is_positional(parameters[0])
    if subject and not (first or rest or subject in names):
        raise ConnectorContractError(f"{label} has no parameter {subject}")
    given = set(offered) | ({parameters[0].name} if first else set())
    for parameter in parameters:
        if _is_required(parameter) and (
            parameter.name not in given or _is_positional_only(parameter, parameters if first else [])
        ):
            raise ConnectorContractError(
                f"{label} asks for {parameter.name!r}, which it is not given; it is given by name: {', '.join(offered)}"
            )
    return Accepted(names, rest, first)


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )


def _is_positional_only(parameter: inspect.Parameter, parameters: list[inspect.Parameter]) -> bool:
    """Say whether a parameter cannot be given by name; `parameters` is not empty when the first one need not be."""
    return parameter.kind is inspect.Parameter.POSITIONAL_ONLY and parameter not in parameters[:1]


def _is_required(parameter: inspect.Parameter) -> bool:
    variadic = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variadic
