"""Files of conversations on their way out: how many there are at once.

One is several times as long as anything else that is asked for, and is in memory until it has been
fetched. So a visitor gets one at a time, and where all places are taken, who has been fetching for
long gives way.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_ui.errors import BusyError, as_shown
from chat_ui.web.sockets import Connection, connection_of

EXPORT: Final = "export_conversations"  # as the page's script calls it
AT_ONCE: Final = 6
# For fetching one, where others wait.
FETCHED_S: Final = 20.0
PART_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    connection: Connection | None
    since_s: float


class Exports:
    """Who has a file made or fetches it at present. Only the event loop asks.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: dict[str, _Place] = {}  # by owner, the oldest first

    async def pass_on(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the app answer a call for a file, if there is a place."""
        owner = scope["state"]["owner"] or ""
        if owner in self._places or not self._has_room():
            error = as_shown(BusyError("Another file is being written.", "Try again in a moment."))
            # As any call of the page's script that fails.
            await JSONResponse({"error": error, "is_access": False})(scope, receive, send)
            return
        place = self._places[owner] = _Place(connection_of(scope), self._clock())
        try:
            await app(scope, receive, _in_parts(send))
        finally:
            if self._places.get(owner) is place:  # else it gave way before
                del self._places[owner]

    def _has_room(self) -> bool:
        if len(self._places) < AT_ONCE:
            return True
        owner, oldest = next(iter(self._places.items()))
        if oldest.connection is None or self._clock() - oldest.since_s < FETCHED_S:
            return False
        oldest.connection.drop()
        del self._places[owner]
        return True


def _in_parts(send: Send) -> Send:
    """Uvicorn waits before each part until most of those before it were fetched, and never after
    the last: a file in one part would have been sent at once, and lie there unfetched.
    """

    async def send_parts(message: Message) -> None:
        body, start = message.get("body", b""), 0
        while len(body) - start > PART_BYTES:
            part = body[start : start + PART_BYTES]
            await send({"type": message["type"], "body": part, "more_body": True})
            start += PART_BYTES
        await send({**message, "body": body[start:]} if start else message)

    return send_parts
