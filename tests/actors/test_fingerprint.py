"""Whether two CreateTask requests ask for the same thing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.fingerprint import Fingerprints, fingerprint
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.decode import decode_untrusted
from flytower.protocol.generated.flyteidl.admin import CreateTaskRequest, TaskExecutionMetadata
from flytower.protocol.generated.flyteidl.core import Container, KeyValuePair, LiteralMap, TaskTemplate
from flytower.protocol.literals import to_literal_map
from flytower.protocol.received import is_shared


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


def test_a_fingerprint_is_what_it_was_in_earlier_versions() -> None:
    """Ledgers are full of them."""
    asked = request({"x": 1, "y": [b"z"]}, {"a": None}, config={"k": ""})
    assert fingerprint(asked) == "f1dd46cd5abdb31598ac40411ad72a2d"


# ---- templates that are remembered


def sent(request: CreateTaskRequest) -> CreateTaskRequest:
    """The request as it comes over the wire."""
    return decode_untrusted(CreateTaskRequest, bytes(request))


def test_a_remembered_template_gives_the_same_fingerprint_as_one_that_is_new() -> None:
    fingerprints = Fingerprints()
    for number in (1, 2, 1):
        request = sent(CreateTaskRequest(template=TaskTemplate(type="a"), inputs=to_literal_map({"x": number})))
        assert fingerprints.of(request) == (fingerprint(request), False)
    assert len(fingerprints) == 1


def test_requests_without_a_template_or_that_never_were_on_the_wire_have_fingerprints_too() -> None:
    for request in (CreateTaskRequest(), CreateTaskRequest(template=TaskTemplate(type="a"))):
        assert Fingerprints().of(request) == (fingerprint(request), False)


def test_a_template_that_is_remembered_is_known_by_its_encoding_and_shared() -> None:
    fingerprints = Fingerprints()
    request = sent(CreateTaskRequest(template=TaskTemplate(type="a")))
    encoding = bytes(TaskTemplate(type="a"))
    assert fingerprints.known(encoding) is None
    fingerprints.of(request)
    known = fingerprints.known(encoding)
    assert known is request.template
    assert known is not None
    assert is_shared(known)


def test_a_template_that_somebody_here_has_made_and_may_change_is_not_remembered() -> None:
    fingerprints = Fingerprints()
    fingerprints.of(CreateTaskRequest(template=TaskTemplate(type="a")))
    assert len(fingerprints) == 0


def test_a_template_with_secrets_is_told_and_not_remembered() -> None:
    fingerprints = Fingerprints()
    template = TaskTemplate(type="a", custom=dict_to_struct({"token": "very secret"}))
    request = sent(CreateTaskRequest(template=template))
    assert fingerprints.of(request) == (fingerprint(request, {"very secret"}), True)
    assert len(fingerprints) == 0


def test_no_more_templates_are_remembered_than_the_limit_and_none_that_is_too_large() -> None:
    fingerprints = Fingerprints(limit=2, largest=40)
    requests = [sent(CreateTaskRequest(template=TaskTemplate(type=name))) for name in ("a", "b", "c", "x" * 50)]
    for request in requests:
        assert fingerprints.of(request) == (fingerprint(request), False)
    assert len(fingerprints) == 2
