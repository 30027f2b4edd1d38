"""Files of conversations on their way out: how many there are at once.

One is several times as long as anything else that is asked for, and is in memory until it has been
fetched. So a visitor gets one at a time, and where all places are taken, who has been fetching for
long gives way.
"""

import time
from collections.abc import Callable
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_ui.errors import BusyError, as_shown
from chat_ui.web.places import Places
from chat_ui.web.sockets import connection_of

EXPORT: Final = "export_conversations"  # as the page's script calls it
AT_ONCE: Final = 6
# For fetching one, where others wait.
FETCHED_S: Final = 20.0
PART_BYTES: Final = 64 * 1024


class Exports:
    """Who has a file made or fetches it at present. Only the event loop asks.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = Places(
            AT_ONCE,
            "Another file is being written.",
            lambda place, now_s: now_s - place.since_s >= FETCHED_S,
            clock,
        )

    async def pass_on(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the app answer a call for a file, if there is a place."""
        owner = scope["state"]["owner"] or ""
        try:
            with self._places.one_of(owner, connection_of(scope)):
                await app(scope, receive, _in_parts(send))
        except BusyError as error:
            # As any call of the page's script that fails.
            answer = {"error": as_shown(error), "is_access": False}
            await JSONResponse(answer)(scope, receive, send)


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
