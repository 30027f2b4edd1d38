"""Versions of messages: siblings under one parent, and which of them is shown.

Nothing that was written is altered or deleted here: what changes is the head.
"""

from datetime import UTC, datetime

from sqlalchemy import Connection, select, update

from chat_ui.chat.messages import Message
from chat_ui.chat.recipe import Recipe
from chat_ui.errors import NotFoundError
from chat_ui.history import rows
from chat_ui.history.room import UNLIMITED, Room
from chat_ui.history.rows import Transaction
from chat_ui.history.tables import conversations, messages


class Versions:
    """The versions in all conversations; `Store.versions` is the one there is.

    Any method raises `HistoryError` when the database fails, and has then changed nothing, and
    `NotFoundError` where this owner has no such conversation, or it has no such message.

    Args:
        writing: begins a transaction that writes.
        room: how much may be kept; `NotAllowedError` tells who writes more.
    """

    def __init__(self, writing: Transaction, room: Room = UNLIMITED) -> None:
        self._writing = writing
        self._room = room

    def ask(
        self,
        owner: str,
        conversation_id: str,
        question_id: str,
        text: str,
        system_prompt: str,
        recipe: Recipe | None = None,
    ) -> tuple[Message, Message]:
        """Store another version of a question and, as the new head, its answer to be written.

        Args:
            owner: whose conversation it is.
            conversation_id: the conversation.
            question_id: the user's message, beside which it stands.
            text: what is asked instead.
            system_prompt: the conversation's from now on.
            recipe: how the answer is asked for. It begins with the text that it gives.

        Returns:
            The question and the answer, whose state is "writing".
        """
        with self._writing() as connection:
            found = rows.find(connection, owner, conversation_id)
            self._room.refuse_surplus(connection, owner)
            parent_id = rows.require(connection, owner, found.id, question_id, "user")
            question = rows.append(connection, found.id, parent_id, "user", rows.storable(text))
            answer = rows.begin_answer(
                connection, found.id, question.id, rows.NOTHING_KNOWN, recipe
            )
            rows.show(
                connection, owner, found.id, answer, found.title, rows.storable(system_prompt)
            )
        return question, answer

    def write(self, owner: str, conversation_id: str, answer_id: str, text: str) -> Message:
        """Store another version of an answer, which a person wrote; it becomes the head.

        Args:
            owner: whose conversation it is.
            conversation_id: the conversation.
            answer_id: the answer, beside which it stands.
            text: all of it.
        """
        with self._writing() as connection:
            found = rows.find(connection, owner, conversation_id)
            self._room.refuse_surplus(connection, owner)
            parent_id = rows.require(connection, owner, found.id, answer_id, "assistant")
            answer = rows.append(connection, found.id, parent_id, "assistant", rows.storable(text))
            rows.show(connection, owner, found.id, answer, found.title, found.system_prompt)
        return answer

    def show(self, owner: str, conversation_id: str, message_id: str) -> str:
        """Make the newest leaf below a message the head; the list's order stays.

        Returns:
            The leaf's id: the message's own where nothing follows it.
        """
        with self._writing() as connection:
            found = rows.find(connection, owner, conversation_id)
            leaf = _newest_below(connection, found.id, rows.checked(message_id))
            connection.execute(
                update(conversations)
                .where(conversations.c.id == found.id, conversations.c.owner == owner)
                .values(head_id=leaf, used_at=datetime.now(UTC))
            )
        return leaf


def _newest_below(connection: Connection, conversation_id: str, message_id: str) -> str:
    """The newest of a message and all that follows it, which nothing follows.

    Raises:
        NotFoundError: the conversation has no such message.
    """
    query = (
        select(messages.c.id, messages.c.parent_id)
        .where(messages.c.conversation_id == conversation_id)
        .order_by(messages.c.sequence)
    )
    below: set[str] = set()
    newest: str | None = None
    # Parents come before children.
    for row in connection.execute(query):
        if row.id == message_id or row.parent_id in below:
            below.add(row.id)
            newest = row.id
    if newest is None:
        raise NotFoundError
    return newest
