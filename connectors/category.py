"""What a connector is looked up by."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Self


class _NameAndVersion(NamedTuple):
    name: str
    version: int


class TaskCategory(_NameAndVersion):
    """A type of task: its name ("spark") and the version of its interface.

    Raises:
        ValueError: The name is empty, or the version is no integer.
    """

    __slots__ = ()

    def __new__(cls, name: str, version: int = 0) -> Self:
        """Make one, having checked both."""
        if type(name) is not str or not name:
            raise ValueError(f"the name of a task category must be a non-empty string, not {name!r}")
        if type(version) is not int:
            raise ValueError(f"the version of task category {name!r} must be an integer, not {version!r}")
        return super().__new__(cls, name, version)

    def __str__(self) -> str:
        """Return it the way Flyte's own servers print it in their messages, `spark_v0`."""
        return f"{self.name}_v{self.version}"
