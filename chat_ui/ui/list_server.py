"""What the list of conversations asks the server for: plain calls of its script (`server_call`)."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from chat_ui.chat.messages import ConversationSummary
from chat_ui.service import ChatService
from chat_ui.ui.events import Export, Listed, Pinning, Renaming, Search
from chat_ui.ui.offload import Offload
from chat_ui.ui.server_call import Answer, ServerFunction, served, told
from chat_ui.ui.texts import ENGLISH, Texts


def server_functions(service: ChatService, offload: Offload) -> list[ServerFunction]:
    """The functions; those that change something give {} when it is done."""

    def search_conversations(owner: str, given: Search, say: Texts) -> Answer:
        return {"conversations": lines(service.search_conversations(owner, given.text), say)}

    def rename_conversation(owner: str, given: Renaming) -> Answer:
        service.rename_conversation(owner, given.id, given.title)
        return {}

    def pin_conversation(owner: str, given: Pinning) -> Answer:
        service.pin_conversation(owner, given.id, given.is_pinned)
        return {}

    def delete_conversation(owner: str, given: Listed) -> Answer:
        service.delete_conversation(owner, given.id)
        return {}

    def restore_conversation(owner: str, given: Listed) -> Answer:
        service.restore_conversation(owner, given.id)
        return {}

    def export_conversations(owner: str, given: Export) -> Answer:
        if given.form == "markdown":
            name, text = service.export_markdown(owner, given.id or None)
            return {"name": name, "text": text, "type": "text/markdown;charset=utf-8"}
        name, text = service.export_json(owner, given.id or None)
        return {"name": name, "text": text, "type": "application/json"}

    return [
        *told(offload, search_conversations),
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
