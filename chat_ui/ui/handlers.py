"""What happens on the page's events: each handler checks what came and calls the service.

They show nothing of the chat themselves: `follow` comes after each of them. What they have to say
they return as an Outcome, which the page's script shows; no error of ours becomes one of Gradio's.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import gradio as gr

from chat_ui.errors import ChatUIError, as_shown
from chat_ui.service import ChatService, ReplyOptions
from chat_ui.ui.events import Answering, Carried, Conversation, Sending, checked
from chat_ui.ui.follow import WINDOW, checked_window
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels.generation import SETTINGS
from chat_ui.ui.visitor import address_of, is_owner, owner_of

log = logging.getLogger(__name__)

# What the page's controls hand over, in this order; page.py names them.
ANSWERING: Final = (
    "conversation",
    "shown",
    "system_prompt",
    "begins_with",
    "thinking",
    *(setting.name for setting in SETTINGS),
)
SENDING: Final = ("text", "edited", "temporary", *ANSWERING)

# {"nonce", "kind", "sentence"}: what an event came to; assets/js/page.js reads it.
Outcome = dict[str, Any]


def outcome(kind: str, sentence: str = "", conversation: str | None = None) -> Outcome:
    """What an event came to. The nonce tells the page two equal ones apart.

    Args:
        kind: opened, absent, sent, unsent, done or refused.
        sentence: what the person is told; "" takes back what was told before.
        conversation: what the page shows from now on; None for what it shows already.
    """
    said = {"nonce": secrets.token_hex(4), "kind": kind, "sentence": sentence}
    return said if conversation is None else said | {"conversation": conversation}


class Handlers:
    """The handlers of one page.

    Args:
        service: the backend.
        offload: runs its blocking calls.
    """

    def __init__(self, service: ChatService, offload: Offload) -> None:
        self._service = service
        self._offload = offload

    async def open(
        self, request: gr.Request, conversation_id: object
    ) -> tuple[str, str, str, int, Outcome]:
        """Show a conversation; "" is a new chat. Gives id, system prompt, how an answer shall
        begin (what was typed there was meant for another one), window, outcome.
        """
        if conversation_id in ("", None):
            return "", "", "", WINDOW, outcome("opened", conversation="")
        try:
            owner, known = owner_of(request), _id(conversation_id)
            conversation = await self._offload(self._service.conversation, owner, known)
        except Exception as error:
            return "", "", "", WINDOW, outcome("absent", self._sentence(error), "")
        said = outcome("opened", conversation=conversation.id)
        return conversation.id, conversation.system_prompt, "", WINDOW, said

    async def load(self, request: gr.Request, conversation_id: object) -> tuple[Any, ...]:
        """Show what the page's address says. A new chat leaves all alone: on a slow machine a
        message may have been sent by then, and would be left.
        """
        shown = await self.open(request, conversation_id)
        if shown[0]:
            return shown
        said = {name: value for name, value in shown[-1].items() if name != "conversation"}
        return gr.skip(), gr.skip(), gr.skip(), gr.skip(), said

    async def send(self, request: gr.Request, *values: object) -> tuple[Any, Outcome]:
        """Store a message and begin its answer. Gives the conversation's id and the outcome.

        Args:
            request: who asks.
            values: of SENDING.
        """
        try:
            owner, sent = (
                owner_of(request),
                self._checked(Sending, SENDING, values),
            )
            options = self._options(request, sent)
            reply = await (
                self._offload(
                    self._service.edit_question,
                    owner,
                    sent.conversation,
                    sent.edited,
                    sent.text,
                    options,
                )
                if sent.edited
                else self._offload(
                    self._service.reply,
                    owner,
                    sent.conversation or None,
                    sent.text,
                    options,
                    after_id=sent.shown or None,
                    is_temporary=sent.temporary,
                )
            )
        except Exception as error:
            return gr.skip(), outcome("unsent", self._sentence(error))
        return reply.conversation_id, outcome("sent", conversation=reply.conversation_id)

    async def regenerate(self, request: gr.Request, *values: object) -> Outcome:
        """Begin another answer to the newest question that the page shows."""

        def begin() -> None:
            owner, asked = (
                owner_of(request),
                self._checked(Answering, ANSWERING, values),
            )
            options = self._options(request, asked)
            self._service.regenerate(owner, asked.conversation, options, asked.shown or None)

        return await self._tried(begin)

    async def go_on(self, request: gr.Request, *values: object) -> Outcome:
        """Go on with the newest answer that the page shows, which was cut."""

        def begin() -> None:
            owner, asked = (
                owner_of(request),
                self._checked(Answering, ANSWERING, values),
            )
            options = replace(self._options(request, asked), begins_with="")
            self._service.continue_answer(owner, asked.conversation, asked.shown or None, options)

        return await self._tried(begin)

    async def stop(self, request: gr.Request, conversation_id: object) -> Outcome:
        """End the answer that is being written."""
        return await self._tried(
            lambda: self._service.stop_reply(owner_of(request), _id(conversation_id))
        )

    async def earlier(self, window: object) -> int:
        """The window with another page of messages above."""
        return checked_window(checked_window(window) + WINDOW)

    def _checked(
        self, kind: type[Carried], names: Sequence[str], values: Sequence[object]
    ) -> Carried:
        return checked(kind, _named(names, values), self._service.settings.limits.new_tokens)

    def _options(self, request: gr.Request, asked: Answering) -> ReplyOptions:
        model = self._service.model
        # Where none is loaded yet, the one that will be passes over a switch that it has not.
        can_switch = model.has_thinking_switch or model.phase != "ready"
        thinking = asked.thinking if can_switch else None
        return ReplyOptions(
            asked.system_prompt,
            asked.config,
            asked.begins_with,
            thinking,
            is_owner=is_owner(request),
            address=address_of(request),
        )

    async def _tried(self, call: Callable[[], object]) -> Outcome:
        try:
            await self._offload(call)
        except Exception as error:
            return outcome("refused", self._sentence(error))
        return outcome("done")

    def _sentence(self, error: Exception) -> str:
        self._service.note_refusal(error)
        if not isinstance(error, ChatUIError):
            log.error("an event failed", exc_info=error)
        return as_shown(error)


def _named(names: Sequence[str], values: Sequence[object]) -> dict[str, object]:
    named = dict(zip(names, values, strict=False))
    return named if len(values) <= len(names) else named | {"": "one too many"}


def _id(value: object) -> str:
    return checked(Conversation, {"conversation": value}).conversation
