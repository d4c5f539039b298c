"""Which task a request is about: what Flyte repeats is the same task, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flytower.actors.identity import (
    MAX_REFERENCE_BYTES,
    REFERENCE_PREFIX,
    Identity,
    adopted_id,
    decode_reference_untrusted,
    encode_reference,
    identify,
    task_id,
)
from flytower.connectors.category import TaskCategory

SPARK = TaskCategory("spark", 0)
PREFIX = "s3://bucket/run/n0/data/0"


def known(category: TaskCategory = SPARK, prefix: str = PREFIX, execution: bytes = b"e") -> Identity:
    identity = identify(category, prefix, execution)
    assert identity is not None
    return identity


def test_a_request_that_is_sent_again_is_about_the_same_task() -> None:
    assert known() == known()


@pytest.mark.parametrize(
    "other",
    [
        known(TaskCategory("spark", 1)),
        known(TaskCategory("dask", 0)),
        known(prefix="s3://bucket/run/n0/data/1"),
        known(prefix="s3://bucket/run/n1/data/0"),
        known(execution=b"f"),
        known(execution=b""),
        known(prefix=""),
    ],
)
def test_category_prefix_and_execution_each_tell_tasks_apart(other: Identity) -> None:
    assert other.key != known().key


def test_a_request_that_says_nothing_of_itself_has_no_identity() -> None:
    assert identify(SPARK, "", b"") is None


@pytest.mark.parametrize(
    ("prefix", "attempt"), [("a/0", 0), ("a/7", 7), ("a/7/", 7), ("a/b/12", 12), ("a/000000003", 3)]
)
def test_the_last_component_of_the_prefix_is_the_attempt(prefix: str, attempt: int) -> None:
    identity = known(prefix=prefix)
    assert identity.attempt == attempt
    assert identity.place == known(prefix=prefix.rstrip("/").rpartition("/")[0] + "/99").place


@pytest.mark.parametrize(
    "prefix", ["", "7", "/7", "a/x", "a/", "a/-1", "a/1.0", "a/²", "a/٣", "a/1234567890", "a/" + "9" * 5000]
)
def test_a_prefix_that_ends_in_no_number_of_an_attempt_has_no_place(prefix: str) -> None:
    """Numbers that no integer column holds, and digits that are none of ours, are names like any other."""
    assert known(prefix=prefix)[1:] == ("", 0)


def test_places_of_different_categories_and_nodes_are_different() -> None:
    places = {known(prefix="a/0").place, known(prefix="b/0").place, known(TaskCategory("dask"), "a/0").place}
    assert len(places) == 3


@given(st.text(), st.binary())
def test_any_prefix_and_execution_identify_something(prefix: str, execution: bytes) -> None:
    identity = identify(SPARK, prefix, execution)
    assert (identity is None) == (not prefix and not execution)
    if identity is not None:
        assert len(identity.key) == 32
        assert 0 <= identity.attempt < 2**31


def test_each_generation_of_a_key_is_another_job() -> None:
    assert task_id("k", 1) == task_id("k", 1)
    assert len({task_id("k", 1), task_id("k", 2), task_id("l", 1)}) == 3


def test_an_adopted_task_is_known_by_its_category_and_meta() -> None:
    assert adopted_id(SPARK, b"m") == adopted_id(SPARK, b"m")
    assert len({adopted_id(SPARK, b"m"), adopted_id(SPARK, b"n"), adopted_id(TaskCategory("spark", 1), b"m")}) == 3


@pytest.mark.parametrize("task", [task_id("k", 1), adopted_id(SPARK, b"m")])
def test_a_task_id_is_short_enough_for_external_systems(task: str) -> None:
    """EC2 and Databricks take tokens of at most 64 characters."""
    assert len(task) == 32
    assert task.isascii()


@given(st.text("0123456789abcdef", min_size=32, max_size=32))
def test_a_reference_names_its_task(task: str) -> None:
    reference = encode_reference(task)
    assert decode_reference_untrusted(reference) == task
    assert len(reference) < MAX_REFERENCE_BYTES


@given(
    st.one_of(
        st.binary(),
        st.binary().map(lambda noise: REFERENCE_PREFIX + noise),
        st.binary(min_size=30, max_size=34).map(lambda noise: REFERENCE_PREFIX + b' "' + noise + b'"}'),
    )
)
@example(REFERENCE_PREFIX)
@example(REFERENCE_PREFIX + b"}")
@example(REFERENCE_PREFIX + b'"0123456789abcdef0123456789abcdeX"}')
@example(REFERENCE_PREFIX + b'"0123456789ABCDEF0123456789ABCDEF"}')
@example(REFERENCE_PREFIX + b'"0123456789abcdef0123456789abcdef"} ')
@example(REFERENCE_PREFIX + b'""0123456789abcdef0123456789abcdef""}')
@example(REFERENCE_PREFIX + b"[" * 200_000)
@example(b'{"job":1}')
def test_bytes_that_are_no_reference_are_told_from_one_without_an_error(meta: bytes) -> None:
    assert decode_reference_untrusted(meta) is None
