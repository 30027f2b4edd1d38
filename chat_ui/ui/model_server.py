"""What the panel "Model" asks the server for: plain calls of its script, as the pulse is one.

Each gives JSON; one that fails gives {"error": a sentence}. An access token that comes with a call
goes to that call alone: it is neither kept, nor logged, nor sent back.
"""

from collections.abc import Callable
from typing import Any

import gradio as gr

from chat_ui.service import ChatService
from chat_ui.ui import model_card
from chat_ui.ui.events import Card, Event, HubSearch, PresentCard, Switch, checked
from chat_ui.ui.offload import Offload
from chat_ui.ui.server_call import Answer, Asked, ServerFunction, asked_with
from chat_ui.ui.texts import texts_for


def server_functions(service: ChatService, offload: Offload) -> list[ServerFunction]:
    """The functions, whose names are those of the service's methods.

    Where the model is fixed there is only what the loaded one is.
    """
    asked = asked_with(offload)

    async def present_card(given: Any, request: gr.Request) -> Answer:
        """The card of the server's model."""

        def look(_owner: str) -> Answer:
            context = checked(PresentCard, given).context
            found = service.model_card(service.model.model_id, context)
            return {"card": model_card.card(found, texts_for(request))}

        return await asked(request, look)

    if service.settings.model_is_fixed:
        return [present_card]
    return [*_looking(service, asked), *_changing(service, asked)]


def _looking(service: ChatService, asked: Asked) -> list[ServerFunction]:
    async def model_choices(given: Any, request: gr.Request) -> Answer:
        """The picker's groups."""

        def look(_owner: str) -> Answer:
            checked(Event, given)
            found = service.model_choices()
            # Some that are not forecast yet will be, in a moment.
            is_pending = any(group.kind == "unknown" and group.choices for group in found)
            return {
                "groups": model_card.groups(found, texts_for(request)),
                "is_pending": is_pending,
            }

        return await asked(request, look)

    async def search_models(given: Any, request: gr.Request) -> Answer:
        """Models of the Hub."""

        def look(_owner: str) -> Answer:
            found = service.search_models(checked(HubSearch, given).text)
            return {"options": model_card.options(found, texts_for(request))}

        return await asked(request, look)

    async def any_card(given: Any, request: gr.Request) -> Answer:
        """A model in full."""

        def look(_owner: str) -> Answer:
            of = checked(Card, given)
            found = service.model_card(of.model.strip(), of.context, of.token.strip())
            return {"card": model_card.card(found, texts_for(request))}

        return await asked(request, look)

    return [model_choices, search_models, any_card]


def _changing(service: ChatService, asked: Asked) -> list[ServerFunction]:
    async def switch_model(given: Any, request: gr.Request) -> Answer:
        """Begin to load."""

        def change(_owner: str) -> Answer:
            to = checked(Switch, given)
            model, token = to.model.strip(), to.token.strip()
            service.switch_model(model, to.precision, token, anyway=to.anyway)
            return {}

        return await asked(request, change)

    async def cancel_load(given: Any, request: gr.Request) -> Answer:
        """End the load that is under way."""
        return await asked(request, lambda _owner: _done(service.cancel_load, given))

    async def unload_model(given: Any, request: gr.Request) -> Answer:
        """Unload the model."""
        return await asked(request, lambda _owner: _done(service.unload_model, given))

    return [switch_model, cancel_load, unload_model]


def _done(call: Callable[[], None], given: Any) -> Answer:
    checked(Event, given)
    call()
    return {}
