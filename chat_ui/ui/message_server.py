"""What is asked of the server about one message: calls of the page's script (`server_call`)."""

from chat_ui.chat.messages import Message
from chat_ui.errors import NotFoundError
from chat_ui.service import ChatService
from chat_ui.ui.details import details
from chat_ui.ui.events import Bars, EditedMessage, OneMessage
from chat_ui.ui.follow import checked_shown
from chat_ui.ui.message_bars import bars, digest
from chat_ui.ui.offload import Offload
from chat_ui.ui.server_call import Answer, ServerFunction, served, told
from chat_ui.ui.texts import Texts


def server_functions(service: ChatService, offload: Offload) -> list[ServerFunction]:
    """The functions."""

    def message(owner: str, given: OneMessage) -> Message:
        found = service.conversation(owner, given.conversation).messages
        try:
            return next(one for one in found if one.id == given.message)
        except StopIteration:
            raise NotFoundError from None

    def message_bars(owner: str, given: Bars, say: Texts) -> Answer:
        window = checked_shown(given.shown, is_public=service.settings.is_public)
        found = bars(service.conversation(owner, given.conversation), window, say)
        return {"bars": found, "digest": digest(found)}

    def message_text(owner: str, given: OneMessage) -> Answer:
        return {"text": message(owner, given).content}

    def message_details(owner: str, given: OneMessage, say: Texts) -> Answer:
        """With the time that it was written at, as ISO 8601 with its zone."""
        found = message(owner, given)
        return {"details": details(found, say), "written": found.created_at.isoformat()}

    def edit_answer(owner: str, given: EditedMessage) -> Answer:
        service.edit_answer(owner, given.conversation, given.message, given.text)
        return {}

    def show_version(owner: str, given: OneMessage) -> Answer:
        service.show_version(owner, given.conversation, given.message)
        return {}

    def branch(owner: str, given: OneMessage) -> Answer:
        return {"conversation": service.branch(owner, given.conversation, given.message)}

    def python_script(owner: str, given: OneMessage) -> Answer:
        return {"text": service.python_script(owner, given.conversation, given.message)}

    return [
        *served(offload, message_text, edit_answer, show_version, branch, python_script),
        *told(offload, message_bars, message_details),
    ]
