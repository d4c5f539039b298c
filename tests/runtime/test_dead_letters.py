from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flytower.runtime.dead_letters import MAX_PATHS, DeadLetter, DeadLetters


def test_letters_are_counted_by_addressee_and_the_last_few_are_kept() -> None:
    letters = DeadLetters(kept=2)
    for path in ("/a", "/b", "/a"):
        letters.add(path, ValueError(path), "it has ended")
    assert letters.total == 3
    assert letters.by_path == {"/a": 2, "/b": 1}
    assert list(letters.recent) == [
        DeadLetter("/b", "ValueError", "it has ended"),
        DeadLetter("/a", "ValueError", "it has ended"),
    ]
    assert repr(letters) == "<DeadLetters 3 in all, 2 addressees>"


def test_the_contents_of_a_message_are_neither_kept_nor_logged(logs: list[dict[str, Any]]) -> None:
    letters = DeadLetters()
    letters.add("/a", "the password is swordfish", "it has ended")
    assert "swordfish" not in repr((letters.recent, logs))


@given(st.integers(1, 300))
def test_a_storm_of_letters_is_no_storm_of_log_lines(count: int) -> None:
    import structlog  # noqa: PLC0415 - hypothesis needs a fresh capture for each example

    letters = DeadLetters()
    with structlog.testing.capture_logs() as lines:
        for _ in range(count):
            letters.add("/a", 1, "it has ended")
    assert [line["count"] for line in lines] == [2**n for n in range(count.bit_length())]


def test_addressees_that_come_and_go_do_not_pile_up() -> None:
    letters = DeadLetters()
    for number in range(MAX_PATHS + 50):
        letters.add(f"/{number}", 1, "it has ended")
    assert len(letters.by_path) == MAX_PATHS + 1
    assert letters.by_path["*"] == 50
