"""The guard before everything else: what is no request of our own page is refused here.

Routes are allowed one by one (Gradio brings dozens that this app doesn't use, most of them open to
everybody); the names that the server is asked under and the pages that ask are checked; bodies are
counted while they come in; each answer carries the headers that keep a model's output from calling
out. Whose conversation something is, is not decided here.
"""

import ipaddress
import logging
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_ui.limits import Door
from chat_ui.settings import Settings

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
        (READ, r"/healthz|/session"),
        (READ, rf"{API}/startup-events"),  # launch() asks it of itself
        (READ, rf"{API}/app_id/?"),
        (READ, rf"{API}/queue/data"),
        (WRITE, rf"{API}/queue/join"),
        (WRITE, rf"{API}/component_server/?"),
        (WRITE, r"/import"),
    )
)
# By path, the limit of a body that may be longer than `body_bytes`.
BODY_LIMITS: Final = {"/import": "import_bytes"}

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
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
    "connect-src 'self'",
    "form-action 'none'",
    "object-src 'none'",
    "base-uri 'self'",  # Gradio's page has one
    "frame-src 'none'",
)
# A Space's page is shown in a frame of huggingface.co.
_ANCESTORS: Final[dict[Door, str]] = {
    "local": "'none'",
    "space": "'self' https://huggingface.co https://*.hf.space",
    "share": "'none'",
}


def security_headers(door: Door) -> dict[str, str]:
    """What each answer carries. Source: OWASP Secure Headers Project."""
    headers = {
        "content-security-policy": "; ".join(
            [*_SOURCES, f"frame-ancestors {_ANCESTORS[door]}"],
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin-allow-popups",  # the login of a Space is one
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
    return headers if door == "space" else headers | {"x-frame-options": "DENY"}


@dataclass(slots=True)
class Hosts:
    """The names that this server may be asked under.

    Another name that leads here is a foreign page's trick to read ours (DNS rebinding), so only
    what we know is taken. Addresses in figures can't be rebound; where the server listens beyond
    this machine, they and this machine's own name are known, too.

    Attributes:
        own: names that only this server has, lower case, without ports. A page under one of them
            is ours, whatever name a proxy asks us for.
        known: beside them, the names of the machine that every server on it has.
        takes_addresses: whether any address in figures is taken.
    """

    own: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=lambda: set(LOOPBACK))
    takes_addresses: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "Hosts":
        """The hosts of these settings."""
        hosts = cls()
        hosts.add_own(*settings.allowed_hosts, settings.space_host)
        if settings.host not in LOOPBACK and settings.host != "::1":
            hosts.takes_addresses = True
            machine = (settings.host, socket.gethostname(), socket.getfqdn())
            hosts.known.update(name.lower() for name in machine)
        return hosts

    def add_own(self, *names: str) -> None:
        """Take these names, too; "" is none."""
        self.own.update(name.lower() for name in names if name)

    def takes(self, host: str) -> bool:
        """Whether a Host header's value is one of them."""
        name = _without_port(host)
        return (
            name in self.own or name in self.known or (self.takes_addresses and _is_address(name))
        )

    def is_ours(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is served by this server, which was asked for as `host`."""
        scheme, separator, netloc = origin.lower().partition("://")
        if not separator or scheme not in ("http", "https"):
            return False
        return netloc == host.lower() or _without_port(netloc) in self.own


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
        self._headers = security_headers(settings.door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        guarded = _Answer(send, self._headers, is_static=_is_static(scope["path"]))
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, guarded.send)
            return
        limit = self._limit(scope["path"])
        body = _Body(receive, limit)

        async def send_whole(message: Message) -> None:
            # Whatever the app makes of a body that was cut off is no answer to what was sent.
            if guarded.is_begun or not body.is_too_long:
                await guarded.send(message)

        try:
            await self._app(scope, body.receive, send_whole)
        except Exception:
            if not body.is_too_long:
                raise
        if body.is_too_long and not guarded.is_begun:
            await _too_long(limit)(scope, receive, guarded.send)

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
        limit: int = getattr(self._limits, BODY_LIMITS.get(path, "body_bytes"))
        return limit

    def _is_open_page(self, method: str, path: str) -> bool:
        # Whether a Space's own checks ask under its name is not known, and its page holds nothing
        # of anybody: what does, is asked for under the Space's name.
        return self._door == "space" and method in READ and not path.startswith(API)

    def _is_asked_by_us(self, method: str, path: str, headers: Headers) -> bool:
        """Whether our own page asks, or none: a program, or a person who typed the address."""
        origin = None if method in READ else headers.get("origin")
        if origin is not None and not self._hosts.is_ours(origin, headers.get("host", "")):
            return False
        if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
            return True
        # From elsewhere one may be led to the page itself, in a window or where it may be framed.
        return path == "/" and headers.get("sec-fetch-mode", "navigate") == "navigate"


class _Answer:
    """Sends an answer with our headers, and knows whether it has begun."""

    def __init__(self, send: Send, headers: dict[str, str], *, is_static: bool) -> None:
        self._send, self._headers, self._is_static = send, headers, is_static
        self.is_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_begun = True
            headers = MutableHeaders(scope=message)
            headers.update(self._headers)
            if not self._is_static:
                headers["cache-control"] = "no-store"
        await self._send(message)


class _Body:
    """Passes a body on until it is longer than it may be; the app then sees a visitor who left."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left = receive, limit
        self.is_too_long = False

    async def receive(self) -> Message:
        if self.is_too_long:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.is_too_long = True
                return {"type": "http.disconnect"}
        return message


def _without_port(host: str) -> str:
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\[\]/@\s]+)(:\d{1,5})?", host.lower())
    return match[1].removesuffix(".") if match else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_static(path: str) -> bool:
    return path.startswith(("/assets/", "/static/")) or path in ("/theme.css", "/favicon.ico")


def _too_long(limit: int) -> PlainTextResponse:
    return _refused(413, f"The request is longer than the {limit:,} bytes that are taken.")


def _refused(status: int, sentence: str) -> PlainTextResponse:
    # What was asked for is not repeated: it may be anything.
    return PlainTextResponse(sentence + "\n", status)
