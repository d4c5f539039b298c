"""The one table of the ledger, as SQLAlchemy Core sees it.

Alembic's migrations make it; a test holds the two together.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table

from flytower.actors.ledger.row import Row

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

DIGEST_BYTES = 8
"""64 bits tell a damaged row from a sound one; it is no defence against anybody who can write to the file."""

metadata = MetaData()

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("category_name", String, nullable=False),
    Column("category_version", Integer, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("key", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("place", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("meta", LargeBinary, nullable=True),
    Column("name", LargeBinary, nullable=False),
    Column("phase", Integer, nullable=False),
    Column("resource", LargeBinary, nullable=False),
    Column("wish", Boolean, nullable=False),
    Column("verdict", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Index("tasks_by_category", "category_name", "category_version"),
)

ROW_FIELDS = tuple(field.name for field in fields(Row))


def values_of(row: Row) -> dict[str, Any]:
    """Return the column values of a row, digest included."""
    values = dict(zip(ROW_FIELDS, astuple(row), strict=True))
    values["digest"] = digest_of(row)
    return values


def row_of(values: RowMapping) -> tuple[Row, bool]:
    """Return the row that column values say, and whether it is what was once written."""
    row = Row(**{name: values[name] for name in ROW_FIELDS})
    return row, digest_of(row) == values["digest"]


def digest_of(row: Row) -> bytes:
    """Digest the content of a row: databases notice torn pages, but not a flipped bit inside a value."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for value in astuple(row):
        content = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(b"%s%d:" % (type(value).__name__.encode(), len(content)))  # None is not b"None"
        digest.update(content)
    return digest.digest()
