"""An OpenID provider on this machine, for tests: it logs in whoever it is told to, at once.

It checks what a real one checks: the client's secret, that a code is used once, PKCE, and where it
sends browsers. What it does wrong is said by its attributes.
"""

import asyncio
import base64
import hashlib
import json
import threading
import time
from typing import Any
from urllib.parse import urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID = "the-space"
CLIENT_SECRET = "the-secret-of-the-space"


class FakeOpenID:
    """The provider, as a context manager.

    Attributes:
        url: where it is.
        user: who logs in: the claims "sub" and "preferred_username".
        claims: what the identity token says instead of what it should.
        asked: the paths that were asked for.
        is_broken: whether codes are answered with nonsense.
    """

    def __init__(self, redirect_uri: str) -> None:
        self.user = {"sub": "64f0", "preferred_username": "anna"}
        self.claims: dict[str, Any] = {}
        self.asked: list[str] = []
        self.is_broken = False
        self._redirect_uri = redirect_uri
        self._codes: dict[str, dict[str, str]] = {}
        routes = [
            Route("/.well-known/openid-configuration", self._configuration),
            Route("/oauth/authorize", self._authorize),
            Route("/oauth/token", self._token, methods=["POST"]),
        ]
        config = uvicorn.Config(Starlette(routes=routes), port=0, log_level="error")
        self._socket = config.bind_socket()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(config)
        # Its own loop: that of the tests' thread is Playwright's.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve([self._socket]))
        )

    def __enter__(self) -> "FakeOpenID":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer nothing any more."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def environment(self) -> dict[str, str]:
        """The variables of a Space that has a login here."""
        return {
            "OAUTH_CLIENT_ID": CLIENT_ID,
            "OAUTH_CLIENT_SECRET": CLIENT_SECRET,
            "OAUTH_SCOPES": "openid profile",
            "OPENID_PROVIDER_URL": self.url,
        }

    def _configuration(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/oauth/authorize",
                "token_endpoint": f"{self.url}/oauth/token",
            }
        )

    def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        self.asked.append(request.url.path)
        is_known = query["client_id"] == CLIENT_ID and query["redirect_uri"] == self._redirect_uri
        if not is_known or query["code_challenge_method"] != "S256":
            return Response("not a login of the Space", 400)
        code = f"code-{len(self.asked)}"
        self._codes[code] = query
        came_back = urlencode({"code": code, "state": query["state"]})
        return RedirectResponse(f"{self._redirect_uri}?{came_back}", 302)

    async def _token(self, request: Request) -> Response:
        form = dict(await request.form())
        self.asked.append(request.url.path)
        secret = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        begun = self._codes.pop(str(form["code"]), None)
        if self.is_broken:
            return JSONResponse({"id_token": "none"})
        challenge = _text(hashlib.sha256(str(form["code_verifier"]).encode()).digest())
        is_good = (
            begun is not None
            and request.headers["authorization"] == f"Basic {secret}"
            and challenge == begun["code_challenge"]
            and form["redirect_uri"] == begun["redirect_uri"]
        )
        if begun is None or not is_good:
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "exp": int(time.time()) + 60,
            "nonce": begun["nonce"],
            **self.user,
            **self.claims,
        }
        token = ".".join(_text(json.dumps(part).encode()) for part in ({"alg": "RS256"}, claims))
        answer = {"access_token": "hf_oauth_secret", "id_token": f"{token}.c2lnbmVk"}
        return JSONResponse(answer | {"token_type": "bearer"})


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
