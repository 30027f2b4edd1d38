"""`POST /import`: a file of conversations, added to the visitor's own.

It has a route of its own because a file may be 400 times as long as any other request is allowed to
be, and must neither be held in memory for many visitors at once nor be parsed where the pages'
streams would wait for it. How long it is, and how long it takes to come, is the guard's to bound.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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

IMPORT_PATH: Final = "/import"
# Reading and storing one takes several times its size.
AT_ONCE: Final = 2


def import_route(service: ChatService) -> Route:
    """The route. It answers {"added", "left_out", "conversation"}: how many conversations were
    added, how many were not good, and the id of the first; or {"error": a sentence}.
    """
    places = _Places()

    async def add(request: Request) -> Response:
        try:
            owner = _owner(request)
            with places.one_of(owner):
                found = await run_in_threadpool(_add, service, owner, await request.body())
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except ChatUIError as error:
            return JSONResponse({"error": as_shown(error)}, _status(error))
        return JSONResponse(found)

    return Route(IMPORT_PATH, add, methods=["POST"])


class _Places:
    """Who imports at present. Only the event loop asks."""

    def __init__(self) -> None:
        self._owners: set[str] = set()

    @contextmanager
    def one_of(self, owner: str) -> Iterator[None]:
        if owner in self._owners or len(self._owners) >= AT_ONCE:
            raise BusyError("Another file is being imported.", "Try again in a moment.")
        self._owners.add(owner)
        try:
            yield
        finally:
            self._owners.discard(owner)


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
