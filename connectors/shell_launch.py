"""Starting a job's wrapper: a process that is nobody's child, and that runs the command at most once.

The wrapper writes down who it is and links that file to `owner`. A link is made once, whoever tries; so of two
wrappers for one folder, from a repeated create or from a server that died right after it started one, one runs the
command, and the other leaves. There is no moment at which a kill leaves a folder that is claimed by nobody, or a
command that runs for no folder.

The wrapper's variables begin with `_job_`: a shell that finds a name in its environment exports what it assigns to it.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
from typing import TYPE_CHECKING

from flytower.connectors.errors import ConnectorError, PermanentFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LAUNCH_SECONDS = 30.0
"""How long a wrapper may take to claim its folder: milliseconds, unless the machine is out of everything."""

_WRAPPER = r"""
set -f
_job_folder=$1 _job_cwd=$2 _job_ln=$3 _job_mv=$4
shift 4
_job_identify() { _job_group=$3 _job_start=${20}; }
(
    trap : TERM        # a signal for the group is for the command; the wrapper stays to write down how it ended
    read -r _job_stat </proc/self/stat && read -r _job_boot </proc/sys/kernel/random/boot_id || exit 1
    _job_pid=${_job_stat%% *}
    _job_identify ${_job_stat##*) }
    printf '%s %s %s %s\n' "$_job_pid" "$_job_start" "$_job_group" "$_job_boot" \
        >"$_job_folder/owner.$_job_pid" || exit 1
    "$_job_ln" "$_job_folder/owner.$_job_pid" "$_job_folder/owner" || exit 1    # somebody else has it
    exec >>"$_job_folder/stdout" 2>/dev/null </dev/null    # no word of the wrapper among those of the command
    if [ -e "$_job_folder/deleted" ]; then
        _job_code=143  # as if SIGTERM had ended it
    elif cd -- "$_job_cwd" 2>>"$_job_folder/stderr"; then
        (exec "$@") 2>>"$_job_folder/stderr"  # exec: a word that the shell has a meaning for is a program here
        _job_code=$?
    else
        _job_code=126  # what shells say of a command that cannot be executed
    fi
    printf '%s\n' "$_job_code" >"$_job_folder/exit_code.new" &&
        "$_job_mv" -f -- "$_job_folder/exit_code.new" "$_job_folder/exit_code"
) &
"""


def launch(folder: Path, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
    """Run a command for a job folder in a session of its own, unless it runs there already or has.

    Returns when the folder has an owner; the command may not have begun.

    Args:
        folder: The job folder; it exists.
        arguments: The program and its arguments.
        cwd: Where it runs.
        env: Its whole environment.

    Raises:
        PermanentFailure: The command is longer than the system allows.
        ConnectorError: No process could be started; trying again may help.
    """
    tools = [_tool("ln"), _tool("mv")]
    command = [_tool("sh"), "-c", _WRAPPER, "flytower-shell", str(folder), str(cwd), *tools, *arguments]
    try:
        # The wrapper keeps these pipes until it has claimed the folder, so the end of output says that it has.
        done = subprocess.run(  # noqa: S603 - to run the command that its caller chose is what it is for
            command,
            env=dict(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            timeout=LAUNCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConnectorError(f"no process was started for the job within {LAUNCH_SECONDS:g} s") from error
    except OSError as error:
        raise _start_error(error) from error
    if not (folder / "owner").exists():
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise ConnectorError(f"no process was started for the job: {said or 'the wrapper ended without a word'}")


def _start_error(error: OSError) -> ConnectorError:
    if error.errno == errno.E2BIG:
        return PermanentFailure("the command and its environment are longer than the system allows")
    return ConnectorError(f"no process could be started for the job: {error.strerror}")


def _tool(name: str) -> str:
    """Return the path of a tool by the server's own PATH: the job's may lead anywhere."""
    path = shutil.which(name)
    if path is None:
        raise ConnectorError(f"the program `{name}` is not on the PATH of the server; the shell connector needs it")
    return path
