"""The page on privacy, and being forgotten, behind the guard and the session."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from chat_ui.errors import HistoryError
from chat_ui.limits import Door
from chat_ui.service import ChatService, ReplyOptions
from chat_ui.ui.privacy import policy_page
from chat_ui.web.guard import Guard
from chat_ui.web.hosts import Hosts
from chat_ui.web.privacy import forget_route, privacy_route
from chat_ui.web.session import SessionMiddleware
from tests.service.conftest import ended, loader, make_service

__all__ = ["loader", "make_service"]

Make = Callable[..., ChatService]
OURS = {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}


async def tell_owner(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(request.state.owner))


def client_of(service: ChatService) -> TestClient:
    settings = service.settings
    routes = [
        Route("/", tell_owner),
        privacy_route(policy_page(settings)),
        forget_route(service),
    ]
    app = SessionMiddleware(Starlette(routes=routes), settings)
    guard = Guard(app, settings, Hosts.of(settings))
    # The cookie of a Space is for https alone.
    scheme = "https" if settings.door == "space" else "http"
    return TestClient(guard, base_url=f"{scheme}://127.0.0.1:7860")


@pytest.fixture
def service(make_service: Make) -> ChatService:
    return make_service()


@pytest.fixture
def browser(service: ChatService) -> Iterator[TestClient]:
    with client_of(service) as browser:
        yield browser


@pytest.mark.parametrize("door", ["local", "space", "share"])
def test_who_is_forgotten_is_a_new_visitor_without_conversations(
    make_service: Make, door: Door
) -> None:
    service = make_service(door=door)
    with client_of(service) as browser:
        owner = browser.get("/").text
        ended(service.reply(owner, None, "Hello", ReplyOptions()))
        answer = browser.post("/forget", headers={"sec-fetch-site": "same-origin"})
        assert answer.status_code == 204
        assert service.conversations(owner) == []
        assert len(browser.cookies) == 0
        assert browser.get("/").text != owner


def test_the_cookie_stays_where_something_could_not_be_deleted(
    service: ChatService, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(owner: str) -> None:
        raise HistoryError("The history is busy.", "Try again.")

    owner = browser.get("/").text
    monkeypatch.setattr(service, "forget", fail)
    answer = browser.post("/forget", headers=OURS)
    assert (answer.status_code, answer.text) == (503, "The history is busy. Try again.\n")
    assert browser.get("/").text == owner


def test_nobody_is_forgotten_for_another_page_s_sake(
    service: ChatService, browser: TestClient
) -> None:
    owner = browser.get("/").text
    ended(service.reply(owner, None, "Hello", ReplyOptions()))
    for headers in (
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "null"},
    ):
        assert browser.post("/forget", headers=headers).status_code == 403
    assert browser.get("/forget").status_code == 404
    assert len(service.conversations(owner)) == 1
    assert browser.get("/").text == owner


def test_who_has_no_cookie_has_nothing_to_be_forgotten(
    service: ChatService, browser: TestClient
) -> None:
    assert browser.post("/forget", headers=OURS).status_code == 204
    assert service._opened is None, "nothing was opened for it"


@pytest.mark.parametrize(
    ("language", "lang", "name"),
    [
        ("de-AT,de;q=0.9", "de", "Datenschutz"),
        ("zh-CN", "zh-Hans", "隐私"),
        ("it", "en", "Privacy"),
    ],
)
def test_the_page_speaks_the_visitor_s_language(
    browser: TestClient, language: str, lang: str, name: str
) -> None:
    answer = browser.get("/privacy", headers={"accept-language": language})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<html lang="{lang}">' in answer.text
    assert f"<h1>{name}</h1>" in answer.text


def test_the_page_gives_no_cookie_and_runs_no_script(browser: TestClient) -> None:
    answer = browser.get("/privacy")
    assert "set-cookie" not in answer.headers
    assert "<script" not in answer.text
    assert "http:" not in answer.text
    assert "https:" not in answer.text


def test_one_may_be_led_to_the_page_from_elsewhere(browser: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert browser.get("/privacy", headers=headers).status_code == 200
    headers["sec-fetch-mode"] = "no-cors"
    assert browser.get("/privacy", headers=headers).status_code == 403


HERE = "In the app&#x27;s data folder on this computer."
EMPTIED = "The disk is emptied when the Space restarts."
LASTING = "It outlasts a restart."
THEIRS = "On the computer of whoever runs this page."
RELAY = "Gradio&#x27;s relay"
HOURS = "A conversation that nobody used for 24 hours is deleted."
FOR_EVER = "Conversations stay until you delete them."
NO_LOGS = "stand in no log."
ALL = {HERE, EMPTIED, LASTING, THEIRS, RELAY, HOURS, FOR_EVER, NO_LOGS}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"door": "local"}, {HERE, FOR_EVER}),
        ({"door": "space"}, {EMPTIED, HOURS, NO_LOGS}),
        ({"door": "space", "data_dir": Path("/data/chat_ui")}, {LASTING, HOURS, NO_LOGS}),
        ({"door": "share"}, {THEIRS, HOURS, NO_LOGS}),
        ({"door": "share", "opens_tunnel": True}, {THEIRS, RELAY, HOURS, NO_LOGS}),
        ({"door": "share", "limits": {"kept_hours": 0}}, {THEIRS, FOR_EVER, NO_LOGS}),
    ],
)
def test_the_page_says_what_is_true_at_this_door(
    make_service: Make, changes: dict[str, object], said: set[str]
) -> None:
    page = policy_page(make_service(**changes).settings)("")
    assert {sentence for sentence in ALL if sentence in page} == said
