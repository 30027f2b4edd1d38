"""`POST /import`: a file of conversations, added to the visitor's own.

It has a route of its own because a file may be 400 times as long as any other request is allowed to
be, and must neither be held in memory for many visitors at once nor be parsed where the pages'
streams would wait for it. How long it is, and how long it takes to come, is the guard's to bound.
"""

from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chat_ui.errors import (
    BusyError,
    ChatUIError,
    NoCookieError,
    NotAllowedError,
    as_shown,
)
from chat_ui.service import ChatService
from chat_ui.web.places import Places
from chat_ui.web.sockets import connection_of

IMPORT_PATH: Final = "/import"
# Reading and storing one takes several times its size.
AT_ONCE: Final = 2
# So many files are in memory; who takes long to send one keeps no place among the two.
SENT_AT_ONCE: Final = 8

_BUSY: Final = "Another file is being imported."


def import_route(service: ChatService) -> Route:
    """The route. It answers {"added", "left_out", "conversation"}: how many conversations were
    added, how many were not good, and the id of the first; or {"error": a sentence}.
    """
    sending = Places(SENT_AT_ONCE, _BUSY, lambda place, _now_s: not place.connection.is_sent)
    adding = Places(AT_ONCE, _BUSY)

    async def add(request: Request) -> Response:
        try:
            owner = _owner(request)
            with sending.one_of(owner, connection_of(request.scope)):
                body = await request.body()
                with adding.one_of(owner):
                    found = await run_in_threadpool(_add, service, owner, body)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except ChatUIError as error:
            return JSONResponse({"error": as_shown(error)}, _status(error))
        return JSONResponse(found)

    return Route(IMPORT_PATH, add, methods=["POST"])


def _owner(request: Request) -> str:
    owner = getattr(request.state, "owner", None)
    if not isinstance(owner, str) or not owner:
        raise NoCookieError
    return owner


def _add(service: ChatService, owner: str, body: bytes) -> dict[str, Any]:
    # As a browser reads a text file: some programs begin theirs with a mark of the byte order.
    found = service.add_conversations(owner, body.decode("utf-8-sig", errors="replace"))
    return {"added": len(found.ids), "left_out": found.left_out, "conversation": found.ids[0]}


def _status(error: ChatUIError) -> int:
    if isinstance(error, BusyError):
        return 429
    return 403 if isinstance(error, NotAllowedError) else 400
