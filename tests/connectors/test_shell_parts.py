"""The parts of the shell connector that need no process of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.connectors import ConnectorError, ResourceMetaError
from flytower.connectors.shell_folder import JobFolder, default_root, folder_untrusted, job_id_for
from flytower.connectors.shell_launch import launch
from flytower.connectors.shell_logs import read_log
from flytower.connectors.shell_process import Owner, boot_id, read_stat


@pytest.mark.parametrize(
    ("variables", "root"),
    [
        ({"FLYTOWER_SHELL_ROOT": "/data/jobs", "XDG_STATE_HOME": "/state", "HOME": "/home/me"}, "/data/jobs"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/me"}, "/state/flytower/shell"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/state/flytower/shell"),
        ({"XDG_STATE_HOME": "", "HOME": "/home/me"}, "/home/me/.local/state/flytower/shell"),
    ],
)
def test_job_folders_are_among_the_users_state_files_unless_told_otherwise(
    variables: dict[str, str], root: str
) -> None:
    assert default_root(variables) == Path(root)


def test_a_user_without_variables_has_a_home_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_root({}) == Path.home() / ".local/state/flytower/shell"
    monkeypatch.setenv("FLYTOWER_SHELL_ROOT", "/data/jobs")
    assert default_root() == Path("/data/jobs")


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_key_always_gives_the_same_id_and_another_key_another(first: str, second: str) -> None:
    assert (job_id_for(first) == job_id_for(second)) == (first == second)
    assert folder_untrusted(Path("/jobs"), job_id_for(first)).path.parent == Path("/jobs")


@given(st.text())
def test_whatever_is_taken_for_an_id_stays_in_the_root(job_id: str) -> None:
    try:
        path = folder_untrusted(Path("/jobs"), job_id).path
    except ResourceMetaError:
        return
    assert path.parent == Path("/jobs")
    assert path.name == job_id


@given(st.binary(max_size=40) | st.just(b"12 34 56 boot") | st.just(b"12 34 56"))
def test_a_damaged_file_is_no_owner_and_no_exit_code(data: bytes) -> None:
    text = data.decode("ascii", errors="replace")
    owner = Owner.parse(text)
    assert owner is None or f"{owner.pid} {owner.start} {owner.group} {owner.boot}".split() == [
        *(str(int(word)) for word in text.split()[:3]),
        text.split()[3],
    ]


def test_a_torn_exit_code_is_none(tmp_path: Path) -> None:
    for text in ("", "\n", "x", "-1", "1 2"):
        (tmp_path / "exit_code").write_text(text)
        assert JobFolder(tmp_path).exit_code() is None
    (tmp_path / "exit_code").write_text("0\n")
    assert JobFolder(tmp_path).exit_code() == 0


def test_a_process_is_known_by_number_and_start_and_a_zombie_is_dead() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        stat = read_stat(process.pid)
        assert stat is not None
        assert stat.group == stat.session == process.pid
        owner = Owner(process.pid, stat.start, process.pid, boot_id())
        assert owner.is_alive()
        assert owner.members() == [process.pid]
        assert not Owner(process.pid, stat.start - 1, process.pid, boot_id()).is_alive()
        assert not Owner(process.pid, stat.start, process.pid, "another-boot").is_alive()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie from here on
        assert owner.members() == []
        assert not owner.is_alive()
        with pytest.raises(ChildProcessError):  # it was collected, since it is our child
            os.waitpid(process.pid, os.WNOHANG)
    assert read_stat(process.pid) is None


def test_a_name_with_parentheses_does_not_confuse_anyone(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 2 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"], start_new_session=True) as process:
        stat = read_stat(process.pid)
        assert stat is not None
        assert (stat.group, stat.zombie) == (process.pid, False)
        process.kill()


def test_a_folder_that_is_not_there_cannot_be_claimed(tmp_path: Path) -> None:
    with pytest.raises(ConnectorError, match="no process was started"):
        launch(tmp_path / "gone", ["true"], tmp_path, {})


LINE = st.binary(max_size=30).filter(lambda line: b"\n" not in line)


@given(lines=st.lists(LINE, max_size=20), last=LINE, limit=st.integers(0, 7), ended=st.booleans())
def test_pages_by_token_give_every_line_once_whatever_their_size(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    last: bytes,
    limit: int,
    ended: bool,  # noqa: FBT001 - hypothesis gives it by name
) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / "stdout").write_bytes(b"".join(line + b"\n" for line in lines) + last)
    (folder / "stderr").write_bytes(b"error\n")
    seen: list[str] = []
    token = ""
    for _ in range(len(lines) + 5):
        first, *pages = read_log(folder, token, limit, ended=ended)
        found = [str(line) for page in pages for line in page.lines]
        assert not limit or len(found) <= limit
        seen += found
        if first.token == token:
            break
        token = first.token
    complete = [*lines, *([last] if ended and last else [])]
    assert seen == [line.removesuffix(b"\r").decode(errors="replace") for line in complete] + ["error"]
