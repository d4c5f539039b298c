"""The tables of the ledger, as SQLAlchemy Core sees them.

Alembic's migrations make them; a test holds the two together.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    false,
)

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
    Column("withheld", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("note", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("unread", Boolean, nullable=False, server_default=false()),
    Index("tasks_by_category", "category_name", "category_version"),
)

changes = Table(
    "changes",
    metadata,
    Column("task", String(32), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("phase", Integer, nullable=False),
    Column("wish", Boolean, nullable=False),
    Column("note", String, nullable=False),
    PrimaryKeyConstraint("task", "seq"),
    sqlite_with_rowid=False,
)
"""What has happened to each task, for people."""

commands = Table(
    "commands",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("task", String(32), nullable=False),
    Column("action", String(16), nullable=False),
    Column("at", Float, nullable=False),
)
"""What operators want, and the server that owns the ledger has not done yet."""

respites = Table(
    "respites",
    metadata,
    Column("category_name", String, nullable=False),
    Column("category_version", Integer, nullable=False),
    Column("until", Float, nullable=False),
    PrimaryKeyConstraint("category_name", "category_version"),
    sqlite_with_rowid=False,
)
"""Until when the external system of a task category wants to be left alone, in Unix seconds."""

owner = Table(
    "owner",
    metadata,
    Column("epoch", BigInteger, nullable=False),
    Column("holder", String, nullable=False),
)
"""One row: how many servers have owned this ledger, and who is the last. A server of an earlier epoch may not write."""

ROW_FIELDS = Row._fields

FIRST_FIELDS = ROW_FIELDS[: ROW_FIELDS.index("unread")]
"""Those of schema 0001, which every digest is of."""


def values_of(row: Row) -> dict[str, Any]:
    """Return the column values of a row, digest included."""
    return {**row._asdict(), "digest": digest_of(row)}


def change_of(row: Row) -> dict[str, Any]:
    """Return the column values of the change that a row stands for."""
    return {
        "task": row.id,
        "seq": row.seq,
        "at": row.changed_at,
        "stage": row.stage,
        "phase": row.phase,
        "wish": row.wish,
        "note": row.note,
    }


def row_of(values: RowMapping) -> tuple[Row, bool]:
    """Return the row that column values say, and whether it is what was once written."""
    row = Row(**{name: values[name] for name in ROW_FIELDS})
    return row, digest_of(row) == values["digest"]


def digest_of(row: Row) -> bytes:
    """Digest the content of a row: databases notice torn pages, but not a flipped bit inside a value."""
    said = repr(row[: len(FIRST_FIELDS)])  # None is not b"None", and every value has an end
    if row.unread:  # what came later joins in where it says something: rows of an earlier schema keep their digests
        said += "unread"
    content = said.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
