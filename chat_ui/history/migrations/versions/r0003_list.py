"""What the list of conversations knows of them: pinned, deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add both columns, empty: nothing is pinned and nothing deleted."""
    op.add_column("conversations", sa.Column("pinned_at", sa.DateTime(timezone=True)))
    op.add_column("conversations", sa.Column("deleted_at", sa.DateTime(timezone=True)))
