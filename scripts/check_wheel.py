"""Builds the wheel and checks it as a user would meet it.

That it holds every module of the five rooms; that imports in it point one way (import-linter does not follow the links
of `.typing`, so it reads the unpacked wheel); and that its command line works from a clean environment.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "flytower": "flytower",
    **{room: f"flytower/{room}" for room in ("runtime", "protocol", "connectors", "actors")},
}
START_SECONDS = 60
"""How long a fresh environment's first start may take: it compiles every module."""


def main() -> None:
    """Check, and exit with what went wrong."""
    with tempfile.TemporaryDirectory(prefix="flytower-wheel-") as scratch:
        wheel = build(Path(scratch))
        check_contents(wheel)
        check_imports(wheel, Path(scratch))
        check_command_line(wheel, Path(scratch))
    print(f"{wheel.name}: complete, imports point one way, the command line works")


def build(scratch: Path) -> Path:
    """Build the wheel from the tree as it is: setuptools would pack what an earlier build has left in `build`."""
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(scratch / "dist"), str(ROOT))
    (wheel,) = (scratch / "dist").glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Compare the modules in the wheel with those in the tree."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name for name in archive.namelist() if name.endswith((".py", "py.typed")) and ".dist-info/" not in name
        }
    listed = run("git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", *ROOMS).splitlines()
    expected = set()
    for name in listed:
        room, _, rest = name.partition("/")
        if name.endswith((".py", "py.typed")) and (ROOT / name).exists():
            expected.add(f"{ROOMS[room]}/{rest}")
    if packed != expected:
        sys.exit(f"the wheel lacks {sorted(expected - packed)} and has in excess {sorted(packed - expected)}")


def check_imports(wheel: Path, scratch: Path) -> None:
    """Run import-linter on the unpacked wheel, from a folder where the tree's own packages are out of reach."""
    unpacked = scratch / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    linter = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    run(str(linter), "--config", str(ROOT / "pyproject.toml"), "--no-cache", cwd=unpacked, env=environment)


def check_command_line(wheel: Path, scratch: Path) -> None:
    """Install the wheel into an environment of its own, start its server, and stop it."""
    venv = scratch / "venv"
    run(sys.executable, "-m", "venv", str(venv))
    run(str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    command = str(venv / "bin/flytower")
    print(run(command, "--version", cwd=scratch).strip())
    server = subprocess.Popen(
        [command, "serve", "--port", "0", "--metrics-port", "0"], stdout=subprocess.PIPE, text=True, cwd=scratch
    )
    try:
        ready = server.stdout.readline() if server.stdout is not None else ""
        if not re.match(r"flytower ready grpc=127\.0\.0\.1:\d+ metrics=127\.0\.0\.1:\d+$", ready):
            sys.exit(f"the installed server said {ready!r} instead of where it listens")
        server.send_signal(signal.SIGTERM)
        if server.wait(START_SECONDS) != 0:
            sys.exit(f"the installed server ended with {server.returncode} on SIGTERM")
    finally:
        if server.poll() is None:
            server.kill()


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command and return its output; end with all that it said when it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
