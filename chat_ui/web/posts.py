"""What the page posts, checked before Gradio reads it: which event or call, and how many values.

Gradio looks up what a post names and hands over what it carries before any code of ours is asked;
a name that is none, a value too few or a list in a list ends there in an exception, whose traceback
goes to the log. What the values may be is checked where they arrive, in `ui/events.py`.

What an event gives is fetched by a stream of its page; which pages there are, and what they leave
here, is in `pages.py`.
"""

import json
from typing import Annotated, Any, Final, NoReturn

import gradio as gr
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_ui.web.exports import EXPORT, Exports
from chat_ui.web.outbox import Outbox
from chat_ui.web.pages import STREAMS, OpenPage, Pages
from chat_ui.web.refusal import refusal

JOIN: Final = "/gradio_api/queue/join"
CALL: Final = "/gradio_api/component_server"
STREAM: Final = "/gradio_api/queue/data"
# Of a stream: which of the page's it is, a number. Of an event's answer: which has ended.
NUMBER: Final = "x-chat-ui-stream"
ENDED: Final = "x-chat-ui-stream-ended"
# As many open pages as are remembered for each whose state Gradio keeps.
PAGES_PER_SESSION: Final = 8

FETCHES_ALREADY: Final = "This page fetches what it asks for already. Reload it."
FETCHES_NOTHING: Final = "This page fetches nothing of what it asks for. Reload it."

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


class PostMiddleware:
    """Refuses posts that name nothing of the page, and what asks for another visitor's open page.

    Args:
        app: the next ASGI app; the one before has put the owner into the scope.
        demo: the page, built.
        sessions: how many pages' state Gradio keeps.
    """

    def __init__(self, app: ASGIApp, demo: gr.Blocks, sessions: int) -> None:
        self._app = app
        self._pages = Pages(sessions * PAGES_PER_SESSION, Outbox(demo))
        self._exports = Exports()
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
            await self._stream(scope, receive, send)
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
            await _nonsense()(scope, receive, send)
            return
        page = self._pages.of(post.session_hash, scope)
        if page is None:
            await _absent()(scope, receive, send)
            return
        if path == JOIN and not self._pages.begins(page):
            await refusal(429, FETCHES_NOTHING, 10)(scope, receive, send)
            return
        first = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return first.pop() if first else await receive()

        async def send_ended(message: Message) -> None:
            # The event is Gradio's by now, and a stream that has not ended will bring it.
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[ENDED] = str(page.ended)
            await send(message)

        if isinstance(post, Call) and post.fn_name == EXPORT:
            await self._exports.pass_on(self._app, scope, receive_again, send)
        else:
            await self._app(scope, receive_again, send_ended if path == JOIN else send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a page fetch what is there for it, and what comes while something runs."""
        names = QueryParams(scope["query_string"]).getlist("session_hash")
        page = self._pages.known(names[0], scope) if len(names) == 1 else None
        if page is None:
            await _absent()(scope, receive, send)
        elif page.streams >= STREAMS:
            await refusal(429, FETCHES_ALREADY, 10)(scope, receive, send)
        elif not self._pages.has_news(page):
            page.note_end(_number(scope))
            await _nothing(is_known=self._pages.knows(page))(scope, receive, send)
        else:
            with self._pages.streaming(page, send, _number(scope)) as send_noted:
                await self._fetch(page, scope, receive, send_noted)

    async def _fetch(self, page: OpenPage, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except (KeyError, HTTPException, RuntimeError):
            # So Gradio's stream ends where another one took the page's queue with it, or we did.
            if self._pages.knows(page):
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})

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


def _number(scope: Scope) -> int:
    """A stream's; 0 of what is no page of ours."""
    given = Headers(scope=scope).get(NUMBER, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0


def _nonsense() -> PlainTextResponse:
    return PlainTextResponse("This is nothing that the page asks for.\n", 400)


def _absent() -> PlainTextResponse:
    # Not 404, which a relay answers with while it has lost this server: the page gives up at this.
    return PlainTextResponse("There is no such page. Reload yours.\n", 410)


def _nothing(*, is_known: bool) -> Response:
    """What Gradio ends a stream with: one whose events are fetched, or are no longer there."""
    end: dict[str, Any] = {"msg": "close_stream"}
    if not is_known:
        sentence = "This page has fetched nothing for long."
        end = {"msg": "unexpected_error", "message": sentence, "session_not_found": True}
    return Response(f"data: {json.dumps(end)}\n\n", media_type="text/event-stream")


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
