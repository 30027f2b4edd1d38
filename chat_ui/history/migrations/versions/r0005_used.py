"""When each conversation was last used, for those that are deleted when nobody uses them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; until now, a conversation was used when a message came to it."""
    op.add_column("conversations", sa.Column("used_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE conversations SET used_at = updated_at")
