"""The keys: who is let in, who is an owner, and that a key is seen once only."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from chat_ui.limits import LIMITS, Door
from chat_ui.service.rates import MINUTE_S
from chat_ui.settings import Settings
from chat_ui.ui.texts import LANGUAGES, texts_in
from chat_ui.web.guard import Guard
from chat_ui.web.hosts import Hosts
from chat_ui.web.key import WRONG_TRIES, KeyMiddleware, Keys

KEYS = Keys(visitor="v" * 43, owner="o" * 43)
LINK = "https://abc.gradio.live"
JOIN = "/gradio_api/queue/join"
PATHS = ["/", "/healthz", "/assets/a.js", JOIN, "/gradio_api/queue/data", "/gradio_api/app_id"]

Make = Callable[..., TestClient]


async def tell(request: Request) -> JSONResponse:
    return JSONResponse({"is_owner": request.state.is_owner})


@pytest.fixture
def visitor(tmp_path: Path) -> Make:
    def make(
        door: Door = "share", keys: Keys = KEYS, url: str = LINK, clock: Any = None
    ) -> TestClient:
        settings = Settings(data_dir=tmp_path, door=door, limits=LIMITS[door])
        hosts = Hosts.of(settings)
        hosts.add_own("abc.gradio.live")
        routes = [Route(path, tell, methods=["GET", "POST"]) for path in PATHS]
        app = KeyMiddleware(
            Starlette(routes=routes), settings, keys, texts_in, clock or (lambda: 0.0)
        )
        return TestClient(Guard(app, settings, hosts), base_url=url, follow_redirects=False)

    return make


def test_without_a_key_there_is_a_form_and_nothing_else(visitor: Make) -> None:
    browser = visitor()
    page = browser.get("/")
    assert page.status_code == 401
    assert '<form method="post" action="/key">' in page.text
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "form-action 'self'" in policy
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert browser.head("/").status_code == 401
    for path in PATHS[2:]:
        answer = browser.request("POST" if path == JOIN else "GET", path)
        assert answer.status_code == 401
        assert "<" not in answer.text
        assert "form-action 'none'" in answer.headers["content-security-policy"]
    assert browser.get("/healthz").status_code == 200


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_form_and_its_refusals_are_in_the_visitor_s_language(
    visitor: Make, language: str
) -> None:
    browser, say = visitor(), texts_in(language)
    browser.headers["accept-language"] = language
    for page, sentence in (
        (browser.get("/"), "asked"),
        (browser.post("/key", data={"key": "wrong"}), "wrong"),
    ):
        assert page.headers["vary"] == "Accept-Language"
        assert f'<html lang="{say.tag}">' in page.text
        for key in (sentence, "key", "open"):
            assert escape(say(f"entrance.{key}")) in page.text
    refused = browser.get("/assets/a.js")
    assert refused.text == say("entrance.asked") + "\n"
    assert (refused.headers["vary"], refused.headers["content-language"]) == (
        "Accept-Language", say.tag
    )  # fmt: skip


def test_a_link_s_key_becomes_a_cookie_and_leaves_the_address(visitor: Make) -> None:
    browser = visitor()
    answer = browser.get(f"/?a=1&key={KEYS.visitor}&__theme=dark")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?a=1&__theme=dark")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "Secure" in cookie
    assert "samesite=lax" in cookie.lower()
    assert KEYS.visitor not in cookie
    assert browser.get("/").json() == {"is_owner": False}
    assert browser.post(JOIN).status_code == 200
    # A program that looks at the link first is told the same.
    head = visitor().head(f"/?a=1&key={KEYS.visitor}")
    assert (head.status_code, head.headers["location"]) == (303, "/?a=1")
    assert visitor().head("/?key=wrong").status_code == 401
    # A bookmark of the link, or of an earlier one, leads to the page.
    for key in (KEYS.visitor, "of an earlier start"):
        assert browser.get("/", params={"key": key}).headers["location"] == "/"
    assert visitor().get("/").status_code == 401


def test_on_this_machine_the_cookie_is_taken_over_http(visitor: Make) -> None:
    for host in ("127.0.0.1:7860", "localhost:7860", "[::1]:7860"):
        browser = visitor(url=f"http://{host}")
        answer = browser.get("/", params={"key": KEYS.visitor})
        assert "Secure" not in answer.headers["set-cookie"]
        assert browser.get("/").status_code == 200


def test_a_key_may_be_typed(visitor: Make) -> None:
    browser = visitor()
    wrong = browser.post("/key?a=%22%3E%3Cb%3E", data={"key": "wrong"})
    assert wrong.status_code == 401
    assert "not the one" in wrong.text
    assert '"><b>' not in wrong.text
    right = browser.post("/key?a=1", data={"key": KEYS.visitor})
    assert (right.status_code, right.headers["location"]) == (303, "/?a=1")
    assert browser.get("/").json() == {"is_owner": False}
    owner = visitor()
    owner.post("/key", data={"key": KEYS.owner})
    assert owner.get("/").json() == {"is_owner": True}


@pytest.mark.parametrize("body", [b"", b"key", b"\xff=\xff", b"key=%ff", b"a=1&key=&key=x"])
def test_whatever_is_posted_as_a_key_is_wrong(visitor: Make, body: bytes) -> None:
    assert visitor().post("/key", content=body).status_code == 401


def test_another_page_can_not_post_a_key(visitor: Make) -> None:
    for origin in ("https://evil.example", "null"):
        answer = visitor().post("/key", data={"key": "x"}, headers={"origin": origin})
        assert answer.status_code == 403


def test_wrong_keys_are_counted_for_all_together_and_shut_out_nobody(visitor: Make) -> None:
    now = 0.0
    browser = visitor(clock=lambda: now)
    for number in range(WRONG_TRIES):
        wrong = {"key": "wrong", "owner": "wrong"} if number % 2 else {"key": "wrong"}
        assert browser.get("/", params=wrong).status_code == 401
    refused = browser.post("/key", data={"key": "wrong"})
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"
    assert "Wait a minute" in refused.text
    assert browser.get("/").status_code == 401  # which tries nothing
    assert browser.get("/", params={"key": KEYS.visitor}).status_code == 303
    now = MINUTE_S
    assert browser.get("/", params={"owner": "wrong"}).status_code == 401


def test_the_owner_s_link_makes_an_owner_and_lets_in(visitor: Make) -> None:
    for door, keys in (("share", KEYS), ("space", Keys(owner=KEYS.owner))):
        browser = visitor(door, keys)
        answer = browser.get("/", params={"owner": KEYS.owner})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert KEYS.owner not in answer.headers["set-cookie"]
        assert browser.get("/").json() == {"is_owner": True}


@pytest.mark.parametrize("value", ["", "1", "true", "o" * 43, "v" * 43, "0" * 64])
def test_no_other_cookie_is_believed(visitor: Make, value: str) -> None:
    browser = visitor("space", Keys(owner=KEYS.owner))
    name = browser.get("/", params={"owner": KEYS.owner}).headers["set-cookie"].split("=")[0]
    browser.cookies.clear()
    browser.cookies.set(name, value)
    assert browser.get("/").json() == {"is_owner": False}


def test_a_visitor_s_cookie_makes_no_owner(visitor: Make) -> None:
    browser = visitor()
    cookie = browser.get("/", params={"key": KEYS.visitor}).headers["set-cookie"]
    name, value = cookie.split(";")[0].split("=")
    browser.cookies.set(name.replace("key", "owner"), value)
    assert browser.get("/").json() == {"is_owner": False}


def test_a_cookie_of_an_earlier_start_opens_nothing(visitor: Make) -> None:
    browser = visitor()
    browser.get("/", params={"key": KEYS.visitor})
    later = visitor(keys=Keys(visitor="w" * 43, owner=KEYS.owner))
    later.cookies = browser.cookies
    assert later.get("/").status_code == 401


def test_at_home_everybody_is_the_owner_and_nothing_is_asked(visitor: Make, tmp_path: Path) -> None:
    keys = Keys.of(Settings(data_dir=tmp_path))
    assert keys == Keys()
    browser = visitor("local", keys, "http://127.0.0.1:7860")
    assert browser.get("/?key=x&owner=y").json() == {"is_owner": True}
    assert browser.post("/key", data={"key": "x"}).status_code == 404


def test_each_door_has_the_keys_that_it_needs(tmp_path: Path) -> None:
    shared = Keys.of(Settings(data_dir=tmp_path, door="share"))
    assert len(shared.visitor) >= 22
    assert len(shared.owner) >= 22
    assert shared != Keys.of(Settings(data_dir=tmp_path, door="share"))
    public = Keys.of(Settings(data_dir=tmp_path, door="share", is_open=True))
    assert not public.visitor
    assert public.owner
    space = Keys.of(Settings(data_dir=tmp_path, door="space", owner_key="k" * 22))
    assert space == Keys(owner="k" * 22)
    assert space.owners_link("http://a:1/") == f"http://a:1/?owner={'k' * 22}"
