"""How much may be kept: conversations and bytes of one owner, and bytes in all.

Every function works within the caller's transaction.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, LargeBinary, Text, cast, func, select, type_coerce

from chat_ui.errors import NotAllowedError
from chat_ui.history.tables import conversations, messages

# Of a message beside its texts: ids, times, numbers, and what the indexes have of it. Measured:
# 100,000 messages of one letter take 65 MB, with numbers more.
ROW_BYTES: Final = 800


@dataclass(frozen=True, slots=True)
class Room:
    """What there is room for; 0 is no limit.

    Attributes:
        conversations: of one owner; deleted ones, which can be brought back, don't count.
        owner_bytes: of the messages in them; with those of deleted ones twice as many.
        bytes: of the whole database, deleted ones included.
    """

    conversations: int = 0
    owner_bytes: int = 0
    bytes: int = 0

    def is_nearly_full(self, connection: Connection) -> bool:
        """Whether the room of all is nine tenths full."""
        return 0 < self.bytes <= _all_bytes(connection) * 10 / 9

    def refuse_surplus(
        self, connection: Connection, owner: str, conversations: int = 0, bytes: int = 0
    ) -> None:
        """See that more may be kept for an owner, beside what there is.

        Without more, only what is there already is looked at: a message that begins may be the one
        that fills the room.

        Raises:
            NotAllowedError: it would be too much.
        """
        if self.conversations and _count(connection, owner) + conversations > self.conversations:
            raise NotAllowedError(
                f"This server keeps {self.conversations} conversations for one visitor.",
                "Delete some first, and export them if you want to keep them.",
            )
        if self.owner_bytes:
            shown, deleted = _owner_bytes(connection, owner)
            if shown + bytes > self.owner_bytes:
                raise NotAllowedError(
                    f"This server keeps {_megabytes(self.owner_bytes)} of conversations for one "
                    "visitor.",
                    "Delete a chat first, and export it if you want to keep it.",
                )
            # Or whoever copies and deletes in turns would fill the room of all.
            if shown + deleted + bytes > 2 * self.owner_bytes:
                raise NotAllowedError(
                    "The chats that you deleted still take up your room here.",
                    "Try again in a few minutes: they are gone for good by then.",
                )
        if self.bytes and _all_bytes(connection) + bytes > self.bytes:
            raise NotAllowedError(
                "This server has no room for more conversations.",
                "Delete chats that you no longer need, or try again later.",
            )


UNLIMITED: Final = Room()


def size(written: Iterable[Mapping[str, Any]]) -> int:
    """Bytes of messages, given as the values of their rows."""
    return sum(
        ROW_BYTES
        + len(one["content"].encode())
        + len((one["error"] or "").encode())
        + len(json.dumps(one["recipe"]))
        for one in written
    )


def _count(connection: Connection, owner: str) -> int:
    c = conversations.c
    query = select(func.count()).where(c.owner == owner, c.deleted_at.is_(None))
    return connection.scalar(query) or 0


def _owner_bytes(connection: Connection, owner: str) -> tuple[int, int]:
    """Of an owner's conversations, and of those deleted that can be brought back."""
    c, m = conversations.c, messages.c
    # As bytes: of a text, length() counts characters.
    content, error, recipe = (
        func.coalesce(func.length(cast(type_coerce(column, Text), LargeBinary)), 0)
        for column in (m.content, m.error, m.recipe)
    )
    is_deleted = c.deleted_at.is_not(None)
    query = (
        select(is_deleted, func.sum(content + error + recipe + ROW_BYTES))
        .join(conversations, c.id == m.conversation_id)
        .where(c.owner == owner)
        .group_by(is_deleted)
    )
    found = {bool(deleted): int(count) for deleted, count in connection.execute(query)}
    return found.get(False, 0), found.get(True, 0)


def _all_bytes(connection: Connection) -> int:
    pages, free, page_bytes = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page_bytes


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
