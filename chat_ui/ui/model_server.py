"""What the panel "Model" asks the server for: plain calls of its script, as the pulse is one.

Each gives JSON; one that fails gives {"error": a sentence}. An access token that comes with a call
goes to that call alone: it is neither kept, nor logged, nor sent back.
"""

from collections.abc import Callable
from typing import Any, Final

import gradio as gr

from chat_ui.errors import InvalidRequestError
from chat_ui.service import ChatService
from chat_ui.ui import model_card
from chat_ui.ui.offload import Offload
from chat_ui.ui.server_call import Answer, Asked, ServerFunction, asked_with, text_of
from chat_ui.ui.texts import texts_for

# Longer ones are no path, no token and no words to search for.
MODEL_CHARS: Final = 4096
TOKEN_CHARS: Final = 512
SEARCH_CHARS: Final = 200
MAX_CONTEXT_TOKENS: Final = 2**31


def server_functions(service: ChatService, offload: Offload) -> list[ServerFunction]:
    """The functions, whose names are those of the service's methods.

    Where the model is fixed there is only what the loaded one is.
    """
    asked = asked_with(offload)

    async def present_card(given: Any, request: gr.Request) -> Answer:
        """The card of the server's model: {"context": tokens or null}."""

        def look(_owner: str) -> Answer:
            found = service.model_card(service.model.model_id, _context(given))
            return {"card": model_card.card(found, texts_for(request))}

        return await asked(request, look)

    if service.settings.model_is_fixed:
        return [present_card]
    return [*_looking(service, asked), *_changing(service, asked)]


def _looking(service: ChatService, asked: Asked) -> list[ServerFunction]:
    async def model_choices(given: Any, request: gr.Request) -> Answer:
        """The picker's groups."""

        def look(_owner: str) -> Answer:
            found = service.model_choices()
            # Some that are not forecast yet will be, in a moment.
            is_pending = any(group.kind == "unknown" and group.choices for group in found)
            return {
                "groups": model_card.groups(found, texts_for(request)),
                "is_pending": is_pending,
            }

        return await asked(request, look)

    async def search_models(given: Any, request: gr.Request) -> Answer:
        """Models of the Hub: {"text": words}."""

        def look(_owner: str) -> Answer:
            found = service.search_models(text_of(given, "text", SEARCH_CHARS))
            return {"options": model_card.options(found, texts_for(request))}

        return await asked(request, look)

    async def any_card(given: Any, request: gr.Request) -> Answer:
        """A model in full: {"model": id, "context": tokens or null, "token": of the Hub}."""

        def look(_owner: str) -> Answer:
            found = service.model_card(_model(given), _context(given), _token(given))
            return {"card": model_card.card(found, texts_for(request))}

        return await asked(request, look)

    return [model_choices, search_models, any_card]


def _changing(service: ChatService, asked: Asked) -> list[ServerFunction]:
    async def switch_model(given: Any, request: gr.Request) -> Answer:
        """Begin to load: {"model": id, "precision": its name, "token": of the Hub, "anyway": true
        where memory may be too short}.
        """

        def change(_owner: str) -> Answer:
            precision = text_of(given, "precision", MODEL_CHARS)
            anyway = isinstance(given, dict) and given.get("anyway") is True
            service.switch_model(_model(given), precision, _token(given), anyway=anyway)
            return {}

        return await asked(request, change)

    async def cancel_load(given: Any, request: gr.Request) -> Answer:
        """End the load that is under way."""
        return await asked(request, lambda _owner: _done(service.cancel_load))

    async def unload_model(given: Any, request: gr.Request) -> Answer:
        """Unload the model."""
        return await asked(request, lambda _owner: _done(service.unload_model))

    return [switch_model, cancel_load, unload_model]


def _done(call: Callable[[], None]) -> Answer:
    call()
    return {}


def _model(given: Any) -> str:
    """Which model: an id or a path.

    Raises:
        InvalidRequestError: it is no text, or empty.
    """
    model = text_of(given, "model", MODEL_CHARS).strip()
    if not model:
        raise InvalidRequestError("Nothing is chosen.", "Choose a model, or type a path.")
    return model


def _token(given: Any) -> str:
    return text_of(given, "token", TOKEN_CHARS).strip()


def _context(given: Any) -> int | None:
    """Tokens, or None for the usual ones.

    Raises:
        InvalidRequestError: it is no number of tokens.
    """
    value = given.get("context") if isinstance(given, dict) else None
    if value is None:
        return None
    if type(value) is not int or not 0 < value <= MAX_CONTEXT_TOKENS:
        raise InvalidRequestError("This is no context.", "Choose one from the list.")
    return value
