"""Until when external systems want to be left alone: before, a server that was restarted asked them once more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table; nothing is known yet."""
    op.create_table(
        "respites",
        sa.Column("category_name", sa.String, nullable=False),
        sa.Column("category_version", sa.Integer, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("category_name", "category_version"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("respites")
