"""The statements that the store's transactions are made of, and rows as values.

Every function works within the caller's transaction.
"""

import re
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select, update

from chat_ui.chat.messages import (
    TEMPORARY_MARK,
    Conversation,
    Message,
    MessageState,
    Numbers,
    Role,
)
from chat_ui.chat.recipe import Recipe, recipe_of
from chat_ui.errors import NotFoundError
from chat_ui.history.tables import conversations, messages

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Begins a transaction, which is committed at its end."""

_ID: Final = re.compile(f"[0-9a-f{TEMPORARY_MARK}][0-9a-f]{{31}}")
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_NUMBERS: Final = frozenset(field.name for field in fields(Numbers))
NOTHING_KNOWN: Final = Numbers()


def storable(text: str) -> str:
    """A text as every database takes it: U+FFFD stands for NUL and for each lone surrogate."""
    return _UNSTORABLE.sub("\ufffd", text)


def new_id(mark: str = "") -> str:
    """A random id, which nobody guesses: 128 bits as hex, or 124 behind a mark of one letter."""
    return (mark + secrets.token_hex(16))[:32]


def checked(id_: object) -> str:
    """An id as ours are made; anything else names nothing, and no database is asked."""
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise NotFoundError
    return id_


def find(connection: Connection, owner: str, conversation_id: str) -> Row[Any]:
    """The conversation's row, or NotFoundError: foreign, deleted and unknown ones are one case."""
    c = conversations.c
    query = select(conversations).where(
        c.id == checked(conversation_id), c.owner == owner, c.deleted_at.is_(None)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError
    return row


def require(
    connection: Connection, owner: str, conversation_id: str, message_id: str, *roles: Role
) -> str | None:
    """The parent's id of a message of the owner's conversation, in one of these roles.

    Raises:
        NotFoundError: there is none.
    """
    query = (
        select(messages.c.parent_id)
        .join(conversations, conversations.c.id == messages.c.conversation_id)
        .where(
            messages.c.id == checked(message_id),
            messages.c.role.in_(roles),
            conversations.c.id == conversation_id,
            conversations.c.owner == owner,
        )
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError
    parent_id: str | None = row.parent_id
    return parent_id


def next_recency(connection: Connection, owner: str) -> int:
    """A number larger than that of any of the owner's conversations."""
    query = select(func.max(conversations.c.recency)).where(conversations.c.owner == owner)
    return (connection.scalar(query) or 0) + 1


def append(
    connection: Connection,
    conversation_id: str,
    parent_id: str | None,
    role: Role,
    content: str,
    state: MessageState = "complete",
    numbers: Numbers = NOTHING_KNOWN,
    recipe: Recipe | None = None,
) -> Message:
    """Store a new message."""
    message = Message(
        id=new_id(),
        parent_id=parent_id,
        role=role,
        content=content,
        created_at=datetime.now(UTC),
        state=state,
        numbers=numbers,
        recipe=recipe,
    )
    connection.execute(insert(messages).values(conversation_id=conversation_id, **asdict(message)))
    return message


def begin_answer(
    connection: Connection,
    conversation_id: str,
    question_id: str,
    numbers: Numbers,
    recipe: Recipe | None,
) -> Message:
    """Store an answer that is yet to be written, as far as its recipe gives it."""
    recipe = recipe and recipe.with_texts(storable)
    given = recipe.given if recipe else ""
    return append(
        connection, conversation_id, question_id, "assistant", given, "writing", numbers, recipe
    )


def show(
    connection: Connection,
    owner: str,
    conversation_id: str,
    head: Message,
    title: str,
    system_prompt: str,
) -> None:
    """Make an answer the head, and its conversation the first of the list."""
    connection.execute(
        update(conversations)
        .where(conversations.c.id == conversation_id, conversations.c.owner == owner)
        .values(
            head_id=head.id,
            title=title,
            system_prompt=system_prompt,
            recency=next_recency(connection, owner),
            updated_at=head.created_at,
            used_at=head.created_at,
        )
    )


def whole(conversation: Conversation) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A conversation as it is in rows, ids and times too: its own, and its messages'.

    An answer that is being written is stopped there: it goes on where it was copied from.

    Args:
        conversation: its parents come before children.
    """
    own = {
        "id": conversation.id,
        "title": storable(conversation.title),
        "system_prompt": storable(conversation.system_prompt),
        "head_id": conversation.head_id,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
    }
    return own, [
        asdict(message)
        | {
            "conversation_id": conversation.id,
            "content": storable(message.content),
            "error": None if message.error is None else storable(message.error),
            "state": "stopped" if message.state == "writing" else message.state,
            "recipe": message.recipe and asdict(message.recipe.with_texts(storable)),
        }
        for message in conversation.messages
    ]


def message_of(row: Row[Any]) -> Message:
    """A row as a value."""
    # A newer version may have stored numbers that this one does not know.
    stored = row.numbers if isinstance(row.numbers, dict) else {}
    numbers = {name: value for name, value in stored.items() if name in _NUMBERS}
    return Message(
        id=row.id,
        parent_id=row.parent_id,
        role=row.role,
        content=row.content,
        created_at=row.created_at,
        state=row.state,
        error=row.error,
        numbers=Numbers(**numbers),
        recipe=recipe_of(row.recipe),
    )
