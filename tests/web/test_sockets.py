"""Connections that are held open: real sockets, against a server that is really started."""

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from chat_ui.limits import LIMITS
from chat_ui.service.files import Added
from chat_ui.settings import Settings
from chat_ui.web import imports, sockets
from chat_ui.web.connections import Connections
from chat_ui.web.imports import import_route
from chat_ui.web.sockets import Connection, Seldom, most_connections

DEADLINE_S = 20
LONG_S = 300.0
HALF_HEAD = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-a"
# That it is waited for is said, as the head asks for.
HALF_BODY = (
    b"POST / HTTP/1.1\r\nhost: localhost\r\nx-owner: %s\r\ncontent-length: 9\r\n"
    b"expect: 100-continue\r\n\r\n1234"
)
CLOSE = b"\r\nconnection: close\r\n\r\n"
GET = b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Service:
    """Adds whatever it is given."""

    def __init__(self) -> None:
        self.settings = Settings(Path("unused"))

    def add_conversations(self, owner: str, text: str) -> Added:
        return Added(("c9",), left_out=0)


class Site:
    """What is served: `/` reads its body, `/stream` begins an answer and ends it when told to."""

    def __init__(self) -> None:
        self.goes_on, self.sent_all = asyncio.Event(), threading.Event()
        service: Any = Service()
        routes = [
            Route("/", self._read, methods=["GET", "POST"]),
            Route("/stream", self._stream),
            Route("/large", self._large),
            import_route(service),
        ]
        limits = replace(LIMITS["share"], connections=12, connections_per_visitor=4)
        self._app = Connections(Starlette(routes=routes), limits, "share")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"x-owner", b"").decode()
            scope["state"].update(owner=given or None, is_owner=False)
        await self._app(scope, receive, send)

    async def _read(self, request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def _stream(self, request: Request) -> Response:
        async def parts() -> Any:
            yield "begun"
            await self.goes_on.wait()
            yield "ended"

        return StreamingResponse(parts())

    async def _large(self, request: Request) -> Response:
        async def parts() -> Any:
            for _ in range(500):
                yield b"a" * 100_000
            self.sent_all.set()

        return StreamingResponse(parts())


class Started:
    """A server on a free port."""

    def __init__(self, most: int, head_s: float) -> None:
        self.site = Site()
        http: Any = partial(Connection, most=most, head_s=head_s, unsent={})
        config = uvicorn.Config(self.site, port=0, http=http, lifespan="off", log_config=None)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            self._thread.join(0.01)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]
        self._sockets = ExitStack()

    def connect(self, sent: bytes = b"") -> socket.socket:
        """A connection that has sent this."""
        made = socket.create_connection(("127.0.0.1", self._port), timeout=DEADLINE_S)
        self._sockets.enter_context(made)
        made.sendall(sent)
        return made

    def begin(self, sent: bytes) -> socket.socket:
        """A connection whose half-sent body is being waited for."""
        made = self.connect(sent)
        until(made, b"100 Continue")
        return made

    def ask(self) -> bytes:
        """What a request gets that comes at once."""
        return until_closed(self.connect(GET.replace(b"\r\n\r\n", CLOSE) % b"/"))

    def go_on(self) -> None:
        """Let the streams end."""
        loop = self._server.servers[0].get_loop()
        loop.call_soon_threadsafe(self.site.goes_on.set)

    def close(self) -> None:
        self.go_on()
        self._sockets.close()
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the server closes; raises TimeoutError where it doesn't."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def until(connection: socket.socket, words: bytes) -> None:
    """Wait until these words have come."""
    come = b""
    while words not in come:
        part = connection.recv(65536)
        assert part, "it was closed"
        come += part


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    started: list[Started] = []

    def make(most: int = 100, head_s: float = LONG_S) -> Started:
        started.append(Started(most, head_s))
        return started[-1]

    yield make
    for one in started:
        one.close()


@pytest.mark.parametrize("sent", [b"", b"G", HALF_HEAD])
def test_a_connection_that_sends_no_whole_head_is_closed(start, sent):
    assert until_closed(start(head_s=0.2).connect(sent)) == b""


def test_half_a_head_after_an_answer_is_closed_and_so_is_a_body_that_nobody_reads(start):
    server = start(head_s=0.2)
    again = server.connect(GET % b"/")
    until(again, b"\r\n\r\n0")
    again.sendall(HALF_HEAD)  # which ends uvicorn's own wait
    assert until_closed(again) == b""
    refused = server.connect(HALF_BODY.replace(b"POST /", b"POST /nothing") % b"")
    assert b"404" in until_closed(refused)


def test_a_stream_is_not_cut_by_what_ends_idle_connections(start):
    server = start(head_s=0.2)
    stream = server.connect(GET % b"/stream")
    until(stream, b"begun")
    assert until_closed(server.connect()) == b""  # it came later, and its time is over
    server.go_on()
    until(stream, b"ended")


def test_many_idle_connections_keep_nobody_out(start):
    server = start(most=10)
    stream = server.connect(GET % b"/stream")
    until(stream, b"begun")
    held = [server.connect(sent) for sent in (b"", HALF_HEAD, HALF_BODY % b"ann") * 20]
    assert server.ask().endswith(b"\r\n\r\n0")
    assert until_closed(held[0]) == b""
    server.go_on()
    until(stream, b"ended")


def test_what_is_beyond_the_connections_that_are_answered_is_closed_at_once(start):
    server = start(most=3)
    for _ in range(3):
        until(server.connect(GET % b"/stream"), b"begun")
    assert until_closed(server.connect()) == b""


def test_half_sent_posts_keep_no_place_that_others_wait_for(start):
    server = start()
    for name in (b"ann", b"ben", b"eve"):  # twelve, which is all
        held = [server.begin(HALF_BODY % name) for _ in range(4)]
    assert server.ask().endswith(b"\r\n\r\n0")
    whole = server.connect(HALF_BODY % b"eve" + b"56789")  # of their own fifth, too
    until(whole, b"\r\n\r\n9")
    held[-1].sendall(b"56789")  # whoever was not in the way is answered
    until(held[-1], b"\r\n\r\n9")


def test_a_post_that_gave_way_is_closed(start):
    server = start()
    held = [server.begin(HALF_BODY % b"ann") for _ in range(5)]
    assert until_closed(held[0]) == b""


def test_half_sent_imports_keep_no_place_that_others_wait_for(start, monkeypatch):
    monkeypatch.setattr(imports, "SENT_AT_ONCE", 3)
    server = start()
    half = HALF_BODY.replace(b"POST /", b"POST /import")
    held = [server.begin(half % name) for name in (b"ann", b"ben", b"eve")]
    whole = server.connect(half % b"ida" + b"56789")
    until(whole, b'"added":1')
    assert until_closed(held[0]) == b""
    held[2].sendall(b"56789")
    until(held[2], b'"added":1')


def test_an_answer_that_is_not_fetched_gives_up_its_place(start, monkeypatch):
    monkeypatch.setattr(sockets, "STALL_S", 0.2)
    server = start()
    server.connect(GET % b"/large")
    assert server.site.sent_all.wait(DEADLINE_S)  # to nobody: the connection is gone


@pytest.mark.parametrize("nonsense", [GET % (b"/" + b"secret" * 40_000), b"secret\r\n\r\n"])
def test_nonsense_is_refused_closed_and_not_quoted(start, nonsense, caplog):
    server = start()
    for _ in range(3):
        assert until_closed(server.connect(nonsense)).startswith(b"HTTP/1.1 400")
    assert "secret" not in caplog.text


def test_what_strangers_can_have_logged_is_logged_once_a_minute() -> None:
    now = [0.0]
    seldom = Seldom(lambda: now[0])

    def is_logged(message: str) -> bool:
        return seldom.filter(logging.makeLogRecord({"msg": message}))

    full, bad = (
        "socket.accept() out of system resource\nsocket: 5",
        "Invalid HTTP request received.",
    )
    assert [is_logged(full), is_logged(full), is_logged(bad), is_logged(bad)] == [True, False] * 2
    assert [is_logged("another"), is_logged("another")] == [True, True]
    now[0] = 61
    assert is_logged(full)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
@pytest.mark.parametrize(
    ("limits", "most", "asked"),
    [
        ((256, 256), 64, None),
        ((1024, 4096), 3328, 4096),
        ((1024, 1_000_000), 4096, 4864),
        ((1024, -1), 4096, 4864),
        ((20_000, 20_000), 4096, None),
        ((-1, -1), 4096, None),
    ],
)
def test_so_many_connections_as_there_are_descriptors_for(monkeypatch, limits, most, asked):
    tried: list[int] = []
    monkeypatch.setattr("resource.RLIM_INFINITY", -1)
    monkeypatch.setattr("resource.getrlimit", lambda kind: limits)
    monkeypatch.setattr("resource.setrlimit", lambda kind, pair: tried.append(pair[0]))
    assert (most_connections(), tried) == (most, [asked] if asked else [])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_a_system_that_gives_no_more_descriptors_is_believed(monkeypatch):
    def refuse(kind: int, pair: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr("resource.getrlimit", lambda kind: (1024, 1_000_000))
    monkeypatch.setattr("resource.setrlimit", refuse)
    assert most_connections() == 256
