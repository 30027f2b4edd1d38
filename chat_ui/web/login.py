"""The login with Hugging Face, where a Space has one: it tells the Space's owner from visitors.

    GET  /login/huggingface   sends the browser to Hugging Face
    GET  /login/callback      where it comes back; the owner is in from now on
    POST /logout              ends that

Only the owner's name is kept, in memory, under a cookie with a random token. Of anybody else
nothing is, and nobody's access token is read: a login gives visitors no rights. The cookie is not
sent in a frame of another site, so the owner's rights are had in the Space's own window alone,
where the login leads.
"""

import hmac
import html
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_ui.limits import of_one_address
from chat_ui.oauth import OAuth
from chat_ui.service.rates import Rate
from chat_ui.settings import Settings
from chat_ui.web.address import address_of
from chat_ui.web.bare_page import TextsIn, bare_page, say_in
from chat_ui.web.openid import Provider, ProviderError, Secrets

log = logging.getLogger(__name__)

BEGIN: Final = "/login/huggingface"
CALLBACK: Final = "/login/callback"  # the Hub sends browsers to no other address of a Space
END: Final = "/logout"

# A browser takes cookies of these names from this very host alone, by https.
BEGUN_COOKIE: Final = "__Host-chat_ui_begun_login"
LOGIN_COOKIE: Final = "__Host-chat_ui_login"
TAKES_S: Final = 600
LASTS_S: Final = 8 * 3600
# Of all together: bounds what is kept, and what is asked. Of one address less: who begins logins in
# a loop must not keep the owner out.
BEGUN_PER_MINUTE: Final = 60
BEGUN_OF_ADDRESS: Final = of_one_address(BEGUN_PER_MINUTE)

_WAYS_ON: Final = """<p><a href="{begin}">{again}</a></p>
  <p><a href="/">{back}</a></p>"""

Route = tuple[frozenset[str], re.Pattern[str]]


def login_routes(settings: Settings) -> tuple[Route, ...]:
    """What the guard lets through for the login; nothing where there is none."""
    if settings.oauth is None:
        return ()
    begins = re.compile(rf"{BEGIN}|{CALLBACK}")
    return ((frozenset({"GET"}), begins), (frozenset({"POST"}), re.compile(END)))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A login that a browser went away for."""

    cookie: str
    kept: Secrets
    ends_at_s: float


@dataclass(frozen=True, slots=True)
class _Login:
    """The owner's."""

    name: str
    ends_at_s: float


class LoginMiddleware:
    """Logs the owner in; puts `login`, a name or "", into the state, and sets `is_owner` by it.

    Args:
        app: the next ASGI app.
        oauth: of the Space.
        space_host: the name that the Space is served under.
        texts_in: gives the texts for an Accept-Language header.
        clock: gives seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        oauth: OAuth,
        space_host: str,
        texts_in: TextsIn,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._oauth = oauth
        self._provider = Provider(oauth, f"https://{space_host}{CALLBACK}")
        self._texts_in = texts_in
        self._clock = clock
        self._rate = Rate(BEGUN_PER_MINUTE, BEGUN_OF_ADDRESS, clock)
        self._begun: dict[str, _Begun] = {}  # by their states
        self._logins: dict[str, _Login] = {}  # by their cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        # At each request, so that no name is kept for longer than the page on privacy says.
        now = self._clock()
        self._logins = {key: one for key, one in self._logins.items() if now < one.ends_at_s}
        login = self._logins.get(request.cookies.get(LOGIN_COOKIE, ""))
        request.state.login = login.name if login else ""
        request.state.is_owner = request.state.is_owner or login is not None
        answer = await self._answer(request)
        await (answer or self._app)(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        """What is answered here; None for what goes on to the app."""
        path, method = request.url.path, request.method
        if method == "POST" and path == END:
            return self._end(request)
        if method != "GET" or path not in (BEGIN, CALLBACK):
            return None
        try:
            return await (self._begin(request) if path == BEGIN else self._come_back(request))
        except ProviderError as error:
            log.warning("a login failed: %s", error)
            return self._page(request, 502, "login.failed")

    async def _begin(self, request: Request) -> Response:
        if not self._rate.takes(address_of(request.scope, "space")):
            return self._page(request, 503, "login.many")
        now = self._clock()
        self._begun = {key: one for key, one in self._begun.items() if now < one.ends_at_s}
        begun = _Begun(secrets.token_urlsafe(32), Secrets(), now + TAKES_S)
        answer = RedirectResponse(await self._provider.login_url(begun.kept), 303)
        self._begun[begun.kept.state] = begun
        _set_cookie(answer, BEGUN_COOKIE, begun.cookie, TAKES_S)
        return answer

    async def _come_back(self, request: Request) -> Response:
        begun = self._taken(request)
        if begun is None:
            return self._page(request, 400, "login.not_begun")
        code = request.query_params.get("code", "")
        if not code:  # with an error instead, such as access_denied
            return self._page(request, 400, "login.declined")
        user = await self._provider.user(code, begun.kept)
        if not self._oauth.is_owner(user.sub, user.preferred_username):
            return self._page(request, 403, "login.not_owner", name=user.preferred_username)
        token = secrets.token_urlsafe(32)  # a new one: whatever the browser had is none of this
        self._logins[token] = _Login(user.preferred_username, self._clock() + LASTS_S)
        answer = RedirectResponse("/", 303)
        _set_cookie(answer, LOGIN_COOKIE, token, LASTS_S)
        _set_cookie(answer, BEGUN_COOKIE, "", 0)
        return answer

    def _taken(self, request: Request) -> _Begun | None:
        """The login that this browser began and now ends: once, and not too late."""
        state = request.query_params.get("state", "")
        begun = self._begun.get(state)
        cookie = request.cookies.get(BEGUN_COOKIE, "")
        if begun is None or not hmac.compare_digest(cookie.encode(), begun.cookie.encode()):
            return None  # and whoever did begin it may still end it
        del self._begun[state]
        return begun if self._clock() < begun.ends_at_s else None

    def _end(self, request: Request) -> Response:
        self._logins.pop(request.cookies.get(LOGIN_COOKIE, ""), None)
        answer = Response(status_code=204)
        _set_cookie(answer, LOGIN_COOKIE, "", 0)
        return answer

    def _page(self, request: Request, status: int, key: str, **places: str) -> Response:
        say = say_in(request, self._texts_in)
        ways_on = _WAYS_ON.format(
            begin=BEGIN,
            again=html.escape(say("login.again")),
            back=html.escape(say("policy.back")),
        )
        return bare_page(say, key, status, ways_on, **places)


def _set_cookie(answer: Response, name: str, text: str, age_s: int) -> None:
    answer.set_cookie(name, text, max_age=age_s, secure=True, httponly=True, samesite="lax")
