"""Plain calls of the page's script to the server: beside Gradio's queue, and quiet when they fail.

Each is given JSON, which may be anything, and gives JSON; one that fails gives {"error": a
sentence}. Its owner is the one of the request's cookie, never one that it was given.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from chat_ui.errors import AccessError, ChatUIError, InvalidRequestError, as_shown
from chat_ui.ui.offload import Offload
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


def text_of(given: Any, name: str, chars: int) -> str:
    """A text of what was sent; "" where it is missing.

    Raises:
        InvalidRequestError: it is no text, or too long. What it was is not said: it may be a token.
    """
    value = given.get(name, "") if isinstance(given, dict) else ""
    if not isinstance(value, str) or len(value) > chars:
        raise InvalidRequestError("This can't be taken.", "Check what you typed.")
    return value
