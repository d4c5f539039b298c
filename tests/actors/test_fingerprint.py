"""Whether two CreateTask requests ask for the same thing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.fingerprint import fingerprint
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest, TaskExecutionMetadata
from flytower.protocol.generated.flyteidl.core import Container, KeyValuePair, LiteralMap, TaskTemplate
from flytower.protocol.literals import to_literal_map


def request(
    inputs: dict[str, Any] | None = None, custom: dict[str, Any] | None = None, **template: Any
) -> CreateTaskRequest:
    return CreateTaskRequest(
        template=TaskTemplate(type="spark", custom=dict_to_struct(custom or {}), **template),
        inputs=to_literal_map(inputs or {}),
        output_prefix="s3://b/0",
    )


@given(st.dictionaries(st.text(), st.integers(-(2**31), 2**31) | st.text() | st.booleans(), min_size=2), st.randoms())
def test_maps_in_another_order_are_the_same(values: dict[str, Any], random: Any) -> None:
    """Flyte's clients build maps in random order."""
    names = list(values)
    random.shuffle(names)
    shuffled = {name: values[name] for name in names}
    assert fingerprint(request(values, values)) == fingerprint(request(shuffled, shuffled))


@given(st.binary() | st.text())
def test_a_request_that_went_over_the_wire_is_the_same(value: Any) -> None:
    original = request({"x": value})
    assert fingerprint(CreateTaskRequest.parse(bytes(original))) == fingerprint(original)


def test_what_may_change_between_two_tries_does_not_matter() -> None:
    first, second = request({"x": 1}), request({"x": 1})
    second.output_prefix = "s3://b/1"
    second.task_execution_metadata = TaskExecutionMetadata(labels={"attempt": "2"})
    assert fingerprint(first) == fingerprint(second)


DIFFERENT = [
    request(),
    request({"x": 1}),
    request({"x": 2}),
    request({"y": 1}),
    request({"x": 1.0}),
    request({"x": True}),
    request({"x": "1"}),
    request({"x": [1, 2]}),
    request({"x": [2, 1]}),
    request({"x": [[1], [2]]}),
    request({"x": 1, "y": 1}),
    request(custom={"x": 1}),
    request(custom={"x": {"y": 1}}),
    request(custom={"x": None}),
    request(config={"x": "1"}),
    request(config={"x": ""}),
    request(task_type_version=1),
    request(container=Container(image="a", command=["bc"])),
    request(container=Container(image="ab", command=["c"])),
    request(container=Container(image="a", command=["b", "c"])),
    request(container=Container(image="a", args=["b", "c"])),
    request(container=Container(env=[KeyValuePair(key="a", value="b")])),
    request(container=Container(env=[KeyValuePair(key="ab", value="")])),
    CreateTaskRequest(),
    CreateTaskRequest(inputs=LiteralMap()),
    CreateTaskRequest(template=TaskTemplate()),
]


def test_requests_for_different_things_are_different() -> None:
    assert len({fingerprint(one) for one in DIFFERENT}) == len(DIFFERENT)


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_no_two_lists_look_alike(one: list[bytes], other: list[bytes]) -> None:
    assert (fingerprint(request({"x": one})) == fingerprint(request({"x": other}))) == (one == other)


@pytest.mark.parametrize("length", [32])
def test_a_fingerprint_is_short_and_readable(length: int) -> None:
    assert len(fingerprint(request())) == length
    int(fingerprint(request()), 16)
