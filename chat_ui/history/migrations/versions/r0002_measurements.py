"""How fast models ran, beside how fast they were forecast to run."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table of measurements."""
    op.create_table(
        "measurements",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("precision", sa.String(32), nullable=False),
        sa.Column("context_tokens", sa.Integer(), nullable=False),
        sa.Column("forecast_tokens_per_s", sa.Float()),
        sa.Column("tokens_per_s", sa.Float()),
        sa.Column("forecast_bytes", sa.BigInteger()),
        sa.Column("memory_bytes", sa.BigInteger()),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_measurements"),
    )
    op.create_index("ix_measurements_machine_precision", "measurements", ["machine", "precision"])
    op.create_index("ix_measurements_model_id_precision", "measurements", ["model_id", "precision"])
