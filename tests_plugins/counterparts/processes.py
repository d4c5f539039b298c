"""Counterparts that are programs: a cluster behind SSH, a cloud's command, moto."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests_plugins.counterparts.jobs import Counterpart, Place
from tests_plugins.environments import environment_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CLUSTER = Path(__file__).resolve().parents[1] / "cluster"

AWS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}

SSH = """
Host cluster
    HostName 127.0.0.1
    Port {port}
    User user
    IdentityFile {folder}/user.key
"""


@contextmanager
def slurm(place: Place) -> Iterator[Counterpart]:
    """Run a login node with Slurm's programs; the server finds it as a user's `ssh` would."""
    variables = _with_programs(place.folder, "sbatch", "scontrol", "scancel")
    (place.folder / "tmp").mkdir()  # where the connector puts its scripts
    with _running(place.python, "ssh_server.py", variables) as port:
        home = place.folder / "home"
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh" / "config").write_text(SSH.format(port=port, folder=place.folder))
        yield Counterpart({"HOME": str(home)}, lambda: _record(place.folder))


@contextmanager
def memory_machine(place: Place) -> Iterator[Counterpart]:
    """Have Memory Machine Cloud's command on the path."""
    secrets = {f"_FSEC_MMC_{name}": name.lower() for name in ("ADDRESS", "USERNAME", "PASSWORD")}
    yield Counterpart(_with_programs(place.folder, "float") | secrets, lambda: _record(place.folder))


@contextmanager
def moto(place: Place) -> Iterator[Counterpart]:
    """Run moto's server."""
    python = environment_of("moto", "moto[server]", flytower=False)
    with _running(python, "moto_server.py", {"CLUSTER": str(place.folder)}) as port:
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        yield Counterpart(AWS | endpoint, lambda: _record(place.folder))


@contextmanager
def _running(python: Path, program: str, variables: dict[str, str]) -> Iterator[int]:
    """Run a server; its port, which it prints when it is ready."""
    command = [str(python), str(CLUSTER / program)]
    environment = {**os.environ, **variables}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def _with_programs(folder: Path, *names: str) -> dict[str, str]:
    """Put programs in a folder; the environment that finds them."""
    (folder / "bin").mkdir()
    for name in names:
        (folder / "bin" / name).symlink_to(CLUSTER / "programs.py")
    return {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "CLUSTER": str(folder)}


def _record(folder: Path) -> list[str]:
    path = folder / "record"
    return path.read_text().splitlines() if path.exists() else []
