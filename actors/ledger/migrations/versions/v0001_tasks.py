"""The tables of tasks, of what has happened to them, of what operators want, and of who may write."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("category_name", sa.String, nullable=False),
        sa.Column("category_version", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("place", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("meta", sa.LargeBinary, nullable=True),
        sa.Column("name", sa.LargeBinary, nullable=False),
        sa.Column("phase", sa.Integer, nullable=False),
        sa.Column("resource", sa.LargeBinary, nullable=False),
        sa.Column("wish", sa.Boolean, nullable=False),
        sa.Column("verdict", sa.LargeBinary, nullable=False),
        sa.Column("withheld", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("changed_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float, nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
    )
    op.create_index("tasks_by_category", "tasks", ["category_name", "category_version"])
    op.create_table(
        "changes",
        sa.Column("task", sa.String(32), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("phase", sa.Integer, nullable=False),
        sa.Column("wish", sa.Boolean, nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("task", "seq"),
        sqlite_with_rowid=False,
    )
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "commands",
        sa.Column("number", number, primary_key=True, autoincrement=True),
        sa.Column("task", sa.String(32), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    owner = op.create_table(
        "owner",
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.String, nullable=False),
    )
    op.bulk_insert(owner, [{"epoch": 0, "holder": ""}])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("owner", "commands", "changes", "tasks"):
        op.drop_table(table)
