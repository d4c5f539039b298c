"""`flytower demo`, as the newcomer types it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "flytower", "demo"]


@pytest.mark.slow
def test_every_job_meets_its_fate_and_the_server_stops_in_order() -> None:
    # The newcomer's own settings must not reach the demo's server: this one would be refused.
    done = subprocess.run(DEMO, capture_output=True, text=True, check=False, env={**os.environ, "FLYTOWER_WRONG": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["SIGTERM: the server stopped in order, exit code 0.", "Every job met its fate."]
    jobs = [line for line in lines[lines.index("") :] if "SUCCEEDED" in line or "FAILED" in line or "ABORTED" in line]
    assert len(jobs) == 12
    assert "deleted: the job that would run for an hour" in lines


def runs(process: int) -> bool:
    """Whether a process runs; an ended one that nobody has collected does not."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind() -> None:
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        running = next(line for line in demo.stdout if "would run for an hour" in line)
        process = int(running.split("process ")[1].split()[0])
        demo.send_signal(signal.SIGINT)
        _, stderr = demo.communicate()
    assert demo.returncode == 130
    assert "Interrupted" in stderr
    assert not runs(process)
