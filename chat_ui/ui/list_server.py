"""What the list of conversations asks the server for: plain calls of its script (`server_call`)."""

import threading
from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final

from chat_ui.chat.messages import ConversationSummary
from chat_ui.errors import BusyError, InvalidRequestError
from chat_ui.service import ChatService
from chat_ui.service.files import MAX_FILE_CHARS
from chat_ui.ui.offload import Offload
from chat_ui.ui.server_call import (
    ID_CHARS,
    TEXT_CHARS,
    Answer,
    ServerFunction,
    served,
    text_of,
    told,
)
from chat_ui.ui.texts import ENGLISH, Texts

# Of a file that is imported. Of strangers less is taken than `MAX_FILE_CHARS`, of which
# assets/js/files.js knows, too: reading it takes several times that in memory.
STRANGERS_FILE_CHARS: Final = 2_000_000


def server_functions(service: ChatService, offload: Offload) -> list[ServerFunction]:
    """The functions; those that change something give {} when it is done."""
    importing = threading.Lock()  # one at a time, of all visitors

    def search_conversations(owner: str, given: Any, say: Texts) -> Answer:
        found = service.search_conversations(owner, text_of(given, "text", TEXT_CHARS))
        return {"conversations": lines(found, say)}

    def rename_conversation(owner: str, given: Any) -> Answer:
        service.rename_conversation(owner, _id(given), text_of(given, "title", TEXT_CHARS))
        return {}

    def pin_conversation(owner: str, given: Any) -> Answer:
        is_pinned = isinstance(given, dict) and given.get("is_pinned") is True
        service.pin_conversation(owner, _id(given), is_pinned)
        return {}

    def delete_conversation(owner: str, given: Any) -> Answer:
        service.delete_conversation(owner, _id(given))
        return {}

    def restore_conversation(owner: str, given: Any) -> Answer:
        service.restore_conversation(owner, _id(given))
        return {}

    def export_conversations(owner: str, given: Any) -> Answer:
        """Of {"id": one of them, or "" for all, "form": "json" or "markdown"}."""
        return _file(service, owner, _id(given), text_of(given, "form", ID_CHARS))

    def import_conversations(owner: str, given: Any, say: Texts) -> Answer:
        """Of {"text": a file's}."""
        limit = STRANGERS_FILE_CHARS if service.settings.model_is_fixed else MAX_FILE_CHARS
        text = text_of(given, "text", MAX_FILE_CHARS)
        if len(text) > limit:
            raise InvalidRequestError(
                f"This file is larger than {limit:,} characters.", "Import it in parts."
            )
        if not importing.acquire(blocking=False):
            raise BusyError("Another file is being imported.", "Try again in a moment.")
        try:
            found = service.add_conversations(owner, text)
        finally:
            importing.release()
        sentence = imported(len(found.ids), found.left_out, say)
        return {"sentence": sentence, "conversation": found.ids[0]}

    return [
        *told(offload, search_conversations, import_conversations),
        *served(
            offload,
            rename_conversation,
            pin_conversation,
            delete_conversation,
            restore_conversation,
            export_conversations,
        ),
    ]


def lines(summaries: Sequence[ConversationSummary], say: Texts = ENGLISH) -> list[dict[str, Any]]:
    """The list as assets/js/rail.js draws it."""
    return [
        {
            "id": summary.id,
            "title": summary.title or say("controls.new_chat"),
            "updated_at": summary.updated_at.astimezone(UTC).isoformat(),
            "is_pinned": summary.is_pinned,
            "found": summary.found,
        }
        for summary in summaries
    ]


def imported(count: int, left_out: int, say: Texts = ENGLISH) -> str:
    """What an import came to, in a sentence or two."""
    done = say("list.imported", count)
    return f"{done} {say('list.left_out', left_out)}" if left_out else done


def _file(service: ChatService, owner: str, conversation_id: str, form: str) -> Answer:
    if form == "markdown":
        name, text = service.export_markdown(owner, conversation_id or None)
        return {"name": name, "text": text, "type": "text/markdown;charset=utf-8"}
    name, text = service.export_json(owner, conversation_id or None)
    return {"name": name, "text": text, "type": "application/json"}


def _id(given: Any) -> str:
    return text_of(given, "id", ID_CHARS)
