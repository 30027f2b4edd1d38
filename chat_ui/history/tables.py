"""The tables as the code sees them. `migrations` makes them; a test holds the two together.

Only what SQLite and PostgreSQL both understand stands here.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Named,
    String,
    Table,
    Text,
    TypedColumns,
    TypeDecorator,
)

# With names, a later migration can drop or change a constraint on any database.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no time zone, so it is put on again when one is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write as UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read as UTC."""
        if value is None or value.tzinfo is not None:
            return value and value.astimezone(UTC)
        return value.replace(tzinfo=UTC)


class ConversationColumns(TypedColumns):
    """A conversation.

    Attributes:
        id: 128 random bits, hex; see `rows.new_id`.
        owner: whose it is: 64 hex characters.
        recency: a counter per owner; the larger, the later a message was added. The list is ordered
            by it, because a clock can be set back.
        head_id: the leaf that is shown. No foreign key: the two tables would need each other first.
        pinned_at: when it was pinned, if it is.
        deleted_at: when it was deleted. Until it is purged, that can be undone; nothing but an undo
            finds it.
        used_at: when its owner last did something with it here. Not `updated_at`: one that is
            imported keeps the times that it had elsewhere.
    """

    id = Column(String(32), primary_key=True)
    owner = Column(String(64), nullable=False)
    recency = Column(Integer, nullable=False)
    title = Column(Text, nullable=False)
    system_prompt = Column(Text, nullable=False)
    head_id: Named[str | None] = Column(String(32))
    created_at = Column(UtcDateTime, nullable=False)
    updated_at = Column(UtcDateTime, nullable=False)
    pinned_at: Named[datetime | None] = Column(UtcDateTime)
    deleted_at: Named[datetime | None] = Column(UtcDateTime)
    used_at: Named[datetime | None] = Column(UtcDateTime)


class MessageColumns(TypedColumns):
    """A message.

    Attributes:
        sequence: grows with every message; the order of a conversation's messages.
        id: 128 random bits, hex.
        numbers: the fields of `chat.messages.Numbers`.
        recipe: those of `chat.recipe.Recipe`.
    """

    sequence = Column(Integer, primary_key=True)
    id = Column(String(32), nullable=False, unique=True)
    conversation_id = Column(
        String(32), ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False, index=True
    )
    parent_id: Named[str | None] = Column(
        String(32), ForeignKey("messages.id", ondelete="CASCADE"), index=True
    )
    role = Column(String(16), nullable=False)
    state = Column(String(16), nullable=False)
    created_at = Column(UtcDateTime, nullable=False)
    numbers: Named[dict[str, Any]] = Column(JSON, nullable=False)
    error: Named[str | None] = Column(Text)
    content = Column(Text, nullable=False)
    recipe: Named[dict[str, Any] | None] = Column(JSON(none_as_null=True))


class MeasurementColumns(TypedColumns):
    """What a run of a model was forecast to take and took; see `measurements.Measurement`.

    Attributes:
        sequence: grows with every row.
        machine: a name and versions, as text to compare.
    """

    sequence = Column(Integer, primary_key=True)
    machine = Column(Text, nullable=False)
    model_id = Column(Text, nullable=False)
    precision = Column(String(32), nullable=False)
    context_tokens = Column(Integer, nullable=False)
    forecast_tokens_per_s: Named[float | None] = Column(Float)
    tokens_per_s: Named[float | None] = Column(Float)
    forecast_bytes: Named[int | None] = Column(BigInteger)
    memory_bytes: Named[int | None] = Column(BigInteger)
    measured_at = Column(UtcDateTime, nullable=False)


conversations = Table(
    "conversations", metadata, ConversationColumns, Index(None, "owner", "recency")
)
messages = Table("messages", metadata, MessageColumns)
measurements = Table(
    "measurements",
    metadata,
    MeasurementColumns,
    Index(None, "machine", "precision"),
    Index(None, "model_id", "precision"),
)
