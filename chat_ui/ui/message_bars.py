"""What stands below each message: which version it is, and of how many; assets/js/messages.js.

It is not sent with the updates of a growing answer: those carry a digest, and a page that has
another one asks for the bars.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from chat_ui.chat.messages import Conversation, Message
from chat_ui.ui import view
from chat_ui.ui.details import details, facts, settings_line
from chat_ui.ui.texts import ENGLISH, Texts


def bars(conversation: Conversation, window: int, say: Texts = ENGLISH) -> list[dict[str, Any]]:
    """A value for each of the last `window` messages of the shown path."""
    path = conversation.path()[-window:]
    return [
        _bar(message, [version.id for version in versions], say)
        for message, versions in zip(path, conversation.siblings(path), strict=True)
    ]


def digest(bars: Sequence[dict[str, Any]]) -> str:
    """Another one for other bars. How many rows the last message has is left out: it grows."""
    last = [{**bar, "parts": 0, "at": 0} for bar in bars[-1:]]
    text = json.dumps([*bars[:-1], *last])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rows(entries: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many rows of the chat a message's entries have, and which its bar stands below."""
    parts, at = view.rows(entries)
    return {"parts": parts, "at": at}


def _bar(message: Message, ids: list[str], say: Texts) -> dict[str, Any]:
    bar: dict[str, Any] = {"id": message.id, "role": message.role} | rows(view.entries(message))
    if message.role == "assistant" and message.state == "writing":
        # Each token would make them others; the page keeps their place.
        bar |= {"facts": "", "settings": ""}
    elif message.role == "assistant" and message.numbers.model:
        told = details(message, say)
        bar |= {"facts": facts(told, say), "settings": settings_line(told, say)}
    if len(ids) == 1:
        return bar
    index = ids.index(message.id)
    return bar | {
        "index": index,
        "count": len(ids),
        "previous": ids[index - 1] if index else None,
        "next": ids[index + 1] if index + 1 < len(ids) else None,
    }
