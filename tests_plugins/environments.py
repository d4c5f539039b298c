"""An environment for each plugin: its own, with this tree's Flytower, as a user would have both in an image."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[1]

ENVIRONMENTS = REPOSITORY / ".venv-plugins"

AS_OF = "2026-11-25"
"""What PyPI had on this day is installed, and nothing newer: the same run gives the same table. Move it on at will, and
make the table anew."""

INSTALL_SECONDS = 600
"""How long an install may take: Airflow's and Spark's are hundreds of megabytes."""


class CannotBeInstalled(Exception):  # noqa: N818 - it says what cannot
    """A distribution does not fit into an environment with Flytower and flytekit."""


def environment_of(name: str, *requirements: str, flytower: bool = True) -> Path:
    """Return the Python of an environment that has these requirements; it is made if it is not there.

    Args:
        name: The folder's.
        requirements: What to install, as pip takes it.
        flytower: Whether with Flytower and flytekit.

    Raises:
        CannotBeInstalled: The requirements contradict each other; the message says which.
    """
    folder = ENVIRONMENTS / name
    wanted = [*requirements, "--editable", f"{REPOSITORY}[flytekit]"] if flytower else [*requirements]
    key = _key(wanted)
    made = folder / "made"
    with _locked():
        if not made.exists() or made.read_text() != key:
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
            _uv("pip", "install", "--quiet", "--python", str(folder), "--exclude-newer", AS_OF, *wanted)
            made.write_text(key)
    return folder / "bin" / "python"


def _key(wanted: list[str]) -> str:
    """Name what an environment was made of."""
    content = [AS_OF, sys.version, *wanted, (REPOSITORY / "pyproject.toml").read_text()]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def _uv(*words: str) -> None:
    variables = {**os.environ, "UV_HTTP_TIMEOUT": "180"}  # the largest wheels come slowly
    done = subprocess.run(
        [sys.executable, "-m", "uv", *words],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_SECONDS,
    )
    if done.returncode:
        raise CannotBeInstalled(" ".join(done.stderr.split()))


@contextmanager
def _locked() -> Iterator[None]:
    """One install at a time: they share the tree that is installed, and the line."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
