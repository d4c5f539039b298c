"""What a connector is looked up by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class TaskCategory:
    """A type of task: its name ("spark") and the version of its interface.

    Raises:
        ValueError: The name is empty, or the version is no integer.
    """

    name: str
    version: int = 0

    def __post_init__(self) -> None:
        if type(self.name) is not str or not self.name:
            raise ValueError(f"the name of a task category must be a non-empty string, not {self.name!r}")
        if type(self.version) is not int:
            raise ValueError(f"the version of task category {self.name!r} must be an integer, not {self.version!r}")

    def __str__(self) -> str:
        """Return it the way Flyte's own servers print it in their messages, `spark_v0`."""
        return f"{self.name}_v{self.version}"
