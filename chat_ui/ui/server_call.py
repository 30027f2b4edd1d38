"""Plain calls of the page's script to the server: beside Gradio's queue, and quiet when they fail.

Each is given JSON, which may be anything and is checked to be what its `given` is annotated with
(`events.py`), and gives JSON; one that fails gives {"error": a sentence}. Its owner is the one of
the request's cookie, never one that it was given.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, get_type_hints

import gradio as gr

from chat_ui.errors import AccessError, ChatUIError, as_shown
from chat_ui.ui.events import checked
from chat_ui.ui.offload import Offload
from chat_ui.ui.texts import Texts, texts_for
from chat_ui.ui.visitor import owner_of

log = logging.getLogger(__name__)

Answer = dict[str, Any]
ServerFunction = Callable[[Any, gr.Request], Awaitable[Answer]]
Asked = Callable[[gr.Request, Callable[[str], Answer]], Awaitable[Answer]]
"""Runs a call for the request's owner, and makes an answer of what it raises."""


def asked_with(offload: Offload) -> Asked:
    """`Asked`, with the calls off the event loop."""

    async def asked(request: gr.Request, call: Callable[[str], Answer]) -> Answer:
        try:
            # Whoever has no cookie has not loaded the page.
            return await offload(call, owner_of(request))
        except Exception as error:
            if not isinstance(error, ChatUIError):
                log.error("a call of the page failed", exc_info=error)
            return {"error": as_shown(error), "is_access": isinstance(error, AccessError)}

    return asked


def served(offload: Offload, *calls: Callable[[str, Any], Answer]) -> list[ServerFunction]:
    """Server functions of calls that take the owner and what was sent, under the calls' names."""

    def without_texts(call: Callable[[str, Any], Answer]) -> Callable[[str, Any, Texts], Answer]:
        @wraps(call)
        def called(owner: str, given: Any, _say: Texts) -> Answer:
            return call(owner, given)

        return called

    return told(offload, *map(without_texts, calls))


def told(offload: Offload, *calls: Callable[[str, Any, Texts], Answer]) -> list[ServerFunction]:
    """As `served`, for calls that also take the texts of the visitor's language."""
    asked = asked_with(offload)

    def function(call: Callable[[str, Any, Texts], Answer]) -> ServerFunction:
        kind = get_type_hints(call)["given"]

        async def server_function(given: Any, request: gr.Request) -> Answer:
            say = texts_for(request)
            return await asked(request, lambda owner: call(owner, checked(kind, given), say))

        server_function.__name__ = call.__name__  # by which the page's script calls it
        return server_function

    return [function(call) for call in calls]
