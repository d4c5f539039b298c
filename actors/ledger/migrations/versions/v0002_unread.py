"""Whether anybody has ever read a task: before, a server knew that only until its end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column. Of the tasks that are there nobody knows: none of them counts as unread."""
    op.add_column("tasks", sa.Column("unread", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("tasks", "unread")
