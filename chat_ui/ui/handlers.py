"""What happens on the page's events: each handler checks what came and calls the service.

They show nothing of the chat themselves: `follow` comes after each of them. What they have to say
they return as an Outcome, which the page's script shows; no error of ours becomes one of Gradio's.
"""

import logging
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from chat_ui.errors import ChatUIError, InvalidRequestError, as_shown
from chat_ui.service import ChatService, ReplyOptions
from chat_ui.ui.follow import WINDOW, checked_window
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels import generation
from chat_ui.ui.server_call import ID_CHARS
from chat_ui.ui.visitor import owner_of

log = logging.getLogger(__name__)

T = TypeVar("T")

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

    async def send(
        self,
        request: gr.Request,
        text: object,
        edited_id: object,
        is_temporary: object,
        conversation_id: object,
        shown_id: object,
        system_prompt: object,
        begins_with: object,
        thinking: object,
        *values: object,
    ) -> tuple[str, Outcome]:
        """Store a message and begin its answer. Gives the conversation's id and the outcome.

        Args:
            request: who asks.
            text: the message.
            edited_id: the question that it is another version of; "" for a new one.
            is_temporary: whether a conversation that it begins is kept in memory only.
            conversation_id: where; "" begins a new one.
            shown_id: the last message that the page shows, which this one follows: another page
                may show another version by now. "" where it knows of none.
            system_prompt: the panel's.
            begins_with: how the answer shall begin.
            thinking: whether to think first, where the model can be told.
            values: the generation settings.
        """
        try:
            owner = owner_of(request)
            options = self._options(system_prompt, begins_with, thinking, values)
            conversation, edited = _id(conversation_id), _id(edited_id)
            reply = await (
                self._offload(
                    self._service.edit_question, owner, conversation, edited, _text(text), options
                )
                if edited
                else self._offload(
                    self._service.reply,
                    owner,
                    conversation or None,
                    _text(text),
                    options,
                    after_id=_id(shown_id) or None,
                    is_temporary=is_temporary is True,
                )
            )
        except Exception as error:
            return _id_or_none(conversation_id), outcome("unsent", self._sentence(error))
        return reply.conversation_id, outcome("sent", conversation=reply.conversation_id)

    async def regenerate(
        self,
        request: gr.Request,
        conversation_id: object,
        shown_id: object,
        system_prompt: object,
        begins_with: object,
        thinking: object,
        *values: object,
    ) -> Outcome:
        """Begin another answer to the newest question that the page shows."""
        return await self._tried(
            lambda: self._service.regenerate(
                owner_of(request),
                _id(conversation_id),
                self._options(system_prompt, begins_with, thinking, values),
                _id(shown_id) or None,
            )
        )

    async def go_on(
        self,
        request: gr.Request,
        conversation_id: object,
        shown_id: object,
        system_prompt: object,
        _begins_with: object,
        thinking: object,
        *values: object,
    ) -> Outcome:
        """Go on with the newest answer that the page shows, which was cut."""
        return await self._tried(
            lambda: self._service.continue_answer(
                owner_of(request),
                _id(conversation_id),
                _id(shown_id) or None,
                self._options(system_prompt, "", thinking, values),
            )
        )

    async def stop(self, request: gr.Request, conversation_id: object) -> Outcome:
        """End the answer that is being written."""
        return await self._tried(
            lambda: self._service.stop_reply(owner_of(request), _id(conversation_id))
        )

    async def earlier(self, window: object) -> int:
        """The window with another page of messages above."""
        return checked_window(checked_window(window) + WINDOW)

    def _options(
        self,
        system_prompt: object,
        begins_with: object,
        thinking: object,
        values: tuple[object, ...],
    ) -> ReplyOptions:
        model = self._service.model
        # Where none is loaded yet, the one that will be passes over a switch that it has not.
        can_switch = model.has_thinking_switch or model.phase != "ready"
        return ReplyOptions(
            _text(system_prompt),
            generation.config(values),
            _text(begins_with),
            thinking if can_switch and isinstance(thinking, bool) else None,
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


def _text(value: object) -> str:
    """A text box's value, which Gradio passes on unchecked.

    Raises:
        InvalidRequestError: it is no text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequestError("This is no text.", "Type it into its box.")
    return value


def _id(value: object) -> str:
    """A conversation's id; whether there is such a one is the service's business.

    Raises:
        InvalidRequestError: it can't be one.
    """
    text = _text(value)
    if len(text) > ID_CHARS:
        raise InvalidRequestError("This is no conversation.", "Choose one from the list.")
    return text


def _id_or_none(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= ID_CHARS else ""
