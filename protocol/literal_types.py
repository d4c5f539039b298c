"""The types of literals, for who has values and no task that declares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flytower.protocol.generated.flyteidl.core import (
    Literal,
    LiteralType,
    Scalar,
    SimpleType,
    StructuredDatasetType,
    Variable,
    VariableMap,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flytower.protocol.generated.flyteidl.core import LiteralMap

_PRIMITIVES = {
    "integer": SimpleType.INTEGER,
    "float_value": SimpleType.FLOAT,
    "string_value": SimpleType.STRING,
    "boolean": SimpleType.BOOLEAN,
    "datetime": SimpleType.DATETIME,
    "duration": SimpleType.DURATION,
}
"""By the field of a Primitive that is set."""


def variables_of(literals: LiteralMap) -> VariableMap:
    """Return the variables that a task would declare to be given these literals."""
    return VariableMap(variables={name: Variable(type=type_of(literal)) for name, literal in literals.literals.items()})


def type_of(literal: Literal) -> LiteralType:
    """Return a literal's type; that of nothing for a list or map whose elements do not agree, or that is empty."""
    if literal.collection is not None:
        return LiteralType(collection_type=_common_type(literal.collection.literals))
    if literal.map is not None:
        return LiteralType(map_value_type=_common_type(literal.map.literals.values()))
    return _type_of_scalar(literal.scalar or Scalar())


def _common_type(literals: Iterable[Literal]) -> LiteralType:
    types = [type_of(literal) for literal in literals]
    agreed = bool(types) and all(each == types[0] for each in types)
    return types[0] if agreed else LiteralType(simple=SimpleType.NONE)


def _type_of_scalar(scalar: Scalar) -> LiteralType:
    if scalar.primitive is not None:
        set_fields = (kind for name, kind in _PRIMITIVES.items() if getattr(scalar.primitive, name) is not None)
        return LiteralType(simple=next(set_fields, SimpleType.NONE))
    if scalar.blob is not None and scalar.blob.metadata is not None:
        return LiteralType(blob=scalar.blob.metadata.type)
    if scalar.structured_dataset is not None:
        metadata = scalar.structured_dataset.metadata
        known = metadata.structured_dataset_type if metadata is not None else None
        return LiteralType(structured_dataset_type=known or StructuredDatasetType())
    packed = scalar.binary is not None or scalar.generic is not None
    return LiteralType(simple=SimpleType.STRUCT if packed else SimpleType.NONE)
