"""What the page posts, checked before Gradio reads it: which event or call, and how many values.

Gradio looks up what a post names and hands over what it carries before any code of ours is asked;
a name that is none, a value too few or a list in a list ends there in an exception, whose traceback
goes to the log. What the values may be is checked where they arrive, in `ui/events.py`.

An open page is named by a `session_hash` that its browser draws with Math.random and sends in
addresses, and whoever knows it gets what Gradio streams to that page. So it is bound here to the
visitor who used it first.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn

import gradio as gr
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JOIN: Final = "/gradio_api/queue/join"
CALL: Final = "/gradio_api/component_server"
STREAM: Final = "/gradio_api/queue/data"
# As many open pages as are remembered for each whose state Gradio keeps.
PAGES_PER_SESSION: Final = 8
# More than one visitor has open; one that draws new names for pages pushes out their own.
PAGES_PER_VISITOR: Final = 32
# Gradio keeps what an event gives until the page's stream fetches it, without end. A page that
# begins sends a few before its stream is there.
UNREAD_EVENTS: Final = 32

Number = Annotated[float, Field(allow_inf_nan=False)]  # 1e999 is one to JSON
Scalar = bool | int | Number | str | None


class Post(BaseModel):
    """What both kinds name: the open page."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    session_hash: Annotated[str, Field(pattern=r"^[0-9a-z]{1,64}$")]


class Join(Post):
    """An event of the page. Gradio puts into `event_data` what triggered it; nobody reads that."""

    fn_index: int
    data: list[Scalar]
    trigger_id: int | None = None
    event_data: Scalar | dict[str, Scalar] = None


class Call(Post):
    """A call of the page's script: one object of values."""

    component_id: int
    fn_name: str
    data: dict[str, Scalar] | None


@dataclass(slots=True)
class OpenPage:
    """One open page.

    Attributes:
        owner: whose; None for one whose browser refuses the cookie, and can't be known again.
        streams: how many streams of it are open.
        unread: how many events it began while none was.
    """

    owner: str | None
    streams: int = 0
    unread: int = 0

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """While a stream of it is open."""
        self.streams += 1
        self.unread = 0
        try:
            yield
        finally:
            self.streams -= 1


class Pages:
    """The open pages, and whose they are.

    Args:
        most: how many are remembered; then the ones that were not used for longest are forgotten.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pages: OrderedDict[str, OpenPage] = OrderedDict()
        # Their names, by whose they are; in the same order.
        self._names: dict[str | None, OrderedDict[str, None]] = {}

    def of(self, session_hash: str, scope: Scope) -> OpenPage | None:
        """The page, if it is the asking visitor's; one that is nobody's becomes theirs."""
        state = scope["state"]
        owner = state["owner"] if state["has_cookie"] else None
        page = self._pages.get(session_hash)
        if page is None:
            page = self._pages[session_hash] = OpenPage(owner)
            self._names.setdefault(owner, OrderedDict())[session_hash] = None
            self._forget_one(owner)
        elif page.owner not in (None, owner):
            return None
        self._pages.move_to_end(session_hash)
        self._names[page.owner].move_to_end(session_hash)
        return page

    def _forget_one(self, owner: str | None) -> None:
        """Of too many, the one that was not used for longest."""
        own = self._names[owner]
        # Those who can't be told apart have as many together as there are.
        if owner is not None and len(own) > PAGES_PER_VISITOR:
            surplus = next(iter(own))
        elif len(self._pages) > self._most:
            surplus = next(iter(self._pages))
        else:
            return
        loser = self._pages.pop(surplus).owner
        del self._names[loser][surplus]
        if not self._names[loser]:
            del self._names[loser]


class PostMiddleware:
    """Refuses posts that name nothing of the page, and what asks for another visitor's open page.

    Args:
        app: the next ASGI app; the one before has put the owner into the scope.
        demo: the page, built.
        sessions: how many pages' state Gradio keeps.
    """

    def __init__(self, app: ASGIApp, demo: gr.Blocks, sessions: int) -> None:
        self._app = app
        self._pages = Pages(sessions * PAGES_PER_SESSION)
        # Those without a function of ours run in the browser alone.
        self._events = {fn._id: len(fn.inputs) for fn in demo.fns.values() if fn.fn is not None}
        self._calls = {
            (block._id, function.__name__)
            for block in demo.blocks.values()
            for function in getattr(block, "server_fns", None) or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        path = scope.get("path", "").removesuffix("/")
        if scope["type"] == "http" and path == STREAM:
            names = QueryParams(scope["query_string"]).getlist("session_hash")
            page = self._pages.of(names[0], scope) if len(names) == 1 else None
            if page is None:
                await _absent()(scope, receive, send)
                return
            with page.streaming():
                await self._app(scope, receive, send)
            return
        if scope["type"] != "http" or scope["method"] != "POST" or path not in (JOIN, CALL):
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return  # the visitor left, or sent too much: the guard answers
        is_json = Headers(scope=scope).get("content-type", "").startswith("application/json")
        post = self._read(path, body) if is_json else None
        if post is None:
            refusal = PlainTextResponse("This is nothing that the page asks for.\n", 400)
            await refusal(scope, receive, send)
            return
        page = self._pages.of(post.session_hash, scope)
        if page is None:
            await _absent()(scope, receive, send)
            return
        if path == JOIN and not page.streams:
            page.unread += 1
            if page.unread > UNREAD_EVENTS:
                await _unread()(scope, receive, send)
                return
        first = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, receive_again, send)

    def _read(self, path: str, body: bytes) -> Post | None:
        """The post, if it names an event or a call of the page and as many values as that takes."""
        try:
            given: Any = json.loads(body, parse_constant=_refuse)
            if path == JOIN:
                event = Join.model_validate(given)
                return event if self._events.get(event.fn_index) == len(event.data) else None
            call = Call.model_validate(given)
        except (ValueError, RecursionError):  # of JSON, of UTF-8, and pydantic's
            return None
        return call if (call.component_id, call.fn_name) in self._calls else None


def _absent() -> PlainTextResponse:
    # Not 404, which a relay answers with while it has lost this server: the page gives up at this.
    return PlainTextResponse("There is no such page. Reload yours.\n", 410)


def _unread() -> PlainTextResponse:
    sentence = "This page fetches nothing of what it asks for. Reload it.\n"
    return PlainTextResponse(sentence, 429, {"retry-after": "10"})


async def _body(receive: Receive) -> bytes | None:
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
