"""How each answer was asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column, empty: of older answers it is not known."""
    op.add_column("messages", sa.Column("recipe", sa.JSON()))
