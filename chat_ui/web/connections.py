"""Open requests, counted: of one visitor, of one address, and in all.

A page holds one for what it follows and one for each call that it makes, so a visitor needs few.
Who has no session is counted among all of those without. Where all places are taken, a request that
is still being sent gives way, the oldest first: what a page sends is there at once, and whoever
sends no more must not keep others out. Nor must whoever comes as many visitors: one address has a
part of all places.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from chat_ui.limits import Door, Limits, of_one_address
from chat_ui.web.address import address_of
from chat_ui.web.refusal import refusal
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
        address: where it comes from; "" where that is not known.
        connection: by which it comes; None where no server of ours took it.
    """

    visitor: str
    address: str
    connection: Connection | None


class Connections:
    """Refuses a request where too many are open.

    Args:
        app: the next ASGI app; those before have put `owner` and `is_owner` into the scope.
        limits: the app's.
        door: which one is served.
    """

    def __init__(self, app: ASGIApp, limits: Limits, door: Door) -> None:
        self._app, self._limits, self._door = app, limits, door
        self._of_address = of_one_address(limits.connections)
        self._places: dict[Place, None] = {}  # the oldest first
        self._by_visitor: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
            return
        state = scope["state"]
        visitor, is_owner = state["owner"] or "", state.get("is_owner", False)
        address = "" if is_owner else address_of(scope, self._door)
        in_all = self._limits.connections + (OWNERS if is_owner else 0)
        own = self._limits.connections_per_visitor * (1 if visitor else STRANGERS)
        is_full = (
            address
            and self._by_address[address] >= self._of_address
            and not self._make_room(lambda one: one.address == address)
        ) or (len(self._places) >= in_all and not self._make_room(lambda _: True))
        if is_full:
            await refusal(503, "Too many people are here. Please try again in a minute.", 60)(
                scope, receive, send
            )
            return
        if self._by_visitor[visitor] >= own and not self._make_room(
            lambda one: one.visitor == visitor
        ):
            await refusal(429, "Too many of your requests are open. Close other tabs.", 10)(
                scope, receive, send
            )
            return
        place = Place(visitor, address, connection_of(scope))
        self._places[place] = None
        self._by_visitor[visitor] += 1
        self._by_address[address] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._leave(place)

    def _make_room(self, among: Callable[[Place], bool]) -> bool:
        """Drop the oldest request among these that is still being sent, if any is."""
        for place in self._places:
            if among(place) and place.connection is not None and not place.connection.is_sent:
                place.connection.drop()
                self._leave(place)
                return True
        return False

    def _leave(self, place: Place) -> None:
        if place not in self._places:
            return  # it gave way before
        del self._places[place]
        for counted, key in (
            (self._by_visitor, place.visitor),
            (self._by_address, place.address),
        ):
            counted[key] -= 1
            if not counted[key]:
                del counted[key]  # or the table would grow with every visitor
