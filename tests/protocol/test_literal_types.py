"""The types that literals have by themselves are those that flytekit gives to values of such a type."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from flytekit.core.type_engine import TypeEngine

from flytower.protocol.generated.flyteidl.core import (
    Literal,
    LiteralType,
    Primitive,
    Scalar,
    SimpleType,
    StructuredDatasetMetadata,
    StructuredDatasetType,
)
from flytower.protocol.generated.flyteidl.core import StructuredDataset as StructuredDatasetLiteral
from flytower.protocol.literal_types import type_of, variables_of
from flytower.protocol.literals import File, to_literal, to_literal_map

NOTHING = LiteralType(simple=SimpleType.NONE)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, int),
        (0.0, float),
        ("", str),
        (False, bool),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime),
        (dt.timedelta(0), dt.timedelta),
        (None, type(None)),
        ([1, 2], list[int]),
        ([[1.5]], list[list[float]]),
        ({"a": "b"}, dict[str, str]),
    ],
)
def test_a_value_has_the_type_that_flytekit_gives_it(value: object, kind: Any) -> None:
    theirs = TypeEngine.to_literal_type(kind).to_flyte_idl().SerializeToString()
    assert type_of(to_literal(value)) == LiteralType.parse(theirs)


@pytest.mark.parametrize("value", [[], [1, "two"], [[1], ["two"]]])
def test_a_list_whose_elements_do_not_agree_is_one_of_nothing(value: list[object]) -> None:
    found = type_of(to_literal(value))
    while found.collection_type is not None:
        found = found.collection_type
    assert found == NOTHING


def test_what_is_packed_is_a_struct() -> None:
    assert type_of(to_literal({1: "one"})).simple is SimpleType.STRUCT


def test_a_file_and_a_dataset_keep_the_type_that_they_carry() -> None:
    literal = to_literal(File("s3://bucket/file", format="csv"))
    assert literal.scalar is not None
    assert literal.scalar.blob is not None
    assert literal.scalar.blob.metadata is not None
    assert type_of(literal).blob == literal.scalar.blob.metadata.type
    kind = StructuredDatasetType(format="parquet")
    dataset = StructuredDatasetLiteral(metadata=StructuredDatasetMetadata(structured_dataset_type=kind))
    assert type_of(Literal(scalar=Scalar(structured_dataset=dataset))).structured_dataset_type == kind
    bare = Literal(scalar=Scalar(structured_dataset=StructuredDatasetLiteral()))
    assert type_of(bare).structured_dataset_type == StructuredDatasetType()


@pytest.mark.parametrize(
    "literal", [Literal(), Literal(scalar=Scalar()), Literal(scalar=Scalar(primitive=Primitive()))]
)
def test_a_literal_of_nothing_has_no_type(literal: Literal) -> None:
    assert type_of(literal) == NOTHING


def test_the_variables_of_literals_have_their_names_and_types() -> None:
    variables = variables_of(to_literal_map({"x": 1, "name": "it"})).variables
    kinds = {name: variable.type.simple for name, variable in variables.items() if variable.type is not None}
    assert kinds == {"x": SimpleType.INTEGER, "name": SimpleType.STRING}
