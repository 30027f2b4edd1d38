"""What the panel "Model" asks the server for: plain calls of its script, as the pulse is one.

Each gives JSON; one that fails gives {"error": a sentence}. An access token that comes with a call
goes to that call alone: it is neither kept, nor logged, nor sent back.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import gradio as gr

from chat_ui.errors import BusyError
from chat_ui.service import ChatService, ModelCard
from chat_ui.ui import model_card
from chat_ui.ui.events import Card, Event, HubSearch, PresentCard, Switch, checked
from chat_ui.ui.offload import Offload
from chat_ui.ui.server_call import Answer, Asked, ServerFunction, asked_with
from chat_ui.ui.texts import texts_for
from chat_ui.ui.visitor import is_owner

# More than a page offers contexts.
KEPT_CARDS: Final = 32
KEPT_CARDS_S: Final = 10.0


def server_functions(service: ChatService, offload: Offload) -> list[ServerFunction]:
    """The functions, whose names are those of the service's methods.

    Where the model is fixed the service refuses all but the owner; others are told what the loaded
    one is.
    """
    asked = asked_with(offload)
    return [_presenting(service, asked), *_looking(service, asked), *_changing(service, asked)]


def _presenting(service: ChatService, asked: Asked) -> ServerFunction:
    kept = _KeptCards(lambda context: service.model_card(service.model.model_id, context))

    async def present_card(given: Any, request: gr.Request) -> Answer:
        """The card of the server's model."""

        def look(_owner: str) -> Answer:
            context = checked(PresentCard, given).context
            found = kept.card(service.model.revision, context)
            return {"card": model_card.card(found, texts_for(request))}

        return await asked(request, look)

    return present_card


class _KeptCards:
    """Strangers' cards: each is a forecast, so that all of them together get a few at a time.

    Args:
        make: gives the card of the server's model, for a context.
        clock: gives seconds.
    """

    def __init__(
        self, make: Callable[[int | None], ModelCard], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[int, int | None], tuple[float, Future[ModelCard]]] = {}

    def card(self, revision: int, context: int | None) -> ModelCard:
        """The card, which may be `KEPT_CARDS_S` old. Who asks for one that is being made waits.

        Raises:
            BusyError: too many other ones were asked for in that time.
        """
        key = revision, context
        with self._lock:
            now = self._clock()
            self._kept = {
                key: (at, card) for key, (at, card) in self._kept.items() if now - at < KEPT_CARDS_S
            }
            is_new = key not in self._kept
            if is_new:
                if len(self._kept) >= KEPT_CARDS:
                    raise BusyError(
                        "Many people are looking at the model.", "Look again in a few seconds."
                    )
                self._kept[key] = now, Future()
            card = self._kept[key][1]
        if is_new:  # without the lock: a slow one must not hold up the others
            try:
                card.set_result(self._make(context))
            except BaseException as error:
                with self._lock:
                    self._kept.pop(key, None)
                card.set_exception(error)
        return card.result()


def _looking(service: ChatService, asked: Asked) -> list[ServerFunction]:
    async def model_choices(given: Any, request: gr.Request) -> Answer:
        """The picker's groups."""

        def look(_owner: str) -> Answer:
            checked(Event, given)
            found = service.model_choices(is_owner=is_owner(request))
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
            text = checked(HubSearch, given).text
            found = service.search_models(text, is_owner=is_owner(request))
            return {"options": model_card.options(found, texts_for(request))}

        return await asked(request, look)

    async def any_card(given: Any, request: gr.Request) -> Answer:
        """A model in full."""

        def look(_owner: str) -> Answer:
            of = checked(Card, given)
            service.refuse_where_fixed(is_owner(request))  # others get the kept cards
            found = service.model_card(
                of.model.strip(), of.context, of.token.strip(), is_owner=is_owner(request)
            )
            return {"card": model_card.card(found, texts_for(request))}

        return await asked(request, look)

    return [model_choices, search_models, any_card]


def _changing(service: ChatService, asked: Asked) -> list[ServerFunction]:
    async def switch_model(given: Any, request: gr.Request) -> Answer:
        """Begin to load."""

        def change(_owner: str) -> Answer:
            to = checked(Switch, given)
            service.switch_model(
                to.model.strip(),
                to.precision,
                to.token.strip(),
                anyway=to.anyway,
                is_owner=is_owner(request),
            )
            return {}

        return await asked(request, change)

    async def cancel_load(given: Any, request: gr.Request) -> Answer:
        """End the load that is under way."""
        return await _done(service.cancel_load, asked, given, request)

    async def unload_model(given: Any, request: gr.Request) -> Answer:
        """Unload the model."""
        return await _done(service.unload_model, asked, given, request)

    return [switch_model, cancel_load, unload_model]


async def _done(
    change: Callable[..., None], asked: Asked, given: Any, request: gr.Request
) -> Answer:
    """A change that is told nothing but whether the owner asks for it."""

    def run(_owner: str) -> Answer:
        checked(Event, given)
        change(is_owner=is_owner(request))
        return {}

    return await asked(request, run)
