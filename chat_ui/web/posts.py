"""What the page posts, checked before Gradio reads it: which event or call, and how many values.

Gradio looks up what a post names and hands over what it carries before any code of ours is asked;
a name that is none, a value too few or a list in a list ends there in an exception, whose traceback
goes to the log. What the values may be is checked where they arrive, in `ui/events.py`.
"""

import json
from typing import Annotated, Any, Final, NoReturn

import gradio as gr
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JOIN: Final = "/gradio_api/queue/join"
CALL: Final = "/gradio_api/component_server"

Scalar = bool | int | float | str | None


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
    """Refuses posts that name nothing of the page.

    Args:
        app: the next ASGI app.
        demo: the page, built.
    """

    def __init__(self, app: ASGIApp, demo: gr.Blocks) -> None:
        self._app = app
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
        if scope["type"] != "http" or scope["method"] != "POST" or path not in (JOIN, CALL):
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return  # the visitor left, or sent too much: the guard answers
        is_json = Headers(scope=scope).get("content-type", "").startswith("application/json")
        if not is_json or not self._is_ours(path, body):
            refusal = PlainTextResponse("This is nothing that the page asks for.\n", 400)
            await refusal(scope, receive, send)
            return
        first = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, receive_again, send)

    def _is_ours(self, path: str, body: bytes) -> bool:
        try:
            given: Any = json.loads(body, parse_constant=_refuse)
            if path == JOIN:
                event = Join.model_validate(given)
                return self._events.get(event.fn_index) == len(event.data)
            call = Call.model_validate(given)
        except (ValueError, RecursionError):  # of JSON, of UTF-8, and pydantic's
            return False
        return (call.component_id, call.fn_name) in self._calls


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
