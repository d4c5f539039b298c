"""An Airflow operator as a user writes it: it starts something, and defers to a trigger that notices its end."""

from typing import Any

from airflow.models import BaseOperator
from airflow.triggers.file import FileTrigger


class FileOperator(BaseOperator):  # type: ignore[misc]  # Airflow is there only where it runs
    """Has somebody write a file, and waits for that.

    Args:
        path: The file.
        asked: A file where the wish is noted.
        deferrable: Taken, since the plugin asks every operator for it.
    """

    def __init__(self, path: str, asked: str, *, deferrable: bool = True, **named: Any) -> None:
        super().__init__(**named)
        self.path, self.asked, self.deferrable = path, asked, deferrable

    def execute(self, context: Any) -> None:
        """Ask, and wait."""
        with open(self.asked, "a") as asked:  # noqa: PTH123 - as users write
            asked.write(f"{self.path}\n")
        self.defer(trigger=FileTrigger(filepath=self.path, poke_interval=0.2), method_name="written")  # noqa: AIR312 - Airflow 2

    def written(self, context: Any, event: Any) -> None:
        """Take the end for good."""
