"""An owner's list of conversations: finding, naming, pinning, deleting them, and undoing that.

A deleted conversation is marked, so that it can be brought back, and purged a little later: then
its rows are gone, and SQLite overwrites them (`secure_delete`). When to purge is the service's
business.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import delete, func, insert, or_, select, update

from chat_ui.chat.exchange import with_new_ids
from chat_ui.chat.messages import Conversation, ConversationSummary, around
from chat_ui.errors import InvalidRequestError, NotFoundError
from chat_ui.history import rows
from chat_ui.history.room import UNLIMITED, Room, size
from chat_ui.history.rows import Transaction
from chat_ui.history.tables import conversations, messages

TITLE_CHARS: Final = 200
SEARCH_CHARS: Final = 200

_SUMMARY: Final = (
    conversations.c.id,
    conversations.c.title,
    conversations.c.updated_at,
    conversations.c.pinned_at,
    conversations.c.head_id,
)
_SHOWN: Final = conversations.c.deleted_at.is_(None)
_ORDER: Final = (
    conversations.c.pinned_at.is_(None),
    conversations.c.recency.desc(),
    conversations.c.id,
)


class ConversationList:
    """The lists of all owners; `Store.list` is the one there is.

    Any method raises `HistoryError` when the database fails, and has then changed nothing.

    Args:
        reading: begins a transaction that reads.
        writing: begins one that writes.
        mark: the first letter of new conversations' ids, if they have one in common.
        room: how much may be kept.
    """

    def __init__(
        self,
        reading: Transaction,
        writing: Transaction,
        mark: str = "",
        room: Room = UNLIMITED,
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._mark = mark
        self._room = room

    def newest(self, owner: str, limit: int = 200) -> list[ConversationSummary]:
        """An owner's conversations: the pinned ones, then those with the newest messages first."""
        c = conversations.c
        query = select(*_SUMMARY).where(c.owner == owner, _SHOWN)
        with self._reading() as connection:
            found = connection.execute(query.order_by(*_ORDER).limit(limit)).all()
        return [_summary(row) for row in found]

    def summary(self, owner: str, conversation_id: str) -> ConversationSummary:
        """One conversation, as the list has it.

        Raises:
            NotFoundError: no such conversation for this owner.
        """
        with self._reading() as connection:
            return _summary(rows.find(connection, owner, conversation_id))

    def search(self, owner: str, words: str, limit: int = 50) -> list[ConversationSummary]:
        """The owner's conversations with these words in their title or in a message, as one text.

        Letters are compared without regard to case.

        Args:
            owner: whose.
            words: looked for as one text, spaces around it left out; blank finds nothing.
            limit: of conversations.

        Raises:
            InvalidRequestError: the words are longer than `SEARCH_CHARS`.
        """
        if len(words) > SEARCH_CHARS:
            raise InvalidRequestError(
                f"A search takes up to {SEARCH_CHARS} characters.", "Search for less."
            )
        words = rows.storable(words).strip()
        if not words:
            return []
        c = conversations.c
        # The first message of each conversation that has them: SQL finds it, and its text is read.
        any_of = messages.alias()
        first = (
            select(func.min(any_of.c.sequence))
            .where(
                any_of.c.conversation_id == c.id,
                any_of.c.content.icontains(words, autoescape=True),
            )
            .correlate(conversations)
            .scalar_subquery()
        )
        titled = c.title.icontains(words, autoescape=True)
        query = (
            select(*_SUMMARY, titled.label("titled"), messages.c.content)
            .select_from(conversations.outerjoin(messages, messages.c.sequence == first))
            .where(c.owner == owner, _SHOWN, or_(titled, messages.c.sequence.is_not(None)))
            .order_by(*_ORDER)
            .limit(limit)
        )
        with self._reading() as connection:
            found = connection.execute(query).all()
        return [
            _summary(row, "" if row.titled else around(row.content or "", words)) for row in found
        ]

    def add(self, owner: str, found: Sequence[Conversation]) -> list[str]:
        """Put conversations above the owner's others, the one with the newest message first.

        They keep their times and get other ids, all of them or none.

        Args:
            owner: whose they become.
            found: their parents come before children, and their heads exist.

        Returns:
            The ids of the new ones, in the order of `found`.

        Raises:
            NotAllowedError: the owner would have too many, or there is no room for them.
        """
        new = [replace(with_new_ids(one, rows.new_id), id=rows.new_id(self._mark)) for one in found]
        # Of two of the same time, the first is the newer one, as lists have them.
        oldest_first = sorted(reversed(new), key=lambda one: one.updated_at)
        # Before the transaction: all other writers wait for it.
        wholes = [rows.whole(one) for one in oldest_first]
        more = size(message for _, written in wholes for message in written)
        with self._writing() as connection:
            self._room.refuse_surplus(connection, owner, len(wholes), more)
            for recency, (own, written) in enumerate(wholes, rows.next_recency(connection, owner)):
                place = {"owner": owner, "recency": recency, "used_at": datetime.now(UTC)}
                connection.execute(insert(conversations).values(own | place))
                if written:
                    connection.execute(insert(messages), written)
        return [one.id for one in new]

    def rename(self, owner: str, conversation_id: str, title: str) -> None:
        """Give a conversation another title, on one line.

        Raises:
            InvalidRequestError: the title is empty or longer than `TITLE_CHARS`.
            NotFoundError: no such conversation for this owner.
        """
        line = " ".join(rows.storable(title).split())
        if not line or len(line) > TITLE_CHARS:
            raise InvalidRequestError(
                f"A title has 1 to {TITLE_CHARS} characters.", "Give it another one."
            )
        self._change(owner, conversation_id, title=line)

    def pin(self, owner: str, conversation_id: str, is_pinned: bool) -> None:
        """Put a conversation above the others, or back among them.

        Raises:
            NotFoundError: no such conversation for this owner.
        """
        self._change(owner, conversation_id, pinned_at=datetime.now(UTC) if is_pinned else None)

    def delete(self, owner: str, conversation_id: str) -> None:
        """Take a conversation out of the list. `restore` undoes it until it is purged.

        Raises:
            NotFoundError: no such conversation for this owner.
        """
        self._change(owner, conversation_id, deleted_at=datetime.now(UTC))

    def restore(self, owner: str, conversation_id: str) -> None:
        """Bring a deleted conversation back.

        Raises:
            NotFoundError: there is no deleted one for this owner, or it is gone for good.
            NotAllowedError: the owner has others by now, and would have too many, or too much.
        """
        c = conversations.c
        with self._writing() as connection:
            changed = connection.execute(
                update(conversations)
                .where(
                    c.id == rows.checked(conversation_id),
                    c.owner == owner,
                    c.deleted_at.is_not(None),
                )
                .values(deleted_at=None, used_at=datetime.now(UTC))
            )
            if not changed.rowcount:
                raise NotFoundError
            # It took its room of all while it was deleted, too.
            replace(self._room, bytes=0).refuse_surplus(connection, owner)

    def purge(self, deleted_before: datetime) -> int:
        """Remove what all owners deleted before a moment, for good; how many conversations."""
        with self._writing() as connection:
            return connection.execute(
                delete(conversations).where(conversations.c.deleted_at < deleted_before)
            ).rowcount

    def remove(self, ids: Collection[str]) -> None:
        """Remove conversations for good, whosever they are; what is gone already is passed over."""
        with self._writing() as connection:
            connection.execute(delete(conversations).where(conversations.c.id.in_(ids)))

    def remove_unused(self, used_before: datetime, spared: Collection[str]) -> int:
        """Remove what no owner used since a moment, for good.

        Args:
            used_before: the moment.
            spared: ids of conversations that stay nevertheless.

        Returns:
            How many are gone.
        """
        c = conversations.c
        with self._writing() as connection:
            return connection.execute(
                delete(conversations).where(c.used_at < used_before, c.id.not_in(spared))
            ).rowcount

    def is_nearly_full(self) -> bool:
        """Whether there is hardly room for anybody's conversations."""
        with self._reading() as connection:
            return self._room.is_nearly_full(connection)

    def remove_all(self, owner: str) -> int:
        """Remove all of an owner's conversations for good, the deleted ones too; how many."""
        with self._writing() as connection:
            return connection.execute(
                delete(conversations).where(conversations.c.owner == owner)
            ).rowcount

    def has_deleted(self) -> bool:
        """Whether anything that was deleted is not purged yet."""
        query = select(conversations.c.id).where(conversations.c.deleted_at.is_not(None)).limit(1)
        with self._reading() as connection:
            return connection.scalar(query) is not None

    def _change(self, owner: str, conversation_id: str, **values: Any) -> None:
        with self._writing() as connection:
            found = rows.find(connection, owner, conversation_id)
            connection.execute(
                update(conversations)
                .where(conversations.c.id == found.id, conversations.c.owner == owner)
                .values(values | {"used_at": datetime.now(UTC)})
            )


def _summary(row: Any, found: str = "") -> ConversationSummary:
    return ConversationSummary(
        row.id, row.title, row.updated_at, row.pinned_at is not None, found, row.head_id
    )
