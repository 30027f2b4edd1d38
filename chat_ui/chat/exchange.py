"""Conversations out as JSON, and in again from ours and from what other programs export.

    text -> JSON -> objects -> ours | ChatGPT's | Open WebUI's -> Imported

A file is recognised by what is in it. Whatever comes in is checked (`imports.py`), because a file
may be old, cut off, or made to do harm. Nothing is stored here, and no zip is opened.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final, get_args

from chat_ui.chat.foreign_exports import chatgpt, open_webui
from chat_ui.chat.imports import (
    MAX_CONVERSATIONS,
    assembled,
    checked_label,
    checked_text,
    checked_time,
    checked_title,
    damaged,
    encodable,
)
from chat_ui.chat.messages import Conversation, Message, MessageState, Numbers, Role
from chat_ui.chat.recipe import Recipe, recipe_of
from chat_ui.errors import InvalidRequestError

FORMAT: Final = "chat_ui"
VERSION: Final = 1

# More than any count, and what databases keep as a whole number.
_MAX_NUMBER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file held.

    Attributes:
        conversations: those that are good, in the file's order, with the file's ids.
        left_out: how many were not.
    """

    conversations: tuple[Conversation, ...]
    left_out: int = 0


def to_json(conversations: Iterable[Conversation], now: datetime | None = None) -> str:
    """All of the conversations, with their branches and numbers, for `read` and for people.

    Args:
        conversations: their times have zones.
        now: when they are exported; the clock's time if None.

    Returns:
        JSON that UTF-8 can encode: U+FFFD stands for each lone surrogate.
    """
    document = {
        "format": FORMAT,
        "version": VERSION,
        "exported_at": now or datetime.now(UTC),
        "conversations": [_exported(conversation) for conversation in conversations],
    }
    return encodable(json.dumps(document, indent=1, ensure_ascii=False, default=_iso_8601))


def read(text: str, now: datetime | None = None) -> Imported:
    """The conversations of a file: ours, ChatGPT's `conversations.json`, or Open WebUI's export.

    A list of conversations, and one alone, are taken as well.

    Args:
        text: the whole file.
        now: with a zone, stands for times that are missing or absurd; the clock's time if None.

    Raises:
        InvalidRequestError: it is none of these, or holds too many conversations, or none of them
            is good; the sentence then is the first one's.
    """
    now = now or datetime.now(UTC)
    items = _items(_parsed(text))
    if len(items) > MAX_CONVERSATIONS:
        raise InvalidRequestError(
            f"This file holds {len(items):,} conversations; {MAX_CONVERSATIONS:,} is the limit.",
            "Import it in parts.",
        )
    good = []
    refused = []
    for item in items:
        try:
            good.append(_conversation(item, now))
        except InvalidRequestError as error:
            refused.append(error)
    if refused and not good:
        raise refused[0]
    return Imported(tuple(good), len(refused))


def with_new_ids(conversation: Conversation, new_id: Callable[[], str]) -> Conversation:
    """The same conversation under new ids, its own included.

    Args:
        conversation: its parents and its head exist, as `read` sees to.
        new_id: gives another id at each call.
    """
    ids = {message.id: new_id() for message in conversation.messages}

    def new(id_: str | None) -> str | None:
        return None if id_ is None else ids[id_]

    return replace(
        conversation,
        id=new_id(),
        head_id=new(conversation.head_id),
        messages=tuple(
            replace(message, id=ids[message.id], parent_id=new(message.parent_id))
            for message in conversation.messages
        ),
    )


def _exported(conversation: Conversation) -> dict[str, Any]:
    exported = asdict(conversation)
    for message in exported["messages"]:
        # JSON has neither NaN nor infinity; other programs would refuse the whole file.
        message["numbers"] = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in message["numbers"].items()
        }
    return exported


def _iso_8601(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _unknown() -> InvalidRequestError:
    return InvalidRequestError(
        "This file holds no conversations that can be imported.",
        "Choose an export of this app, ChatGPT's conversations.json, or an export of Open WebUI.",
    )


def _parsed(text: str) -> object:
    try:
        # Windows programs begin a file with a byte order mark.
        return json.loads(text.removeprefix("\ufeff"))
    # ValueError: no JSON, or a number of more than 4,300 digits. RecursionError: nested too deep.
    except (ValueError, RecursionError):
        raise _unknown() from None


def _items(document: object) -> list[Any]:
    """The conversations of a document, whatever they are."""
    items: object = document
    if isinstance(document, dict):
        if document.get("format") == FORMAT:
            return _own_items(document)
        items = document.get("chats", [document])
    if not isinstance(items, list) or not items:
        raise _unknown()
    return items


def _own_items(document: dict[str, Any]) -> list[Any]:
    if document.get("version") != VERSION:
        raise InvalidRequestError(
            "This file was written by another version of this app, whose format is not known here.",
            "Update the app, then import it again.",
        )
    items = document.get("conversations")
    if not isinstance(items, list):
        raise _unknown()
    return items


def _conversation(item: object, now: datetime) -> Conversation:
    """One conversation, in whichever of the formats it is.

    Raises:
        InvalidRequestError: it is in none of them, or damaged.
    """
    if isinstance(item, dict):
        if isinstance(item.get("mapping"), dict):
            return chatgpt(item, now)
        if isinstance(item.get("chat"), dict):
            return open_webui(item, now)
        if isinstance(item.get("messages"), list) and "system_prompt" in item:
            return _own(item, now)
        # Open WebUI's older export has no rows around its chats.
        if isinstance(item.get("history"), dict) or isinstance(item.get("messages"), list):
            return open_webui({**item, "chat": item}, now)
    raise _unknown()


def _own(item: dict[str, Any], now: datetime) -> Conversation:
    created_at = checked_time(item.get("created_at"), now, now)
    messages = tuple(_message(message, now, created_at) for message in item["messages"])
    id_, head_id = item.get("id"), item.get("head_id")
    draft = Conversation(
        id=id_ if isinstance(id_, str) else "",
        title=checked_title(item.get("title"), messages),
        system_prompt=checked_text(item.get("system_prompt")),
        created_at=created_at,
        updated_at=checked_time(item.get("updated_at"), now, created_at),
        head_id=head_id if isinstance(head_id, str) else None,
        messages=messages,
    )
    return assembled(draft, {})


def _message(item: object, now: datetime, begun_at: datetime) -> Message:
    if not isinstance(item, dict):
        raise damaged("where a message has to be, there is none")
    id_, parent_id, error = item.get("id"), item.get("parent_id"), item.get("error")
    role: Role | None = _one_of(get_args(Role), item.get("role"))
    state: MessageState | None = _one_of(get_args(MessageState), item.get("state", "complete"))
    if not isinstance(id_, str) or not isinstance(parent_id, str | None):
        raise damaged("one of its messages has no id")
    if role is None or state is None:
        raise damaged("one of its messages has a role or a state that is not known here")
    return Message(
        id=id_,
        parent_id=parent_id,
        role=role,
        content=checked_text(item.get("content")),
        created_at=checked_time(item.get("created_at"), now, begun_at),
        # The export cut it off; no server has ended for that.
        state="stopped" if state == "writing" else state,
        error=None if error is None else checked_text(error),
        numbers=_numbers(item.get("numbers")),
        recipe=_recipe(item.get("recipe")),
    )


def _one_of(known: tuple[Any, ...], value: object) -> Any:
    return next((one for one in known if one == value), None)


def _recipe(item: object) -> Recipe | None:
    """The recipe if all of it is what it should be: half of one would be another answer's."""
    found = recipe_of(item)
    try:
        return found and found.with_texts(checked_text)
    except InvalidRequestError:
        return None


def _numbers(item: object) -> Numbers:
    """The numbers that are what they should be; the others are not known."""
    if not isinstance(item, dict):
        return Numbers()
    found = {field.name: _number(field.type, item.get(field.name)) for field in fields(Numbers)}
    return Numbers(**{name: value for name, value in found.items() if value is not None})


def _number(type_: object, value: object) -> Any:
    """The value if it has the type of a field of `Numbers` and can be one, else None."""
    types = get_args(type_) or (type_,)
    if str in types:
        return checked_label(value)
    # bool is an int to Python. NaN is in no range, and no float holds 10**400.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= _MAX_NUMBER:
        return None
    if float in types:
        return float(value)
    return value if isinstance(value, int) else None
