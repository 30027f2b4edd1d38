"""What is asked of the server about one message: calls of the page's script (`server_call`)."""

from typing import Any

from chat_ui.chat.messages import Message
from chat_ui.errors import NotFoundError
from chat_ui.service import ChatService
from chat_ui.ui.details import details
from chat_ui.ui.follow import checked_window
from chat_ui.ui.message_bars import bars, digest
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
from chat_ui.ui.texts import Texts


def server_functions(service: ChatService, offload: Offload) -> list[ServerFunction]:
    """The functions. Each is given {"conversation": its id, "message": its id}, and more where it
    says so.
    """

    def message(owner: str, given: Any) -> Message:
        conversation_id, message_id = _ids(given)
        found = service.conversation(owner, conversation_id).messages
        try:
            return next(one for one in found if one.id == message_id)
        except StopIteration:
            raise NotFoundError from None

    def message_bars(owner: str, given: Any, say: Texts) -> Answer:
        """With {"shown": how many of the newest messages}, and without a message."""
        conversation_id, _ = _ids(given)
        window = checked_window(given.get("shown") if isinstance(given, dict) else None)
        found = bars(service.conversation(owner, conversation_id), window, say)
        return {"bars": found, "digest": digest(found)}

    def message_text(owner: str, given: Any) -> Answer:
        return {"text": message(owner, given).content}

    def message_details(owner: str, given: Any, say: Texts) -> Answer:
        """With the time that it was written at, as ISO 8601 with its zone."""
        found = message(owner, given)
        return {"details": details(found, say), "written": found.created_at.isoformat()}

    def edit_answer(owner: str, given: Any) -> Answer:
        """With {"text": what it says from now on}."""
        service.edit_answer(owner, *_ids(given), text_of(given, "text", TEXT_CHARS))
        return {}

    def show_version(owner: str, given: Any) -> Answer:
        service.show_version(owner, *_ids(given))
        return {}

    def branch(owner: str, given: Any) -> Answer:
        return {"conversation": service.branch(owner, *_ids(given))}

    def python_script(owner: str, given: Any) -> Answer:
        return {"text": service.python_script(owner, *_ids(given))}

    return [
        *served(offload, message_text, edit_answer, show_version, branch, python_script),
        *told(offload, message_bars, message_details),
    ]


def _ids(given: Any) -> tuple[str, str]:
    return text_of(given, "conversation", ID_CHARS), text_of(given, "message", ID_CHARS)
