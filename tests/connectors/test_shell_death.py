"""Shell jobs that die, that are deleted, and servers that die beside them."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import trio

from flytower.connectors import (
    TaskExecution,
)
from tests.connectors.shell_answers import log_of, outputs

if TYPE_CHECKING:
    from pathlib import Path


RESISTING = "trap '' TERM; echo ready; while :; do sleep 0.05; done"

in_thread = trio.to_thread.run_sync


# ---- death ----------------------------------------------------------------------------------------------------


async def test_a_job_that_is_killed_with_its_wrapper_is_retryable(shell: Any) -> None:
    meta = await shell.create("echo ready; sleep 60")
    await shell.printed(meta, "ready")
    os.killpg((await shell.owner(meta)).group, signal.SIGKILL)
    resource = await shell.end_of(meta)
    assert resource.phase is TaskExecution.RETRYABLE_FAILED
    assert "without an exit code" in resource.message
    assert resource.outputs is None


async def test_what_a_killed_wrapper_leaves_behind_does_not_run_beside_the_retry(shell: Any) -> None:
    meta = await shell.create(RESISTING)
    await shell.printed(meta, "ready")
    owner = await shell.owner(meta)
    os.kill(owner.pid, signal.SIGKILL)
    assert (await shell.end_of(meta)).phase is TaskExecution.RETRYABLE_FAILED
    while await in_thread(owner.members):  # noqa: ASYNC110 - a real process, which tells nothing unasked
        await trio.sleep(0.01)


async def test_a_job_of_an_earlier_boot_is_dead_whatever_has_its_number_now(shell: Any) -> None:
    meta = await shell.create("sleep 60")
    folder = shell.folder(meta)
    owner = await in_thread(folder.owner)
    text = f"{owner.pid} {owner.start} {owner.group} another-boot\n"
    (folder.path / "owner").unlink()
    (folder.path / "owner").write_text(text)
    assert (await shell.bound.get(meta)).phase is TaskExecution.RETRYABLE_FAILED
    await shell.bound.delete(meta)
    assert await in_thread(owner.is_alive)  # nothing of this boot was touched
    await in_thread(owner.signal, signal.SIGKILL)


async def test_a_number_that_is_used_again_is_nobody_that_we_know(shell: Any) -> None:
    """A process with the wrapper's number and another start time is a stranger: dead, and never signalled."""
    meta = await shell.create("true")
    await shell.end_of(meta)
    folder = shell.folder(meta)
    (folder.path / "exit_code").unlink()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:  # noqa: ASYNC220 - it starts at once
        boot = (await in_thread(folder.owner)).boot
        (folder.path / "owner").unlink()
        (folder.path / "owner").write_text(f"{stranger.pid} 1 {stranger.pid} {boot}\n")
        assert (await shell.bound.get(meta)).phase is TaskExecution.RETRYABLE_FAILED
        await shell.bound.delete(meta)
        assert stranger.poll() is None
        stranger.kill()


# ---- deleting -------------------------------------------------------------------------------------------------


async def test_a_deleted_job_gets_sigterm_first_and_may_clean_up(shell: Any) -> None:
    meta = await shell.create("trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    await shell.printed(meta, "ready")
    await shell.bound.delete(meta)
    resource = await shell.bound.get(meta)
    assert resource.phase is TaskExecution.ABORTED
    assert outputs(resource)["stdout"] == "ready\ncleaned\n"


async def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(shell: Any) -> None:
    shell.impatient()
    meta = await shell.create(RESISTING)
    await shell.printed(meta, "ready")
    owner = await shell.owner(meta)
    await shell.bound.delete(meta)
    assert await in_thread(owner.members) == []
    assert (await shell.bound.get(meta)).phase is TaskExecution.ABORTED


async def test_a_delete_ends_what_the_command_has_started_too(shell: Any) -> None:
    meta = await shell.create("sleep 61 & sleep 62 & (sleep 63; true) & echo ready; wait")
    await shell.printed(meta, "ready")
    owner = await shell.owner(meta)
    assert len(await in_thread(owner.members)) >= 4
    await shell.bound.delete(meta)
    assert await in_thread(owner.members) == []


async def test_a_delete_after_the_end_ends_what_was_left_running_and_keeps_the_result(shell: Any) -> None:
    meta = await shell.create("sleep 60 >/dev/null 2>&1 & echo done")
    assert (await shell.end_of(meta)).phase is TaskExecution.SUCCEEDED
    owner = await shell.owner(meta)
    assert await in_thread(owner.members)
    await shell.bound.delete(meta)
    assert await in_thread(owner.members) == []
    assert (await shell.bound.get(meta)).phase is TaskExecution.SUCCEEDED


async def test_a_delete_is_idempotent_and_takes_a_job_whose_folder_is_gone(shell: Any) -> None:
    meta = await shell.create("sleep 60")
    await shell.bound.delete(meta)
    await shell.bound.delete(meta)
    await shell.bound.delete(b'{"job_id":"%032d"}' % 7)


async def test_a_deleted_job_keeps_its_logs(shell: Any) -> None:
    meta = await shell.create("echo precious; sleep 60")
    await shell.printed(meta, "precious")
    await shell.bound.delete(meta)
    assert (await log_of(shell, meta))[1] == ["precious"]


async def test_a_job_that_was_deleted_before_it_began_never_begins(shell: Any, tmp_path: Path) -> None:
    """The delete came while the folder was there and the process was not."""
    first = await shell.create("true", key="k")
    await shell.end_of(first)
    folder = shell.folder(first).path
    for name in ("owner", "exit_code"):
        (folder / name).unlink()
    await shell.bound.delete(first)
    meta = await shell.create(f"touch {tmp_path}/ran", key="k")
    assert (await shell.end_of(meta)).phase is TaskExecution.ABORTED
    assert not (tmp_path / "ran").exists()
