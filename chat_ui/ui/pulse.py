"""What an open page asks for every 1.5 s: the model, the list, and whether its chat has news.

It is a plain call of the page's script, not a Gradio event: nothing goes through the queue, and a
server that is away for a moment brings no red messages to the page.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import gradio as gr

from chat_ui.chat.messages import ConversationSummary
from chat_ui.errors import ChatUIError, NotFoundError
from chat_ui.service import ChatService
from chat_ui.ui.events import Seen, checked
from chat_ui.ui.list_server import lines
from chat_ui.ui.model_line import model_line
from chat_ui.ui.offload import Offload
from chat_ui.ui.status import version
from chat_ui.ui.texts import Texts, texts_for
from chat_ui.ui.visitor import is_owner, login_of, owner_of

log = logging.getLogger(__name__)

# A page that sees another one has outlived its server, and loads itself anew.
SERVER: Final = secrets.token_hex(8)

Pulse = Callable[[Any, gr.Request], Awaitable[dict[str, Any]]]


def pulse_of(service: ChatService, offload: Offload) -> Pulse:
    """The server function `pulse`, for the page's script."""

    async def pulse(seen: Any, request: gr.Request) -> dict[str, Any]:
        """What is new, beside what the page has `Seen`."""
        try:
            owner, shown = owner_of(request), checked(Seen, seen)
            say, is_own = texts_for(request), is_owner(request)
            now = await offload(_look, service, owner, shown, say, is_own)
            now["model"]["may_change"] = service.may_change_model(is_own)
            now["model"]["login"] = login_of(request)
            return now
        except ChatUIError as error:
            return {"server": SERVER, "error": str(error)}
        except Exception:
            log.exception("a pulse failed")
            return {"server": SERVER, "error": "Something went wrong inside the app."}

    return pulse


def _look(service: ChatService, owner: str, seen: Seen, say: Texts, is_own: bool) -> dict[str, Any]:
    summaries = service.conversations(owner)
    shown = lines(summaries, say)
    digest = _digest(shown)
    is_known = seen.list == digest
    conversation_id = seen.conversation
    newest = _version(service, owner, summaries, conversation_id)
    # Others aren't here while it is: an owner who has closed the dialog shall not forget them.
    paused = say("owner.paused") if is_own and service.is_paused else ""
    return {
        "server": SERVER,
        "is_owner": is_own,
        "model": model_line(service.measured_model(), say),
        "notice": " ".join(filter(None, (paused, service.notice))),
        "list": digest,
        "conversations": None if is_known else shown,
        "version": newest,
        "gone": "" if newest else conversation_id,
        "running": _is_running(service, owner, conversation_id),
    }


def _version(
    service: ChatService,
    owner: str,
    summaries: Sequence[ConversationSummary],
    conversation_id: str,
) -> str:
    """Of the page's conversation; "" where it has none, or it is gone."""
    if not conversation_id:
        return ""
    for summary in summaries:
        if summary.id == conversation_id:
            return version(summary)
    try:
        # A temporary one is in no list, and neither is one that has many newer ones above it.
        return version(service.summary(owner, conversation_id))
    except NotFoundError:
        return ""


def _is_running(service: ChatService, owner: str, conversation_id: str) -> bool:
    if not conversation_id:
        return False
    try:
        reply = service.running(owner, conversation_id)
    except NotFoundError:
        return False
    return reply is not None and not reply.ended.is_set()


def _digest(shown: Sequence[dict[str, Any]]) -> str:
    text = json.dumps(shown)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
