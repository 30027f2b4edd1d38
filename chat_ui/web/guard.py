"""The guard before everything else: what is no request of our own page is refused here.

Routes are allowed one by one (Gradio brings dozens that this app doesn't use, most of them open to
everybody); the names that the server is asked under and the pages that ask are checked; bodies are
counted while they come in; each answer carries the headers that keep a model's output from calling
out. Whose conversation something is, is not decided here.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_ui.limits import Door
from chat_ui.settings import Settings
from chat_ui.web.hosts import Hosts

log = logging.getLogger(__name__)

READ: Final = frozenset({"GET", "HEAD"})
WRITE: Final = frozenset({"POST"})
API: Final = "/gradio_api"

# Everything that the page asks for. tests/web/test_routes.py lists what is not here.
ROUTES: Final[tuple[tuple[frozenset[str], re.Pattern[str]], ...]] = tuple(
    (methods, re.compile(path))
    for methods, path in (
        (READ, r"/"),
        (READ, r"/(assets|static)/[\w./-]+"),
        (READ, r"/theme\.css|/favicon\.ico|/robots\.txt"),
        (READ, r"/healthz|/session|/privacy|/metrics"),
        (WRITE, r"/forget|/key"),
        (READ, rf"{API}/startup-events"),  # launch() asks it of itself
        (READ, rf"{API}/app_id/?"),
        (READ, rf"{API}/queue/data"),
        (WRITE, rf"{API}/queue/join"),
        (WRITE, rf"{API}/component_server/?"),
        (WRITE, r"/import"),
    )
)
# What another site may lead a browser to. The login's are where there is one (web/login.py).
PAGES: Final = frozenset({"/", "/privacy", "/login/huggingface", "/login/callback"})
# By path, the limit of a body that may be longer than `body_bytes`.
KEY_BODY_BYTES: Final = 1024  # whoever sends it need not be known yet
# A body that takes longer keeps a place that others wait for.
READ_S: Final = 20.0
IMPORT_READ_S: Final = 60.0

MAX_PATH: Final = 2048

# Gradio builds functions from text and puts scripts into the page, so these two can't be taken
# away. What a model writes is no script even so: Gradio's sanitising takes those out.
_SOURCES: Final = (
    "default-src 'self'",
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self' data: blob:",
    "font-src 'self' data:",
    "form-action 'none'",
    "object-src 'none'",
    "base-uri 'self'",  # Gradio's page has one
    "frame-src 'none'",
)
# Where no referrer is sent, browsers send a form's origin as "null".
_FORM_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "same-origin",
}
# A Space's page is shown in a frame of huggingface.co.
_ANCESTORS: Final[dict[Door, str]] = {
    "local": "'none'",
    "space": "'self' https://huggingface.co https://*.hf.space",
    "share": "'none'",
}
# On a Space's own name Gradio's page asks the Hub what state this Space is in, by that name alone.
_CONNECTED: Final[dict[Door, str]] = {
    "local": "'self'",
    "space": "'self' https://huggingface.co/api/spaces/by-subdomain/",
    "share": "'self'",
}


def security_headers(door: Door) -> dict[str, str]:
    """What each answer carries. Source: OWASP Secure Headers Project."""
    headers = {
        "content-security-policy": "; ".join(
            [
                *_SOURCES,
                f"connect-src {_CONNECTED[door]}",
                f"frame-ancestors {_ANCESTORS[door]}",
            ]
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin-allow-popups",  # the login of a Space is one
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
    return headers if door == "space" else headers | {"x-frame-options": "DENY"}


class Guard:
    """Refuses what the page never asks for, and gives each answer its headers.

    Args:
        app: the next ASGI app.
        settings: the app's.
        hosts: the names that it may be asked under; more may be added while it runs.
        routes: beside `ROUTES`, what else may be asked for.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        hosts: Hosts,
        routes: Iterable[tuple[frozenset[str], re.Pattern[str]]] = (),
    ) -> None:
        self._app = app
        self._door: Door = settings.door
        self._hosts = hosts
        self._routes = (*ROUTES, *routes)
        self._limits = settings.limits
        # In bytes, where it isn't that of every request.
        self._body_limits = {"/import": settings.limits.import_bytes, "/key": KEY_BODY_BYTES}
        self._headers = security_headers(settings.door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        guarded = _Answer(send, scope, self._headers)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, guarded.send)
            return
        limit = self._limit(scope["path"])
        body = _Body(receive, limit, IMPORT_READ_S if scope["path"] == "/import" else READ_S)

        async def send_whole(message: Message) -> None:
            # Whatever the app makes of a body that was cut off is no answer to what was sent.
            if guarded.is_begun or not body.is_cut:
                await guarded.send(message)

        try:
            await self._app(scope, body.receive, send_whole)
        except Exception:
            if not body.is_cut:
                raise
        if body.is_cut and not guarded.is_begun:
            refusal = _too_long(limit) if body.is_too_long else _too_slow()
            await refusal(scope, receive, guarded.send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        method, path, headers = scope["method"], scope["path"], Headers(scope=scope)
        host = headers.get("host", "")
        if not self._hosts.takes(host) and not self._is_open_page(method, path):
            return _refused(
                421,
                "This server isn't known under the name that it was asked for. Its owner can allow "
                "it with --allowed-hosts.",
            )
        if len(path) > MAX_PATH or not any(
            method in methods and pattern.fullmatch(path) for methods, pattern in self._routes
        ):
            return _refused(404, "There is nothing here.")
        if not self._is_asked_by_us(method, path, headers):
            return _refused(403, "This was asked for by another page than ours.")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and len(length) < 16):
            return _refused(400, "The request says no length that can be read.")
        limit = self._limit(path)
        return _too_long(limit) if int(length) > limit else None

    def _limit(self, path: str) -> int:
        return self._body_limits.get(path, self._limits.body_bytes)

    def _is_open_page(self, method: str, path: str) -> bool:
        # Whether a Space's own checks ask under its name is not known, and its page holds nothing
        # of anybody: what does, is asked for under the Space's name.
        return self._door == "space" and method in READ and not path.startswith(API)

    def _is_asked_by_us(self, method: str, path: str, headers: Headers) -> bool:
        """Whether our own page asks, or none: a program, or a person who typed the address."""
        origin = headers.get("origin")
        if origin is not None and not self._hosts.is_ours(origin, headers.get("host", "")):
            return False
        if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
            return True
        # From elsewhere one may be led to a whole page, in a window or where it may be framed.
        return path in PAGES and headers.get("sec-fetch-mode", "navigate") == "navigate"


class _Answer:
    """Sends an answer with our headers, and knows whether it has begun."""

    def __init__(self, send: Send, scope: Scope, headers: dict[str, str]) -> None:
        self._send, self._scope, self._headers = send, scope, headers
        self.is_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_begun = True
            headers = MutableHeaders(scope=message)
            headers.update(self._headers)
            if self._scope.get("state", {}).get("has_form"):  # web/key.py has one, and no script
                headers.update(_FORM_HEADERS)
            if not _is_static(self._scope["path"]):
                headers["cache-control"] = "no-store"
        await self._send(message)


class _Body:
    """Passes a body on until it is longer, or takes longer, than it may; the app then sees that its
    visitor left.
    """

    def __init__(self, receive: Receive, limit: int, read_s: float) -> None:
        self._receive, self._left = receive, limit
        self._ends_at: float | None = asyncio.get_running_loop().time() + read_s
        self.is_too_long = self.is_too_slow = False

    @property
    def is_cut(self) -> bool:
        """Whether the app got less than was sent."""
        return self.is_too_long or self.is_too_slow

    async def receive(self) -> Message:
        if self.is_cut:
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout_at(self._ends_at):
                message = await self._receive()
        except TimeoutError:
            self.is_too_slow = True
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            if not message.get("more_body", False):
                self._ends_at = None  # what comes now is that the visitor has left
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.is_too_long = True
                return {"type": "http.disconnect"}
        return message


def _is_static(path: str) -> bool:
    return path.startswith(("/assets/", "/static/")) or path in ("/theme.css", "/favicon.ico")


def _too_long(limit: int) -> PlainTextResponse:
    return _refused(413, f"The request is longer than the {limit:,} bytes that are taken.")


def _too_slow() -> PlainTextResponse:
    return _refused(408, "The request took too long to come. Send it again.")


def _refused(status: int, sentence: str) -> PlainTextResponse:
    # What was asked for is not repeated: it may be anything.
    return PlainTextResponse(sentence + "\n", status)
