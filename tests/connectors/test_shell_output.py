"""What shell jobs print, and who asks for it."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from flytower.connectors import (
    ConnectorError,
    InvalidRequest,
    JobNotFound,
    ResourceMetaError,
)
from tests.connectors.shell_answers import log_of, outputs

if TYPE_CHECKING:
    from pathlib import Path


# ---- output and logs ------------------------------------------------------------------------------------------


async def test_only_the_end_of_a_long_output_becomes_the_output(shell: Any) -> None:
    resource = await shell.run("head -c 1048576 /dev/zero | tr '\\0' x; echo END")
    text = outputs(resource)["stdout"]
    assert len(text) == 64 * 1024
    assert text.endswith("xEND\n")


async def test_garbage_becomes_replacement_characters(shell: Any) -> None:
    resource = await shell.run(r"printf '\377\376\000ok\n'; printf '\200boom\377\n' >&2; exit 1")
    assert outputs(resource)["stdout"] == "��\0ok\n"
    assert resource.message == "boom�"


async def test_a_character_cut_in_half_at_the_start_is_left_out(shell: Any) -> None:
    program = "import sys; sys.stdout.buffer.write('é'.encode() * 40000 + b'!')"
    text = outputs(await shell.run([sys.executable, "-c", program]))["stdout"]
    assert set(text) == {"é", "!"}


async def test_logs_are_both_streams_with_a_token_to_go_on_from(shell: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    meta = await shell.create(
        "echo one; echo oops >&2; printf half; echo ready >&2; "
        f"while [ ! -e {gate} ]; do sleep 0.02; done; echo way; echo two"
    )
    while "ready" not in (await log_of(shell, meta))[1]:  # noqa: ASYNC110 - a real process
        await trio.sleep(0.01)
    token, lines = await log_of(shell, meta)
    assert lines == ["one", "oops", "ready"]  # a line that is not complete is left for later
    assert (await log_of(shell, meta, token))[1] == []
    gate.touch()
    await shell.end_of(meta)
    token, lines = await log_of(shell, meta, token)
    assert lines == ["halfway", "two"]
    assert await log_of(shell, meta, token) == (token, [])


async def test_a_last_line_without_an_end_is_there_when_the_job_is_over(shell: Any) -> None:
    meta = await shell.create("printf 'a\r\nlast'")
    await shell.end_of(meta)
    assert (await log_of(shell, meta))[1] == ["a", "last"]


async def test_lines_limits_a_page_and_the_token_has_the_rest(shell: Any) -> None:
    meta = await shell.create("for i in 1 2 3 4 5; do echo $i; done; echo e >&2")
    await shell.end_of(meta)
    seen, token, pages = [], "", 0
    while page := await log_of(shell, meta, token, lines=2):
        token, lines = page
        if not lines:
            break
        assert len(lines) <= 2
        seen += lines
        pages += 1
    assert seen == ["1", "2", "3", "4", "5", "e"]
    assert pages == 3


async def test_a_long_log_comes_whole_in_messages_of_bearable_size(shell: Any) -> None:
    meta = await shell.create("seq 1 50000; head -c 200000 /dev/zero | tr '\\0' y")
    await shell.end_of(meta)
    async with aclosing(shell.bound.logs(meta)) as stream:
        sizes = [len(bytes(message)) async for message in stream]
    assert max(sizes) < 1024 * 1024
    _token, lines = await log_of(shell, meta)
    assert lines[:50000] == [str(number) for number in range(1, 50001)]
    assert "".join(lines[50000:]) == "y" * 200000


@pytest.mark.parametrize("token", ["x", "1", "1.2.3", "-1.0", "1.", "9" * 30 + ".0", "\u0661.\u0662"])
async def test_a_token_that_nobody_gave_is_refused(shell: Any, token: str) -> None:
    meta = await shell.create("true")
    await shell.end_of(meta)
    with pytest.raises(InvalidRequest, match="token"):
        await log_of(shell, meta, token)


# ---- hostile and foreign metadata -----------------------------------------------------------------------------


@pytest.mark.parametrize("job_id", ["../../etc", "", "A" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n", "/" * 32])
async def test_a_job_id_that_is_none_touches_no_file(shell: Any, job_id: str) -> None:
    meta = json.dumps({"job_id": job_id}).encode()
    for call in (shell.bound.get, shell.bound.delete):
        with pytest.raises(ResourceMetaError):
            await call(meta)
    with pytest.raises(ResourceMetaError):
        await log_of(shell, meta)


async def test_a_job_of_another_machine_is_not_found(shell: Any) -> None:
    with pytest.raises(JobNotFound):
        await shell.bound.get(b'{"job_id":"%032d"}' % 7)


async def test_a_root_that_cannot_be_made_is_an_error_that_says_what_to_set(shell: Any) -> None:
    shell.root.write_text("a file")
    with pytest.raises(ConnectorError, match="FLYTOWER_SHELL_ROOT"):
        await shell.create("true")


async def test_a_folder_that_nobody_claimed_is_a_job_that_was_never_started(shell: Any) -> None:
    meta = await shell.create("true")
    await shell.end_of(meta)
    (shell.folder(meta).path / "owner").unlink()
    with pytest.raises(JobNotFound, match="never started"):
        await shell.bound.get(meta)


async def test_a_server_without_its_tools_says_which_one(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConnectorError, match="`ln` is not on the PATH"):
        await shell.create("true")


async def test_a_root_that_others_can_write_to_is_refused(shell: Any) -> None:
    shell.root.mkdir()
    shell.root.chmod(0o777)
    with pytest.raises(ConnectorError, match="chmod 700"):
        await shell.create("true")


async def test_folders_are_for_their_owner_only(shell: Any) -> None:
    meta = await shell.create("true")
    await shell.end_of(meta)
    assert shell.root.stat().st_mode & 0o777 == 0o700
