"""What a conversation from a file has to be: its texts, times and tree, checked or mended.

A value that is missing or absurd is replaced where something else does as well (a time, a title, a
parent); what would change what was said is refused. This module knows no file format:
`exchange.py` knows ours, `foreign_exports.py` those of others.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import Final

from chat_ui.chat.messages import Conversation, Message, title_of
from chat_ui.errors import InvalidRequestError

# ChatGPT exports of 2,500 conversations are known; this is a few times as many, and reading and
# storing them still ends.
MAX_CONVERSATIONS: Final = 10_000
# All branches together. Someone who sends 50 a day needs half a year for as many.
MAX_MESSAGES: Final = 10_000
# A long book. The largest context windows hold about as much, and no page shows more at once.
MAX_CHARS: Final = 1_000_000

# Ours have 60 at most, and others' are hardly longer; a list of chats has no room for more.
_MAX_TITLE_CHARS: Final = 200
# A repository's name on the Hub has 96, its owner's 42.
_MAX_LABEL_CHARS: Final = 200
# No chat of these programs is older; a time of 0 or 1 means that nobody knew.
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
# The clock that wrote the file, and its time zone, may be off.
_TOLERANCE: Final = timedelta(days=1)
# In seconds, this is the year 5138; in milliseconds, 1973.
_MILLISECONDS_ABOVE: Final = 1e11
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def encodable(text: str) -> str:
    """A text as UTF-8 takes it: U+FFFD stands for each lone surrogate."""
    return _SURROGATE.sub("\ufffd", text)


def damaged(why: str) -> InvalidRequestError:
    """The error for one conversation that can't be taken; `why` is a clause, without a full stop.

    Returns:
        The error, for the caller to raise.
    """
    return InvalidRequestError(
        f"A conversation in this file can't be imported: {why}.",
        "Export it again, or take it out of the file.",
    )


def checked_text(value: object) -> str:
    """A message or a system prompt as it is kept.

    Raises:
        InvalidRequestError: it is no text, or has more than `MAX_CHARS` characters.
    """
    if not isinstance(value, str):
        raise damaged("where a text has to be, there is none")
    if len(value) > MAX_CHARS:
        raise damaged(
            f"one of its texts has {len(value):,} characters, and {MAX_CHARS:,} is the limit"
        )
    return encodable(value)


def checked_label(value: object) -> str | None:
    """A model's or a precision's name; None where there is none that a page could show."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_LABEL_CHARS:
        return None
    return encodable(value)


def checked_title(value: object, messages: Sequence[Message]) -> str:
    """The title if there is one, cut where it is too long; else the first message's beginning."""
    if not isinstance(value, str) or not value.strip():
        value = next((message.content for message in messages if message.role == "user"), "")
        return title_of(value)
    return encodable(value if len(value) <= _MAX_TITLE_CHARS else title_of(value))


def checked_time(value: object, now: datetime, otherwise: datetime) -> datetime:
    """A time in UTC, from ISO 8601 (UTC where it names no zone) or from seconds or milliseconds.

    Args:
        value: as the file has it.
        now: with a zone; what is later is taken for now, and what is more than a day later, absurd.
        otherwise: for a time that is missing, unreadable or absurd.

    Returns:
        A time that is not later than `now`, or `otherwise`.
    """
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            found = found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
        elif isinstance(value, int | float):
            found = datetime.fromtimestamp(
                value / 1000 if value > _MILLISECONDS_ABOVE else value, UTC
            )
        else:
            return otherwise
    except (ValueError, OverflowError, OSError):
        return otherwise
    return min(found, now) if _EARLIEST <= found <= now + _TOLERANCE else otherwise


def assembled(draft: Conversation, parents: Mapping[str, str | None]) -> Conversation:
    """A conversation whose tree can be relied on.

    Messages keep their order, but come after their parents. One whose parent was left out follows
    the nearest ancestor that wasn't, and begins the conversation where there is none. A head that
    doesn't exist gives way to the last leaf.

    Args:
        draft: messages in order of creation; parents and head may be anything.
        parents: the parent of each message that was left out.

    Raises:
        InvalidRequestError: too many messages, two with one id, or a circle.
    """
    if len(draft.messages) > MAX_MESSAGES:
        raise damaged(f"it has {len(draft.messages):,} messages, and {MAX_MESSAGES:,} is the limit")
    ids = {message.id for message in draft.messages}
    if len(ids) < len(draft.messages):
        raise damaged("two of its messages have the same id")
    nearest = _nearest(ids, parents)
    messages = _parents_first(
        [replace(message, parent_id=nearest(message.parent_id)) for message in draft.messages]
    )
    head_id = nearest(draft.head_id)
    if head_id is None:
        followed = {message.parent_id for message in messages}
        leaves = (message.id for message in reversed(messages) if message.id not in followed)
        head_id = next(leaves, None)
    return replace(draft, head_id=head_id, messages=tuple(messages))


def _nearest(
    ids: Collection[str], parents: Mapping[str, str | None]
) -> Callable[[str | None], str | None]:
    """A function from an id to itself or to its nearest ancestor among `ids`, None without one."""
    known: dict[str, str | None] = {}

    def nearest(id_: str | None) -> str | None:
        passed = []
        while id_ is not None and id_ not in ids and id_ not in known:
            known[id_] = None  # what comes back to it has gone round in a circle
            passed.append(id_)
            id_ = parents.get(id_)
        found = known[id_] if id_ is not None and id_ in known else id_
        # Remembered for all of them, or many children of one long chain would walk it again.
        known.update(dict.fromkeys(passed, found))
        return found

    return nearest


def _parents_first(messages: Sequence[Message]) -> list[Message]:
    """The messages in their order as far as parents come before children.

    Raises:
        InvalidRequestError: some follow each other in a circle.
    """
    children: dict[str | None, list[int]] = {}
    for place, message in enumerate(messages):
        children.setdefault(message.parent_id, []).append(place)
    ready = children.get(None, [])
    heapify(ready)
    ordered = []
    while ready:
        message = messages[heappop(ready)]
        ordered.append(message)
        for place in children.get(message.id, ()):
            heappush(ready, place)
    if len(ordered) < len(messages):
        raise damaged("its messages follow each other in a circle")
    return ordered
