"""The keys: one lets visitors in through a shared link, one says who owns this server.

A key comes once, in the address of a printed link (`/?key=...`, `/?owner=...`) or typed into a
form, and is exchanged for a cookie at once, so that it stays in no address bar and no history. The
cookie holds an HMAC under the key, never the key, and is worth nothing after the next start, unless
the owner chose the key. What the owner may do is not decided here.
"""

import hmac
import html
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_ui.service.rates import MINUTE_S, Rate
from chat_ui.settings import Settings
from chat_ui.web.bare_page import Say, TextsIn, bare_page, bare_text, say_in
from chat_ui.web.session import KeptIdentity, is_https

KEY_BYTES: Final = 32
WRONG_TRIES: Final = 5  # in a minute, of all visitors together
# What is asked for before anybody has a cookie: the health check, and what launch() asks of itself.
OPEN_PATHS: Final = frozenset({"/healthz", "/gradio_api/startup-events"})

_NAMES: Final = ("key", "owner")

_FORM: Final = """<form method="post" action="/key{query}">
    <label for="key">{key}</label>
    <input id="key" name="key" type="password" autocomplete="off" required autofocus>
    <button>{open}</button>
  </form>"""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of this start.

    Attributes:
        visitor: lets in; "" where nobody is asked for one.
        owner: makes an owner; "" where everybody is.
    """

    visitor: str = ""
    owner: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "Keys":
        """Keys that these settings ask for, new ones but for an owner's that was chosen."""
        asks = settings.door == "share" and not settings.is_open
        return cls(
            visitor=secrets.token_urlsafe(KEY_BYTES) if asks else "",
            owner=(settings.owner_key or secrets.token_urlsafe(KEY_BYTES))
            if settings.is_public
            else "",
        )

    def visitors_link(self, url: str) -> str:
        """The address that lets visitors in."""
        return f"{url.rstrip('/')}/{'?key=' + self.visitor if self.visitor else ''}"

    def owners_link(self, url: str) -> str:
        """The address that makes whoever opens it an owner."""
        return f"{url.rstrip('/')}/?{urlencode({'owner': self.owner})}"


class KeyMiddleware:
    """Asks for the visitors' key where there is one; puts `is_owner` into `scope["state"]`.

    Args:
        app: the next ASGI app.
        settings: the app's.
        keys: of this start.
        texts_in: gives the texts for an Accept-Language header.
        clock: gives seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keys: Keys,
        texts_in: TextsIn,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._texts_in = texts_in
        # A right key is taken even when these are used up: it has 128 bits at least, so that
        # guessing is hopeless at any pace, and whoever guesses must not keep others out.
        self._wrong_tries = Rate(WRONG_TRIES, clock=clock)
        self._identity = KeptIdentity(settings.data_dir)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request.state.is_owner = not self._keys.owner or self._has(request, "owner")
        refusal = await self._answer(request) if self._keys.owner else None
        await (refusal or self._app)(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        """What is answered here; None for what goes on to the app."""
        path, method = request.url.path, request.method
        if path == "/key" and method == "POST":
            try:
                body = await request.body()
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            form = dict(parse_qsl(body.decode("utf-8", "replace")))
            return self._exchange(request, dict.fromkeys(_NAMES, form.get("key", "")))
        is_in = not self._keys.visitor or request.state.is_owner or self._has(request, "key")
        given = {name: text for name, text in request.query_params.items() if name in _NAMES}
        if path == "/" and method in ("GET", "HEAD") and given:
            # Whoever is in stays in, though the link may be one of an earlier start.
            is_old = is_in and "owner" not in given
            return _moved(request) if is_old else self._exchange(request, given)
        # Who has no cookie may give the owner's key to /metrics in a header; it checks that itself.
        if is_in or path in OPEN_PATHS or path == "/metrics":
            return None
        return self._form(request, 401, "entrance.asked")

    def _exchange(self, request: Request, given: dict[str, str]) -> Response:
        """A cookie for each right key, and the page's address without them."""
        right = [name for name in given if self._is_right(name, given[name])]
        if not right:
            if not self._wrong_tries.takes():
                return self._form(request, 429, "entrance.too_many")
            return self._form(request, 401, "entrance.wrong")
        answer = _moved(request)
        for name in right:
            answer.set_cookie(
                self._cookie_name(name),
                self._cookie_value(name),
                httponly=True,
                samesite="lax",
                secure=is_https(self._settings.door, request.headers.get("host", "")),
            )
        return answer

    def _form(self, request: Request, status: int, key: str) -> Response:
        say = say_in(request, self._texts_in)
        if request.url.path in ("/", "/key"):
            request.state.has_form = True  # the guard's policy lets no other page send one
            answer = bare_page(say, key, status, _form(request, say))
        else:
            answer = bare_text(say, key, status)
        if status == 429:
            answer.headers["retry-after"] = str(int(MINUTE_S))
        return answer

    def _is_right(self, name: str, given: str) -> bool:
        return bool(self._key(name)) and hmac.compare_digest(
            given.encode(), self._key(name).encode()
        )

    def _has(self, request: Request, name: str) -> bool:
        """Whether the request carries the cookie of this key."""
        cookie = request.cookies.get(self._cookie_name(name), "")
        return hmac.compare_digest(cookie.encode(), self._cookie_value(name).encode())

    def _key(self, name: str) -> str:
        return self._keys.owner if name == "owner" else self._keys.visitor

    def _cookie_name(self, name: str) -> str:
        return f"chat_ui_{name}_{self._identity.opened().install_id}"

    def _cookie_value(self, name: str) -> str:
        return hmac.digest(self._key(name).encode(), f"chat_ui {name}".encode(), "sha256").hex()


def _form(request: Request, say: Say) -> str:
    query = _without_keys(request).removeprefix("/")
    key, open_ = say("entrance.key"), say("entrance.open")
    return _FORM.format(query=html.escape(query), key=html.escape(key), open=html.escape(open_))


def _moved(request: Request) -> RedirectResponse:
    return RedirectResponse(_without_keys(request), 303)


def _without_keys(request: Request) -> str:
    """The page's address with all of the query but the keys."""
    pairs = request.query_params.multi_items()
    rest = urlencode([(name, value) for name, value in pairs if name not in _NAMES])
    return f"/?{rest}" if rest else "/"
