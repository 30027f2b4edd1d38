"""What the meter "Context" asks the server for: a call of the page's script (`server_call`)."""

from dataclasses import asdict

from chat_ui.chat.generation import GenerationConfig
from chat_ui.service import ChatService, ReplyOptions
from chat_ui.ui.events import Draft
from chat_ui.ui.offload import Offload
from chat_ui.ui.server_call import Answer, ServerFunction, served


def server_functions(service: ChatService, offload: Offload) -> list[ServerFunction]:
    """The one function there is."""

    def context_use(owner: str, given: Draft) -> Answer:
        """What a prompt would take of the window."""
        limit = given.max_new_tokens
        config = GenerationConfig(max_new_tokens=limit) if limit else GenerationConfig()
        thinking = given.thinking if service.model.has_thinking_switch else None
        found = service.context_use(
            owner,
            given.conversation or None,
            given.draft,
            ReplyOptions(given.system_prompt, config, given.begins_with, thinking),
            given.edited or None,
        )
        return {"use": None if found is None else asdict(found)}

    return served(offload, context_use)
