"""What the documents show, done."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flytower.actors.task import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).resolve().parents[2] / "docs"
LEDGER = (DOCS / "ledger.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_python_of_the_ledger_s_document_runs() -> None:
    (program,) = blocks(LEDGER, "python")
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_commands_of_the_ledger_s_document_work(
    start: Callable[..., object], run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    start()
    commands = [line[2:].split() for block in blocks(LEDGER, "console") for line in block.splitlines()]
    assert len(commands) == 3
    for words in commands:
        done = run(*words[1:])
        assert done.returncode == 0, done.stderr


def test_every_state_is_explained() -> None:
    for stage in Stage:
        assert f"`{stage.value}`" in LEDGER
