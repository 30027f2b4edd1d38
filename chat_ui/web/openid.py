"""OpenID Connect, as far as a login needs it: where to send a browser, and who came back.

The authorization code flow with PKCE. The identity token comes from the provider itself, over TLS,
and is used at once, so that its signature need not be checked (OpenID Connect Core 1.0, section
3.1.3.7, 6). The access token that comes with it is not even read.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import ssl
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chat_ui.oauth import OAuth

TIMEOUT_S: Final = 10.0
CLOCKS_DIFFER_S: Final = 60.0
SCOPES: Final = "openid profile"  # the least that gives a name


class ProviderError(Exception):
    """The provider can't be asked, or its answer is none; the text quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What ties the end of a login to its beginning; each is of one login alone.

    Attributes:
        state: comes back in the browser's address.
        nonce: comes back in the identity token.
        verifier: PKCE's; only whoever began the login has it.
    """

    state: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class _Endpoints(BaseModel):
    issuer: str
    authorization_endpoint: str = Field(pattern=r"^https?://")
    token_endpoint: str = Field(pattern=r"^https?://")


class User(BaseModel):
    """Who has logged in: the claims of an identity token that are read.

    Attributes:
        sub: the user's id at the provider.
        preferred_username: the user's name.
    """

    model_config = ConfigDict(strict=True)

    iss: str
    aud: str | list[str]
    exp: float
    nonce: str
    sub: str = Field(min_length=1, max_length=200)
    preferred_username: str = Field(min_length=1, max_length=200)


class Provider:
    """The provider of a Space's login.

    Args:
        oauth: of the Space.
        redirect_uri: where the provider sends browsers back to.
    """

    def __init__(self, oauth: OAuth, redirect_uri: str) -> None:
        self._oauth = oauth
        self._redirect_uri = redirect_uri
        self._endpoints: _Endpoints | None = None

    async def login_url(self, kept: Secrets) -> str:
        """Where a browser is sent to log in.

        Raises:
            ProviderError: the provider can't be asked.
        """
        challenge = _text(hashlib.sha256(kept.verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._oauth.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": SCOPES,
            "state": kept.state,
            "nonce": kept.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{(await self._found()).authorization_endpoint}?{urlencode(query)}"

    async def user(self, code: str, kept: Secrets) -> User:
        """Who has logged in.

        Args:
            code: that the browser brought.
            kept: of the login that it belongs to.

        Raises:
            ProviderError: the provider can't be asked, or the code is none of this login.
        """
        found = await self._found()
        answer = await _asked(
            "POST",
            found.token_endpoint,
            auth=(self._oauth.client_id, self._oauth.client_secret),
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._redirect_uri,
                "client_id": self._oauth.client_id,
                "code_verifier": kept.verifier,
            },
        )
        user = _user(answer)
        is_ours = user.aud in (self._oauth.client_id, [self._oauth.client_id])
        is_of_this_login = hmac.compare_digest(user.nonce.encode(), kept.nonce.encode())
        if user.iss != found.issuer or not is_ours or not is_of_this_login:
            raise ProviderError("the identity token is for another login")
        if user.exp < time.time() - CLOCKS_DIFFER_S:
            raise ProviderError("the identity token has expired")
        return user

    async def _found(self) -> _Endpoints:
        if self._endpoints is None:
            url = f"{self._oauth.provider_url}/.well-known/openid-configuration"
            try:
                found = _Endpoints.model_validate(await _asked("GET", url))
            except ValidationError as error:
                raise ProviderError("the provider names no endpoints") from error
            if found.issuer.rstrip("/") != self._oauth.provider_url:
                raise ProviderError("the provider speaks for another one")
            self._endpoints = found
        return self._endpoints


@cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()


async def _asked(method: str, url: str, **options: Any) -> Any:
    # They are a file of a quarter of a megabyte: each client would read it again, on the loop that
    # streams everybody's answers.
    certificates = await asyncio.to_thread(_certificates)
    try:
        async with httpx.AsyncClient(verify=certificates, timeout=TIMEOUT_S) as client:
            answer = await client.request(method, url, **options)
            answer.raise_for_status()
            return answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
        raise ProviderError(f"the provider can't be asked: {type(error).__name__}") from error


def _user(answer: Any) -> User:
    try:
        claims = answer["id_token"].split(".")[1]
        return User.model_validate_json(
            base64.b64decode(claims + "=" * (-len(claims) % 4), altchars=b"-_", validate=True)
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ProviderError("the provider sent no identity token") from error


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
