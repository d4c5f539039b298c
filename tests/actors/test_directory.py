"""Where a task is found, and what is still known of it when it is over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.directory import Directory
from flytower.actors.task import Stage, Task
from flytower.connectors.category import TaskCategory
from flytower.protocol.generated.flyteidl.admin import GetTaskResponse
from flytower.protocol.generated.flyteidl.core import TaskExecutionPhase as Phase
from flytower.runtime.testing import run_virtual
from tests.actors.census import recount
from tests.actors.lifecycle_steps import CATEGORY, META, RUNNING, a_task


@pytest.fixture
def directory(autojump_clock: object) -> Directory:
    return Directory()


def task(name: str = "t", stage: Stage = Stage.CREATING, **fields: Any) -> Task:
    return a_task(stage, **{"id": name, "key": "", **fields})


async def test_a_task_is_found_by_its_id_until_it_leaves(directory: Directory) -> None:
    entry = directory.enter(task())
    assert directory.get("t") is entry
    assert len(directory) == 1
    directory.leave("t")
    assert directory.get("t") is None
    assert len(directory) == 0


async def test_whoever_keeps_books_hears_of_each_task_that_leaves_once(autojump_clock: object) -> None:
    gone: list[str] = []
    directory = Directory(gone.append)
    directory.enter(task())
    directory.leave("t")
    directory.leave("t")
    directory.leave("never there")
    assert gone == ["t"]


async def test_a_restarted_actor_keeps_what_readers_left_and_brings_what_it_knows(directory: Directory) -> None:
    entry = directory.enter(task(wish=True, meta=None))
    entry.touch(5.0)
    assert directory.enter(task(wish=False, meta=META)) is entry
    assert (entry.read, entry.state.freed, entry.state.meta) == (True, False, META)


async def test_a_task_is_found_by_every_meta_it_answers_to_and_only_in_its_category(directory: Directory) -> None:
    entry = directory.enter(task())
    directory.name("t", b"provisional")
    directory.name("t", META)
    assert directory.named(CATEGORY, b"provisional") is directory.named(CATEGORY, META) is entry
    assert directory.named(TaskCategory("spark", 1), META) is None
    directory.leave("t")
    assert directory.named(CATEGORY, META) is None
    assert directory.named(CATEGORY, b"provisional") is None


async def test_a_name_that_a_newer_task_has_taken_stays_its_own_when_the_older_leaves(directory: Directory) -> None:
    directory.enter(task("old"))
    newer = directory.enter(task("new"))
    directory.name("old", META)
    directory.name("new", META)
    directory.leave("old")
    assert directory.named(CATEGORY, META) is newer


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_the_latest_generation_is_the_current_one_of_its_key(
    directory: Directory, order: tuple[int, int]
) -> None:
    """Rows of a ledger come in no particular order."""
    for generation in order:
        directory.enter(task(f"g{generation}", key="k", generation=generation))
    current = directory.current("k")
    assert current is directory.get("g2")
    directory.leave("g1")
    assert directory.current("k") is current


async def test_a_key_is_unknown_when_its_last_task_is_gone(directory: Directory) -> None:
    directory.enter(task(key="k"))
    directory.leave("t")
    assert directory.current("k") is None


async def test_tasks_that_nothing_identifies_share_no_key(directory: Directory) -> None:
    directory.enter(task("a"))
    directory.enter(task("b"))
    assert directory.current("") is None


async def test_only_earlier_attempts_at_the_same_place_are_earlier(directory: Directory) -> None:
    first, second = directory.enter(task("a", place="p", attempt=0)), directory.enter(task("b", place="p", attempt=1))
    directory.enter(task("c", place="p", attempt=2))
    directory.enter(task("d", place="q", attempt=0))
    later = directory.get("c")
    assert later is not None
    assert directory.earlier(later) == [first, second]
    assert directory.earlier(first) == []
    directory.leave("a")
    assert directory.earlier(later) == [second]


async def test_tasks_without_a_place_have_no_earlier_attempts(directory: Directory) -> None:
    directory.enter(task("a", attempt=0))
    later = directory.enter(task("b", attempt=1))
    assert directory.earlier(later) == []


@pytest.mark.parametrize(
    ("owner", "stage", "free"),
    [(None, Stage.LIVE, True), ("t", Stage.LIVE, True), ("other", Stage.LIVE, False), ("other", Stage.DELETED, True)],
)
async def test_a_meta_is_free_unless_another_task_that_is_not_deleted_answers_to_it(
    directory: Directory,
    owner: str | None,
    stage: Stage,
    free: bool,  # noqa: FBT001 - a table
) -> None:
    directory.enter(task())
    if owner is not None:
        directory.enter(task(owner, stage))
        directory.name(owner, META)
    assert directory.free("t", CATEGORY, META) is free


async def test_a_published_answer_is_encoded_for_the_reader(directory: Directory) -> None:
    entry = directory.enter(task())
    directory.publish("t", Phase.RUNNING, RUNNING)
    answered = GetTaskResponse.parse(entry.answer).resource
    assert answered is not None
    assert (bytes(answered), entry.phase) == (RUNNING, Phase.RUNNING)


async def test_others_see_what_changes_about_a_task(directory: Directory) -> None:
    entry = directory.enter(task())
    directory.update(task(meta=META, wish=True))
    assert (entry.state.meta, entry.state.freed) == (META, True)


async def test_a_new_task_counts_as_read_at_its_birth(directory: Directory) -> None:
    entry = directory.enter(task())
    assert entry.read_gap == 0.0
    entry.touch(entry.read_at + 5.0)
    entry.touch(entry.read_at + 30.0)
    assert entry.read_gap == 30.0


async def test_the_census_counts_tasks_by_type_and_phase(directory: Directory) -> None:
    for name in "abc":
        directory.enter(task(name))
    directory.publish("a", Phase.RUNNING, RUNNING)
    directory.publish("b", Phase.RUNNING, RUNNING)
    assert directory.census() == {("spark", "RUNNING"): 2, ("spark", "CREATING"): 1}


CHANGES = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from("abc"), st.sampled_from(Stage)),
    st.tuples(st.just("update"), st.sampled_from("abc"), st.sampled_from(Stage)),
    st.tuples(st.just("publish"), st.sampled_from("abc"), st.sampled_from([Phase.RUNNING, Phase.FAILED])),
    st.tuples(st.just("leave"), st.sampled_from("abc"), st.none()),
)


@given(st.lists(CHANGES))
def test_the_census_is_what_a_count_would_give_whatever_has_changed(changes: list[tuple[str, str, Any]]) -> None:
    async def change_all() -> None:
        directory = Directory()
        for change, name, what in changes:
            if change == "enter":
                directory.enter(task(name, what))
            elif change == "leave":
                directory.leave(name)
            elif directory.get(name) is not None and change == "update":
                directory.update(task(name, what))
            elif directory.get(name) is not None:
                directory.publish(name, what, RUNNING)
            assert directory.census() == recount(directory)

    run_virtual(change_all)
