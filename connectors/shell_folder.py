"""The folder of a shell job: all that is known of the job is in it, so that any server process can take it up.

owner       who runs the job: the claim, made once
exit_code   how it ended: there when it has, and complete
stdout      what it printed
stderr      likewise
deleted     there when its deletion was asked for while it ran
work/       where it runs unless told otherwise
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import uuid
from pathlib import Path
from typing import NamedTuple

from flytower.connectors.errors import ConnectorError, ResourceMetaError
from flytower.connectors.shell_process import Owner

ROOT_VARIABLE = "FLYTOWER_SHELL_ROOT"
"""The environment variable that says where the job folders are. It must be a disk of this machine."""

STDOUT_LIMIT = 64 * 1024
"""Bytes of standard output that become the task's output: its end, where results are."""

MESSAGE_BYTES = 4 * 1024
"""Bytes at the end of standard error that are searched for the last line."""

_CONTINUATION = 0x80
"""The upper two bits of a byte that does not begin a UTF-8 character."""

_JOB_ID = re.compile(r"[0-9a-f]{32}")


def default_root(environ: dict[str, str] | None = None) -> Path:
    """Return where job folders are kept when nobody says otherwise: among the state files of this user."""
    variables = os.environ if environ is None else environ
    if variables.get(ROOT_VARIABLE):
        return Path(variables[ROOT_VARIABLE])
    state = variables.get("XDG_STATE_HOME", "")
    # The specification of these variables has relative paths ignored.
    home = Path(state) if state.startswith("/") else Path(variables.get("HOME") or Path.home()) / ".local/state"
    return home / "flytower" / "shell"


def prepare_root(root: Path) -> None:
    """Make the root, for this user only, and refuse one that others can write to: they could plant exit codes.

    Raises:
        ConnectorError: It cannot be made, or is open to others.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.stat()
    except OSError as error:
        raise ConnectorError(f"the folder for shell jobs cannot be made ({error}); set {ROOT_VARIABLE}") from error
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConnectorError(
            f"{root} belongs to, or can be written by, somebody else; run chmod 700, or set {ROOT_VARIABLE}"
        )


def job_id_for(key: str | None) -> str:
    """Return the id of the job for an idempotency key; a fresh one without a key."""
    return hashlib.sha256(key.encode()).hexdigest()[:32] if key else uuid.uuid4().hex


def folder_untrusted(root: Path, job_id: str) -> JobFolder:
    """Return the folder for an id that comes from the network.

    Raises:
        ResourceMetaError: It is not an id, but perhaps a path.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise ResourceMetaError("job_id of a shell job must be 32 hexadecimal digits")
    return JobFolder(root / job_id)


class JobFolder(NamedTuple):
    """One job's folder. It blocks, as files do: to be used from threads."""

    path: Path

    def make(self) -> None:
        """Make it, unless it is there."""
        (self.path / "work").mkdir(mode=0o700, parents=True, exist_ok=True)

    def exists(self) -> bool:
        """Say whether there is such a job."""
        return self.path.is_dir()

    def owner(self) -> Owner | None:
        """Return who runs or ran the job; None when it was never started."""
        text = self._read("owner")
        return None if text is None else Owner.parse(text)

    def exit_code(self) -> int | None:
        """Return how the command ended; None when it has not, or died without a word."""
        text = (self._read("exit_code") or "").strip()
        return int(text) if text.isdecimal() else None

    def mark_deleted(self) -> None:
        """Note that the deletion was asked for."""
        (self.path / "deleted").touch()

    def is_deleted(self) -> bool:
        """Say whether the deletion was asked for while the job ran."""
        return (self.path / "deleted").exists()

    def stdout_tail(self) -> str:
        """Return the end of standard output."""
        return _text(self._tail("stdout", STDOUT_LIMIT))

    def last_error_line(self) -> str:
        """Return the last line of standard error that is not blank; "" when there is none."""
        lines = _text(self._tail("stderr", MESSAGE_BYTES)).split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _tail(self, name: str, limit: int) -> bytes:
        try:
            with (self.path / name).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - limit))
                return file.read(limit)
        except FileNotFoundError:
            return b""


def _text(data: bytes) -> str:
    """Decode what may be anything. A character that was cut in half at the start is left out."""
    begin = next((index for index, byte in enumerate(data[:4]) if byte & 0xC0 != _CONTINUATION), 0)
    return data[begin:].decode(errors="replace")
