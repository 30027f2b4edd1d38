"""Open requests, counted: of one visitor, and in all.

A page holds one for what it follows and one for each call that it makes, so a visitor needs few.
Who has no session is counted among all of those without. Where all places are taken, a request that
is still being sent gives way, the oldest first: what a page sends is there at once, and whoever
sends no more must not keep others out.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_ui.limits import Limits
from chat_ui.web.sockets import Connection, connection_of

# Of those without a session together: they load pages, and nothing of that is long.
STRANGERS: Final = 8
# Beside all others, for an owner who looks after a server that is full.
OWNERS: Final = 16

# Asked by whoever watches the server, above all when it is full.
UNCOUNTED: Final = ("/healthz", "/metrics")


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What one open request has.

    Attributes:
        visitor: whose it is; "" of one without a session.
        connection: by which it comes; None where no server of ours took it.
    """

    visitor: str
    connection: Connection | None


class Connections:
    """Refuses a request where too many are open.

    Args:
        app: the next ASGI app; those before have put `owner` and `is_owner` into the scope.
        limits: the app's.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._places: dict[Place, None] = {}  # the oldest first
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
            return
        state = scope["state"]
        visitor = state["owner"] or ""
        in_all = self._limits.connections + (OWNERS if state.get("is_owner") else 0)
        own = self._limits.connections_per_visitor * (1 if visitor else STRANGERS)
        if len(self._places) >= in_all and not self._make_room():
            await _refusal(503, "Too many people are here. Please try again in a minute.", 60)(
                scope, receive, send
            )
            return
        if self._open[visitor] >= own and not self._make_room(visitor):
            await _refusal(429, "Too many of your requests are open. Close other tabs.", 10)(
                scope, receive, send
            )
            return
        place = Place(visitor, connection_of(scope))
        self._places[place] = None
        self._open[visitor] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._leave(place)

    def _make_room(self, visitor: str | None = None) -> bool:
        """Drop the oldest request, of a visitor or of all, that is still being sent, if any is."""
        for place in self._places:
            if (
                visitor in (None, place.visitor)
                and place.connection is not None
                and not place.connection.is_sent
            ):
                place.connection.drop()
                self._leave(place)
                return True
        return False

    def _leave(self, place: Place) -> None:
        if place not in self._places:
            return  # it gave way before
        del self._places[place]
        self._open[place.visitor] -= 1
        if not self._open[place.visitor]:
            del self._open[place.visitor]  # or the table would grow with every visitor


def _refusal(status: int, sentence: str, wait_s: int) -> PlainTextResponse:
    return PlainTextResponse(f"{sentence}\n", status, {"retry-after": str(wait_s)})
