"""What is posted and names nothing of the page ends before Gradio reads it."""

import json
from typing import Any

import gradio as gr
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_ui.settings import Settings
from chat_ui.ui import page
from chat_ui.web.pages import EVENTS, PAGES_PER_VISITOR, STREAMS
from chat_ui.web.posts import (
    CALL,
    ENDED,
    JOIN,
    NUMBER,
    PAGES_PER_SESSION,
    STREAM,
    PostMiddleware,
)
from tests.ui.conftest import FakeService
from tests.web.fake_queue import fetch, put

TYPE = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    service: Any = FakeService(Settings(data_dir=tmp_path_factory.mktemp("data")))
    return page.build_page(service)


@pytest.fixture
def client(demo):
    async def echo(request: Request) -> JSONResponse:
        body = await request.body()
        if request.url.path == JOIN:
            put(demo, json.loads(body)["session_hash"])
        return JSONResponse(body.decode())

    async def stream(request: Request) -> PlainTextResponse:
        fetch(demo, request.query_params["session_hash"])
        return PlainTextResponse("news")

    routes = [Route(path, echo, methods=["POST"]) for path in (JOIN, CALL, CALL + "/", "/other")]
    routes.append(Route(STREAM, stream))
    posts = Middleware(PostMiddleware, demo=demo, sessions=5)
    app = Starlette(routes=routes, middleware=[Middleware(AsOwner), posts])
    with TestClient(app) as client:
        yield client


class AsOwner:
    """Takes the owner from a header, and whether that came by cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            owner = Headers(scope=scope).get("owner")
            has_cookie = owner is not None and "token" not in owner
            scope.setdefault("state", {}).update(owner=owner, has_cookie=has_cookie)
        await self._app(scope, receive, send)


def join(demo: gr.Blocks, name: str, values: list[Any], **more: Any) -> dict[str, Any]:
    (fn, *_) = [fn for fn in demo.fns.values() if fn.name == name]
    return {"fn_index": fn._id, "data": values, "session_hash": "a1", "trigger_id": 5, **more}


def call(demo: gr.Blocks, name: str, data: Any) -> dict[str, Any]:
    for block in demo.blocks.values():
        if name in [fn.__name__ for fn in getattr(block, "server_fns", ())]:
            sent = {"component_id": block._id, "fn_name": name, "data": data}
            return {**sent, "session_hash": "a1"}
    raise AssertionError(name)


def status(client: TestClient, path: str, body: Any, headers: dict[str, str] = TYPE) -> int:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, content=content, headers=headers)
    if answer.status_code == 200:
        assert answer.json().encode() == content, "what is passed on is what came"
    else:
        assert "nothing that the page asks for" in answer.text
    code: int = answer.status_code
    return code


def test_what_the_page_asks_for_is_passed_on_as_it_came(client, demo):
    assert status(client, JOIN, join(demo, "stop", ["c1"])) == 200
    assert status(client, JOIN, join(demo, "follow", ["c1", 20], event_data={"a": 1})) == 200
    for path in (CALL, CALL + "/"):
        assert status(client, path, call(demo, "pulse", {"conversation": None})) == 200
    assert status(client, "/other", b"anything") == 200


@pytest.mark.parametrize(
    "more",
    [
        {"fn_index": 10**9}, {"fn_index": "1"}, {"fn_index": True}, {"fn_index": None},
        {"data": []}, {"data": ["a", "b"]}, {"data": "a"}, {"data": [["a"]]}, {"data": [{"a": 1}]},
        {"session_hash": None}, {"session_hash": "../x"}, {"session_hash": "a" * 65},
        {"trigger_id": "x"}, {"event_data": {"a": {"b": 1}}}, {"oauth_token": "x"},
        {"batched": True}, {"event_id": "x"}, {"simple_format": True},
    ],
)  # fmt: skip
def test_an_event_that_is_none_of_the_page_s_is_refused(client, demo, more):
    assert status(client, JOIN, join(demo, "stop", ["c1"]) | more) == 400


@pytest.mark.parametrize(
    "more",
    [
        {"fn_name": "postprocess"}, {"fn_name": "__init__"}, {"fn_name": 5}, {"component_id": 0},
        {"component_id": "x"}, {"data": [1]}, {"data": "x"}, {"data": {"a": [1]}}, {"x": 1},
    ],
)  # fmt: skip
def test_a_call_that_is_none_of_the_page_s_is_refused(client, demo, more):
    assert status(client, CALL, call(demo, "pulse", {}) | more) == 400


def test_events_that_run_in_the_browser_alone_are_none(client, demo):
    alone = [fn for fn in demo.fns.values() if fn.fn is None]
    assert alone
    for fn in alone:
        values = [None] * len(fn.inputs)
        body = {"fn_index": fn._id, "data": values, "session_hash": "a1"}
        assert status(client, JOIN, body) == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b"5", b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000,
     b'{"data": [NaN]}', b'{"data": [Infinity]}'],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(client, body):
    assert status(client, JOIN, body) == 400
    assert status(client, CALL, body) == 400


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_only_json_is_read(client, demo, kind):
    assert status(client, JOIN, join(demo, "stop", ["c1"]), {"content-type": kind}) == 400
    assert status(client, CALL, call(demo, "pulse", {}), {"content-type": kind}) == 400


def test_each_function_of_the_page_takes_nothing_but_plain_values(demo):
    """Else a component's own reading of a value, such as a file's path, would be reached."""
    inputs = {type(one) for fn in demo.fns.values() if fn.fn is not None for one in fn.inputs}
    assert inputs == {gr.Textbox, gr.Checkbox, gr.Number, gr.Slider}
    assert not [fn for fn in demo.fns.values() if fn.fn is not None and fn.preprocess]


def test_an_open_page_is_its_first_visitor_s(client, demo):
    def stream(owner: str | None, page: str = "a1") -> int:
        headers = {} if owner is None else {"owner": owner}
        code: int = client.get(f"{STREAM}?session_hash={page}", headers=headers).status_code
        return code

    def send(owner: str | None, post: dict[str, Any]) -> int:
        path = JOIN if "fn_index" in post else CALL
        headers = {} if owner is None else {"owner": owner}
        code: int = client.post(path, json=post, headers=headers).status_code
        return code

    posts = [join(demo, "stop", ["c1"]), call(demo, "pulse", {"conversation": None})]
    assert [send("ann", post) for post in posts] == [200, 200]
    assert stream("ann") == 200
    for other in ("ben", "ben's token", None):
        assert [send(other, post) for post in posts] == [410, 410]
        assert stream(other) == 410
    # One whose browser refuses the cookie has nothing to show for it in a stream's address.
    assert [send("token", post | {"session_hash": "c3"}) for post in posts] == [200, 200]
    assert stream(None, "c3") == 200


def stream_of(client: TestClient, page: str, owner: str) -> tuple[int, str]:
    answer = client.get(f"{STREAM}?session_hash={page}", headers={"owner": owner})
    return answer.status_code, answer.text


def test_pages_that_are_used_are_remembered_and_their_number_is_bounded(client, demo):
    def used(page: str, owner: str) -> int:
        post = call(demo, "pulse", {}) | {"session_hash": page}
        code: int = client.post(CALL, json=post, headers={"owner": owner}).status_code
        return code

    assert used("first", "ann") == 200
    for number in range(50 * PAGES_PER_SESSION):
        assert used(f"p{number}", f"ben{number}") == 200
        assert used("first", "ann") == 200
    assert used("first", "ben") == 410
    assert used("p0", "ann") == 200
    for number in range(PAGES_PER_VISITOR * 3):
        assert used(f"q{number}", "ben") == 200
    assert used("first", "ben") == 410, "one visitor pushes out no page but their own"
    assert used("q0", "cora") == 200


def test_a_page_that_fetches_nothing_begins_only_so_many_events(client, demo):
    def begun(page: str, owner: str = "ann") -> int:
        post = join(demo, "stop", ["c1"], session_hash=page)
        code: int = client.post(JOIN, json=post, headers={"owner": owner}).status_code
        return code

    # Of one visitor, under however many names of pages.
    assert {begun(f"few{number % 5}") for number in range(EVENTS)} == {200}
    assert [begun("few0"), begun("few9")] == [429, 429]
    assert begun("bens", "ben") == 200
    assert stream_of(client, "few0", "ann") == (200, "news")
    assert begun("few0") == 200


def test_a_stream_of_a_page_that_is_none_never_reaches_gradio(client, demo):
    status_, text = stream_of(client, "nosuch", "ann")
    assert (status_, text) == (410, "There is no such page. Reload yours.\n")


def test_a_stream_that_waits_for_nothing_is_ended_at_once(client, demo):
    post = join(demo, "stop", ["c1"], session_hash="once")
    assert client.post(JOIN, json=post, headers={"owner": "ann"}).status_code == 200
    assert stream_of(client, "once", "ann") == (200, "news")
    for _ in range(STREAMS + 1):
        status_, text = stream_of(client, "once", "ann")
        assert (status_, json.loads(text[6:])) == (200, {"msg": "close_stream"})


def test_a_stream_of_a_page_whose_events_were_dropped_says_so_as_gradio_does(client, demo):
    post = call(demo, "pulse", {}) | {"session_hash": "calls"}
    assert client.post(CALL, json=post, headers={"owner": "ann"}).status_code == 200
    status_, text = stream_of(client, "calls", "ann")
    assert (status_, json.loads(text[6:])["session_not_found"]) == (200, True)


@pytest.mark.parametrize("query", ["", "?session_hash=a1&session_hash=b2", "?session=a1"])
def test_a_stream_is_of_one_page(client, query):
    assert client.get(STREAM + query, headers={"owner": "ann"}).status_code == 410


def test_the_answer_to_an_event_says_which_stream_has_ended(client, demo):
    def ended(page: str) -> str:
        post = join(demo, "stop", ["c1"], session_hash=page)
        said: str = client.post(JOIN, json=post, headers={"owner": "ann"}).headers[ENDED]
        return said

    def stream(page: str, number: str | bytes) -> str:
        headers: dict[str, str | bytes] = {"owner": "ann", NUMBER: number}
        return client.get(f"{STREAM}?session_hash={page}", headers=headers).text

    assert ended("ends") == "0"
    assert stream("ends", "1") == "news"
    assert ended("ends") == "1"
    assert stream("ends", "2") == "news"
    assert "close_stream" in stream("ends", "3")
    assert ended("ends") == "3"
    for none in ("", "-4", "x", b"\xb2", "9" * 5000):
        stream("ends", none)
    assert [ended("ends"), ended("other")] == ["3", "0"]
