"""The session: an HttpOnly cookie of ours says whose browser it is.

The cookie's value is 32 random bytes and their HMAC under this install's secret, so that a value we
did not mint is recognised without keeping a list. What is stored with a conversation is its SHA-256
alone: who reads the database can't open anybody's session. The cookie's name carries an id kept in
the data folder, because cookies ignore ports: two apps on localhost would overwrite each other's.

Where the browser refuses the cookie, as some do in a frame of a Space, the page gets a token of its
own (`SESSION_PATH`), which it sends with each request and which ends with it.

This module refuses nobody but new visitors when too many come at once; a request without a cookie
just has no owner.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import threading
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_ui.errors import StartupError
from chat_ui.limits import Door, of_one_address
from chat_ui.service.rates import Rate
from chat_ui.settings import Settings
from chat_ui.web.address import address_of
from chat_ui.web.hosts import host_name, is_address
from chat_ui.web.refusal import refusal
from chat_ui.web.share import scheme

IDENTITY_FILE: Final = "identity.json"
TOKEN_BYTES: Final = 32
# Browsers keep a cookie for 400 days at most. Source: RFC 6265bis, section 5.5.
COOKIE_AGE_S: Final = 400 * 24 * 3600
SESSION_PATH: Final = "/session"
SESSION_HEADER: Final = b"x-chat-ui-session"
# A browser takes such a cookie from this very host alone: no neighbour can plant another visitor's.
# Source: RFC 6265bis, section 4.1.3.2.
HOST_PREFIX: Final = "__Host-"


@dataclass(frozen=True, slots=True)
class Identity:
    """This install's identity.

    Attributes:
        install_id: 8 hex digits, part of the cookie's name; no secret.
        secret: signs the sessions' tokens.
    """

    install_id: str
    secret: bytes

    @property
    def cookie_name(self) -> str:
        """The session cookie's name, where it isn't `HOST_PREFIX` and this."""
        return f"chat_ui_{self.install_id}"

    def mint(self) -> str:
        """A new session's token."""
        random = secrets.token_bytes(TOKEN_BYTES)
        return _text(random + self._sign(random))

    def owner(self, token: str) -> str | None:
        """The owner a token stands for, 64 hex digits; None if we did not mint it."""
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError:
            return None
        random, signature = raw[:TOKEN_BYTES], raw[TOKEN_BYTES:]
        # Compared as written, too: base64 has several spellings of the same bytes.
        if not hmac.compare_digest(signature, self._sign(random)) or _text(raw) != token:
            return None
        return hashlib.sha256(raw).hexdigest()

    def _sign(self, random: bytes) -> bytes:
        return hmac.digest(self.secret, random, "sha256")


def open_identity(data_dir: Path) -> Identity:
    """This install's identity, made and kept in the data folder on first use.

    Raises:
        StartupError: the file can't be read or written.
    """
    file = data_dir / IDENTITY_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            _write_new(file, {"install_id": secrets.token_hex(4), "secret": secrets.token_hex(32)})
        kept = json.loads(file.read_text(encoding="ascii"))
        install_id, secret = str(kept["install_id"]), bytes.fromhex(kept["secret"])
        if not install_id.isalnum() or len(secret) < 32:
            raise ValueError("too short")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartupError(
            f"The file {file} can't be used.",
            "Check that the folder can be written; if the file is damaged, remove it (browsers "
            "then begin with an empty list of conversations).",
        ) from error
    return Identity(install_id, secret)


class KeptIdentity:
    """This install's identity, opened when it is first needed.

    Args:
        data_dir: the data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._opening = threading.Lock()
        self._identity: Identity | None = None

    def opened(self) -> Identity:
        """The identity.

        Raises:
            StartupError: the file can't be read or written.
        """
        with self._opening:
            if self._identity is None:
                self._identity = open_identity(self._data_dir)
            return self._identity


class SessionMiddleware:
    """Puts the owner, or None, and the address into `scope["state"]`; gives visitors the cookie.

    Args:
        app: the next ASGI app.
        settings: the app's; the data folder is opened on the first request.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._identity = KeptIdentity(settings.data_dir)
        # A newcomer asks for the page, and once more where the cookie was refused: each is counted
        # by itself, so that one visitor takes one place.
        most = settings.limits.visitors_per_minute
        of_one = of_one_address(most)
        self._new_visitors = Rate(most, of_one=of_one)
        self._new_tokens = Rate(most, of_one=of_one)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        identity = self._identity.opened()
        is_secure = is_https(self._settings.door, _header(scope, b"host"))
        name = (HOST_PREFIX if is_secure else "") + identity.cookie_name
        token = _cookie(scope, name)
        owner = identity.owner(token) if token else None
        has_cookie = owner is not None
        if owner is None and (given := _header(scope, SESSION_HEADER)):
            owner = identity.owner(given)
        # With which the browser is told to drop its cookie, when its owner wants to be forgotten.
        dropped = _set_cookie(name, "", self._settings.door, is_secure, age_s=0)
        scope.setdefault("state", {}).update(
            owner=owner,
            has_cookie=has_cookie,
            dropped_cookie=dropped,
            address=address_of(scope, self._settings.door),
        )
        address = scope["state"]["address"]
        asks = (scope["type"], scope.get("method"), scope["path"])
        if asks == ("http", "GET", SESSION_PATH):
            await self._tell_session(identity, owner, address)(scope, receive, send)
            return
        if asks != ("http", "GET", "/"):
            await self._app(scope, receive, send)
            return
        if not has_cookie:
            # On public doors an owner has shown a key, and comes in when many do, above all then.
            is_owner = self._settings.is_public and scope["state"].get("is_owner", False)
            if not is_owner and not self._new_visitors.takes(address):
                await _many(self._new_visitors.wait_s(address))(scope, receive, send)
                return
            token = identity.mint()
            scope["state"]["owner"] = identity.owner(token)

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Set again at every visit, so that it ends 400 days after the last one.
                cookie = _set_cookie(name, token or "", self._settings.door, is_secure)
                MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        await self._app(scope, receive, send_with_cookie)

    def _tell_session(self, identity: Identity, owner: str | None, address: str) -> Response:
        """Whether the browser keeps the cookie; a token for this page alone where it doesn't."""
        if owner is not None:
            return JSONResponse({"is_kept": True})
        if not self._new_tokens.takes(address):
            return _many(self._new_tokens.wait_s(address))
        return JSONResponse({"is_kept": False, "token": identity.mint()})


def _cookie(scope: Scope, name: str) -> str | None:
    for key, value in scope["headers"]:
        if key == b"cookie":
            try:
                morsel = SimpleCookie(value.decode("latin-1")).get(name)
            except CookieError:
                continue
            if morsel is not None:
                return morsel.value
    return None


def is_https(door: Door, host: str) -> bool:
    """Whether a visitor comes by https, outside which browsers drop secure cookies.

    The request itself doesn't say: the tunnel and the Space's front end https before us. A link is
    also opened by http: on this machine, by an address in figures on its network, and everywhere
    where the relay is one's own.

    Args:
        door: which one is served.
        host: the Host header's value.
    """
    if door == "share":
        name = host_name(host)
        return scheme() == "https" and name != "localhost" and not is_address(name)
    return door == "space"


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _set_cookie(
    name: str, token: str, door: Door, is_secure: bool, age_s: int = COOKIE_AGE_S
) -> str:
    # A Space's page is a frame inside huggingface.co: without SameSite=None and Partitioned the
    # browser drops the cookie.
    site = "SameSite=None; Partitioned" if door == "space" else "SameSite=Lax"
    secure = "; Secure" if is_secure else ""
    return f"{name}={token}; Path=/; Max-Age={age_s}; HttpOnly{secure}; {site}"


def _many(wait_s: float) -> Response:
    return refusal(503, "Many people are just coming here. Please try again in a minute.", wait_s)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii")


def _write_new(file: Path, content: dict[str, str]) -> None:
    """Write a file that only its owner reads, whole or not at all; another process's wins."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        json.dump(content, stream)
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
