"""What the dialog "This server" asks for: plain calls of its script, for the owner alone."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

import gradio as gr

from chat_ui.errors import NotAllowedError
from chat_ui.service import ChatService
from chat_ui.ui.events import Closing, Event, checked
from chat_ui.ui.offload import Offload
from chat_ui.ui.server_call import Answer, ServerFunction, asked_with
from chat_ui.ui.texts import Texts, texts_for
from chat_ui.ui.visitor import is_owner


class Link(Protocol):
    """A public link; see `web/entrance.py`."""

    @property
    def url(self) -> str:
        """With the key that it carries."""

    @property
    def ends_at(self) -> datetime | None:
        """When it has ended at the latest; None for a Space's address."""

    @property
    def image(self) -> str:
        """Its QR code, as an image's address."""


class Entrance(Protocol):
    """Where visitors come in; see `web/entrance.py`."""

    @property
    def link(self) -> Link | None:
        """The public one, once it is open."""

    @property
    def has_no_tunnel(self) -> bool:
        """One was asked for, and couldn't be had."""

    def visitor_count(self) -> int:
        """How many visitors there were in the last 15 minutes."""

    def set_closed(self, is_closed: bool) -> None:
        """Let in only the owner, or everybody again."""


def server_functions(
    service: ChatService, entrance: Entrance, offload: Offload
) -> list[ServerFunction]:
    """The functions; each gives what the dialog shows."""
    asked = asked_with(offload)

    def shown(say: Texts) -> Answer:
        return {
            "figures": [[say(key), value] for key, value in _figures(service, entrance, say)],
            "link": _link(entrance.link),
            "has_no_tunnel": entrance.has_no_tunnel,
            "is_closed": service.is_paused,
        }

    async def owner_figures(given: Any, request: gr.Request) -> Answer:
        """What is going on."""

        def look(_owner: str) -> Answer:
            _refuse_strangers(request)
            checked(Event, given)
            return shown(texts_for(request))

        return await asked(request, look)

    async def set_closed(given: Any, request: gr.Request) -> Answer:
        """The stop switch."""

        def change(_owner: str) -> Answer:
            _refuse_strangers(request)
            entrance.set_closed(checked(Closing, given).is_closed)
            return shown(texts_for(request))

        return await asked(request, change)

    return [owner_figures, set_closed]


def _refuse_strangers(request: gr.Request) -> None:
    if not is_owner(request):
        raise NotAllowedError(
            "This is for the owner of this server.",
            "Open the owner's link that was printed at its start.",
        )


def _figures(service: ChatService, entrance: Entrance, say: Texts) -> Iterator[tuple[str, str]]:
    """Their texts' keys, and what they are."""
    figures, limits = service.figures(), service.settings.limits

    def of(count: int, limit: int) -> str:
        return say("owner.of", count, limit=say.number(limit))

    yield "owner.visitors", say.number(entrance.visitor_count())
    yield "owner.running", of(figures.running, limits.replies)
    yield "owner.waiting", of(figures.waiting, limits.waiting)
    yield "owner.answers", say.number(sum(figures.answers.values()))
    yield "owner.read", say.number(figures.prompt_tokens)
    yield "owner.written", say.number(figures.generated_tokens)


def _link(link: Link | None) -> dict[str, str] | None:
    if link is None:
        return None
    ends_at = link.ends_at.isoformat() if link.ends_at else ""
    return {"url": link.url, "image": link.image, "ends_at": ends_at}
