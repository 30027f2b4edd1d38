"""The guard: who is let through, under which name, with how long a body, and with what headers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from chat_ui.limits import DOORS, LIMITS, Door
from chat_ui.settings import Settings
from chat_ui.web.guard import Guard
from chat_ui.web.hosts import Hosts

JOIN = "/gradio_api/queue/join"
OWN = "http://127.0.0.1:7860"
SPACE_HOST = "someone-space.hf.space"
LIMIT = LIMITS["local"].body_bytes


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


PATHS = ["/", "/healthz", "/config", "/assets/a.js", JOIN, "/gradio_api/queue/data", "/{rest:path}"]


def settings_of(door: Door, **changes: Any) -> Settings:
    return Settings(data_dir=Path("unused"), door=door, limits=LIMITS[door], **changes)


def client(door: Door = "local", base_url: str = OWN, **changes: Any) -> TestClient:
    settings = settings_of(door, **changes)
    app = Starlette(routes=[Route(path, echo, methods=["GET", "POST"]) for path in PATHS])
    return TestClient(Guard(app, settings, Hosts.of(settings)), base_url=base_url)


@pytest.fixture
def at_home() -> Iterator[TestClient]:
    with client() as made:
        yield made


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860"])
def test_at_home_the_machine_itself_is_known(at_home, host):
    assert at_home.post(JOIN, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860", "", "[::1", "::1",
        "192.168.1.5", "localhost@evil.example", "localhost/evil", "local host", "127.0.0.1:7860:1",
        "localhost:port", "0.0.0.0",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", JOIN), ("GET", "/healthz")])
def test_a_name_that_was_bound_to_this_address_by_somebody_else_gets_nothing(
    at_home, host, method, path
):
    answer = at_home.request(method, path, headers={"host": host})
    assert answer.status_code == 421
    assert "--allowed-hosts" in answer.text


def test_on_a_network_addresses_and_the_machine_s_own_name_are_known(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Box")
    monkeypatch.setattr("socket.getfqdn", lambda: "box.lan")
    with client(host="0.0.0.0", allowed_hosts=("chat.example.org",)) as box:
        for known in ("192.168.1.5:7860", "[fe80::1]:7860", "box", "BOX.lan.", "chat.example.org"):
            assert box.post(JOIN, headers={"host": known}).status_code == 200
        assert box.post(JOIN, headers={"host": "evil.example"}).status_code == 421


def test_a_space_answers_under_its_own_name_and_shows_its_page_to_whoever_checks_it():
    with client("space", f"https://{SPACE_HOST}", space_host=SPACE_HOST) as space:
        assert space.post(JOIN).status_code == 200
        foreign = {"host": "10.0.0.7:7860"}
        assert space.get("/", headers=foreign).status_code == 200
        assert space.get("/healthz", headers=foreign).status_code == 200
        assert space.post(JOIN, headers=foreign).status_code == 421
        assert space.get("/gradio_api/queue/data", headers=foreign).status_code == 421


def test_a_shared_link_is_known_once_it_is_there():
    settings = settings_of("share")
    hosts = Hosts.of(settings)
    app = Guard(Starlette(routes=[Route(JOIN, echo, methods=["POST"])]), settings, hosts)
    with TestClient(app, base_url="https://abc.gradio.live") as visitor:
        assert visitor.post(JOIN).status_code == 421
        hosts.add_own("abc.gradio.live")
        assert visitor.post(JOIN).status_code == 200
        other = {"host": "xyz.gradio.live"}
        assert visitor.post(JOIN, headers=other).status_code == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "null", "http://127.0.0.1:9000", "http://localhost:7860", "file://",
        "http://127.0.0.1:7860.evil.example", "127.0.0.1:7860", "", "ftp://127.0.0.1:7860",
        "http://127.0.0.1:7860/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [JOIN, "/gradio_api/component_server", "/gradio_api/upload"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data"])
def test_a_post_of_another_page_is_refused(at_home, origin, path, kind):
    answer = at_home.post(path, headers={"origin": origin, "content-type": kind}, content="{}")
    assert answer.status_code == (404 if path.endswith("upload") else 403)


def test_a_post_of_our_own_page_is_not(at_home):
    own = {"origin": OWN, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert at_home.post(JOIN, headers=own, content="{}").text == "2"


def test_a_proxy_may_ask_under_another_name_than_the_page_s():
    with client(allowed_hosts=("chat.example.org",)) as box:
        page = {"origin": "https://chat.example.org", "host": "127.0.0.1:7860"}
        assert box.post(JOIN, headers=page).status_code == 200
        page["origin"] = "https://other.example.org"
        assert box.post(JOIN, headers=page).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_may_lead_to_ours_and_read_nothing(at_home, site):
    led = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert at_home.get("/", headers=led).status_code == 200
    assert at_home.get("/gradio_api/queue/data", headers=led).status_code == 403
    assert at_home.post(JOIN, headers=led).status_code == 403
    fetched = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    for path in ("/", "/assets/a.js", "/healthz", "/gradio_api/queue/data"):
        assert at_home.get(path, headers=fetched).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/config"), ("GET", "/gradio_api/deep_link"), ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/file=/etc/passwd"), ("POST", "/gradio_api/run/send"), ("POST", "/"),
        ("GET", JOIN), ("DELETE", "/"), ("PUT", JOIN), ("OPTIONS", JOIN), ("TRACE", "/"),
        ("GET", "/assets/../app.py"), ("GET", "/healthz/"), ("GET", "/HEALTHZ"),
        ("GET", "/" + "a" * 5000), ("GET", "/assets/" + "a" * 5000), ("GET", "/%2e%2e/app.py"),
    ],
)  # fmt: skip
def test_what_is_not_on_the_list_is_not_there(at_home, method, path):
    answer = at_home.request(method, path)
    assert (answer.status_code, answer.text) == (404, "There is nothing here.\n")


@given(st.text(max_size=60))
def test_a_path_is_on_the_list_or_not_there(path: str) -> None:
    asked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await PlainTextResponse("")(scope, receive, send)

    settings = settings_of("local")
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {
        "type": "http", "method": "GET", "path": "/" + path, "headers": [(b"host", b"localhost")],
    }  # fmt: skip
    asyncio.run(Guard(app, settings, Hosts.of(settings))(scope, receive, send))
    assert (sent[0]["status"] == 200) == bool(asked)
    if asked:
        assert path == "" or path.startswith(("assets/", "static/")) or path in ("healthz",)


def test_a_long_body_is_refused_by_the_length_that_it_says(at_home):
    assert at_home.post(JOIN, content=b"a" * LIMIT).text == str(LIMIT)
    answer = at_home.post(JOIN, content=b"a" * (LIMIT + 1))
    assert answer.status_code == 413
    assert "262,144 bytes" in answer.text


@pytest.mark.parametrize("length", ["-1", "1e3", "two", "9" * 30, "1, 1"])
def test_a_length_that_is_none_is_refused(at_home, length):
    answer = at_home.post(JOIN, headers={"content-length": length}, content=b"")
    assert answer.status_code == 400


def test_a_long_body_that_says_no_length_is_cut_off_while_it_comes() -> None:
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"a" * 50_000, "more_body": True}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def reads_all(scope: Any, receive: Any, send: Any) -> None:
        await (await echo(Request(scope, receive)))(scope, receive, send)

    async def answers_a_visitor_who_left(scope: Any, receive: Any, send: Any) -> None:
        try:
            await Request(scope, receive).body()
        except ClientDisconnect:
            return

    for app in (reads_all, answers_a_visitor_who_left):
        taken, settings = 0, settings_of("local")
        sent.clear()
        scope = {"type": "http", "method": "POST", "path": JOIN, "headers": [(b"host", b"[::1]")]}
        asyncio.run(Guard(app, settings, Hosts.of(settings))(scope, receive, send))
        assert sent[0]["status"] == 413
        assert taken == LIMIT // 50_000 + 1


def test_an_error_of_the_app_is_still_one():
    async def fails(request: Request) -> Response:
        raise RuntimeError("of the app")

    settings = settings_of("local")
    app = Starlette(routes=[Route("/", fails)])
    browser = TestClient(Guard(app, settings, Hosts.of(settings)), base_url=OWN)
    with browser, pytest.raises(RuntimeError, match="of the app"):
        browser.get("/")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing", "/assets/a.js"])
def test_every_answer_carries_the_headers(door, path):
    with client(door) as visitor:
        headers = visitor.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    hub = " https://huggingface.co/api/spaces/by-subdomain/" if door == "space" else ""
    assert policy["connect-src"] == f"'self'{hub}"
    assert policy["form-action"] == policy["object-src"] == policy["frame-src"] == "'none'"
    assert "http" not in policy["img-src"] + policy["script-src"] + policy["style-src"]
    framed = "huggingface.co" in policy["frame-ancestors"]
    assert framed == (door == "space") == ("x-frame-options" not in headers)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert (headers.get("cache-control") == "no-store") == (path != "/assets/a.js")


def test_web_sockets_are_closed(at_home):
    with pytest.raises(WebSocketDisconnect), at_home.websocket_connect(JOIN):
        raise AssertionError("it was accepted")


def test_a_body_that_takes_too_long_gives_up_its_place(monkeypatch) -> None:
    monkeypatch.setattr("chat_ui.web.guard.READ_S", 0.01)

    async def receive() -> Message:
        await asyncio.Event().wait()  # a visitor who sends nothing more
        raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (await echo(Request(scope, receive)))(scope, receive, send)

    settings = settings_of("local")
    scope = {"type": "http", "method": "POST", "path": JOIN, "headers": [(b"host", b"[::1]")]}
    asyncio.run(Guard(app, settings, Hosts.of(settings))(scope, receive, send))
    assert sent[0]["status"] == 408


def test_a_key_that_is_typed_is_short(at_home):
    assert at_home.post("/key", content=b"key=" + b"a" * 2000).status_code == 413


def test_another_page_s_script_reads_nothing(at_home):
    foreign = {"origin": "http://evil.example"}
    assert at_home.get("/gradio_api/queue/data", headers=foreign).status_code == 403
    assert at_home.get("/healthz", headers=foreign).status_code == 403
    assert at_home.get("/healthz", headers={"origin": OWN}).status_code == 200
