"""Open requests, counted: of one visitor, and in all.

A page holds one for what it follows and one for each call that it makes, so a visitor needs few.
Who has no session is counted among all of those without.
"""

from collections import Counter
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_ui.limits import Limits

# Of those without a session together: they load pages, and nothing of that is long.
STRANGERS: Final = 8


# Asked by whoever watches the server, above all when it is full.
UNCOUNTED: Final = ("/healthz", "/metrics")


class Connections:
    """Refuses a request where too many are open.

    Args:
        app: the next ASGI app; the one before has put the owner into the scope.
        limits: the app's.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
            return
        visitor = scope["state"]["owner"] or ""
        own = self._limits.connections_per_visitor * (1 if visitor else STRANGERS)
        if self._open.total() >= self._limits.connections:
            await _refusal(503, "Too many people are here. Please try again in a minute.", 60)(
                scope, receive, send
            )
            return
        if self._open[visitor] >= own:
            await _refusal(429, "Too many of your requests are open. Close other tabs.", 10)(
                scope, receive, send
            )
            return
        self._open[visitor] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[visitor] -= 1
            if not self._open[visitor]:
                del self._open[visitor]  # or the table would grow with every visitor


def _refusal(status: int, sentence: str, wait_s: int) -> PlainTextResponse:
    return PlainTextResponse(f"{sentence}\n", status, {"retry-after": str(wait_s)})
