"""The table of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
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
        sa.Column("digest", sa.LargeBinary, nullable=False),
    )
    op.create_index("tasks_by_category", "tasks", ["category_name", "category_version"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("tasks")
