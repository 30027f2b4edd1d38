"""What stands below each message: which version it is, and of how many; assets/js/messages.js."""

from typing import Any

from chat_ui.chat.messages import Conversation, Message
from chat_ui.ui import view
from chat_ui.ui.details import facts, settings_line


def bars(conversation: Conversation, window: int) -> list[dict[str, Any]]:
    """A value for each of the last `window` messages of the shown path.

    Only what the script needs, because it goes to the page with every update.
    """
    path = conversation.path()[-window:]
    return [
        _bar(message, [version.id for version in versions])
        for message, versions in zip(path, conversation.siblings(path), strict=True)
    ]


def rows(message: Message) -> dict[str, int]:
    """How many rows of the chat the message has, and which of them its bar stands below."""
    parts, at = view.rows(message)
    return {"parts": parts, "at": at}


def _bar(message: Message, ids: list[str]) -> dict[str, Any]:
    bar: dict[str, Any] = {"id": message.id, "role": message.role} | rows(message)
    if message.role == "assistant" and message.numbers.model:
        bar |= {"facts": facts(message), "settings": settings_line(message)}
    if len(ids) == 1:
        return bar
    index = ids.index(message.id)
    return bar | {
        "index": index,
        "count": len(ids),
        "previous": ids[index - 1] if index else None,
        "next": ids[index + 1] if index + 1 < len(ids) else None,
    }
