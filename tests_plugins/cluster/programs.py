#!/usr/bin/env python3
"""The programs of a batch system, which really runs its jobs: here, in the folder CLUSTER.

It acts by the name that it is called with: Slurm's sbatch, scontrol and scancel, or Memory Machine Cloud's float. What
changes something is noted in the file `record`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

CLUSTER = Path(os.environ["CLUSTER"])

STATUS = {"running": "Executing", "completed": "Completed", "failed": "FailToComplete", "cancelled": "Cancelled"}
"""How Memory Machine Cloud calls the states."""

RUN = 'code=$1; shift; bash "$0" "$@"; echo $? > "$code"'


def start(script: Path, arguments: list[str]) -> str:
    """Start a job; return its number."""
    number = str(1 + len(list(CLUSTER.glob("*.pid"))))
    copy = shutil.copy(script, CLUSTER / f"{number}.sh")
    with (CLUSTER / f"{number}.out").open("w") as output:
        command = ["bash", "-c", RUN, str(copy), str(CLUSTER / f"{number}.code"), *arguments]
        job = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    (CLUSTER / f"{number}.pid").write_text(str(job.pid))
    note("create", number)
    return number


def state(number: str) -> str:
    """Say how a job is."""
    if (CLUSTER / f"{number}.cancelled").exists():
        return "cancelled"
    code = CLUSTER / f"{number}.code"
    ended = code.read_text().strip() if code.exists() else ""
    return {"": "running", "0": "completed"}.get(ended, "failed")


def cancel(number: str) -> None:
    """End a job."""
    (CLUSTER / f"{number}.cancelled").touch()
    os.killpg(int((CLUSTER / f"{number}.pid").read_text()), signal.SIGKILL)
    note("cancel", number)


def note(*words: str) -> None:
    """Keep the record."""
    with (CLUSTER / "record").open("a") as record:
        record.write(" ".join(words) + "\n")


def sbatch(words: list[str]) -> str:
    """Submit the script behind the options, which have a value each; its path is seen from the cluster's root."""
    while words[0].startswith("--"):
        words = words[2:]
    script, *arguments = words
    return f"Submitted batch job {start(CLUSTER / script.lstrip('/'), arguments)}"


def scontrol(words: list[str]) -> str:
    """Show a job in JSON."""
    number = words[-1]
    return json.dumps({"jobs": [{"job_state": [state(number).upper()], "standard_output": f"/{number}.out"}]})


def scancel(words: list[str]) -> str:
    """Cancel a job."""
    cancel(words[-1])
    return ""


def opencenter(words: list[str]) -> str:
    """Do what Memory Machine Cloud's `float` does: log in, submit, show, cancel."""
    session = CLUSTER / "session"
    options = dict(pairwise(words))
    if words[0] == "login" and "--info" not in words:
        session.write_text(f"{options['--username']} {options['--password']}")
        return ""
    if not session.exists():
        sys.exit("log in first")
    match words[0]:
        case "submit":
            return json.dumps({"id": start(Path(options["--job"]), [])})
        case "show":
            return json.dumps({"status": STATUS[state(options["--job"])]})
        case "cancel":
            cancel(options["--job"])
    return ""


PROGRAMS: dict[str, Callable[[list[str]], str]] = {
    "sbatch": sbatch,
    "scontrol": scontrol,
    "scancel": scancel,
    "float": opencenter,
}

if __name__ == "__main__":
    sys.stdout.write(PROGRAMS[Path(sys.argv[0]).name](sys.argv[1:]) + "\n")
