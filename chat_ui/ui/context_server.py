"""What the meter "Context" asks the server for: a call of the page's script (`server_call`)."""

from dataclasses import asdict
from typing import Any

from chat_ui.chat.generation import GenerationConfig
from chat_ui.service import ChatService, ReplyOptions
from chat_ui.ui.offload import Offload
from chat_ui.ui.server_call import (
    ID_CHARS,
    TEXT_CHARS,
    Answer,
    ServerFunction,
    served,
    text_of,
)


def server_functions(service: ChatService, offload: Offload) -> list[ServerFunction]:
    """The one function there is."""

    def context_use(owner: str, given: Any) -> Answer:
        """What a prompt would take of the window: {"conversation": id, "edited": a
        message's id, "draft": text, "system_prompt": text, "begins_with": text,
        "max_new_tokens": number, "thinking": true or false}.
        """
        given = given if isinstance(given, dict) else {}
        limit = given.get("max_new_tokens")
        config = GenerationConfig(max_new_tokens=limit) if limit else GenerationConfig()
        has_switch = service.model.has_thinking_switch
        found = service.context_use(
            owner,
            text_of(given, "conversation", ID_CHARS) or None,
            text_of(given, "draft", TEXT_CHARS),
            ReplyOptions(
                text_of(given, "system_prompt", TEXT_CHARS),
                config,
                text_of(given, "begins_with", TEXT_CHARS),
                given.get("thinking") is True if has_switch else None,
            ),
            text_of(given, "edited", ID_CHARS) or None,
        )
        return {"use": None if found is None else asdict(found)}

    return served(offload, context_use)
