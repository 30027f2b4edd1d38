"""The session cookie: who gets one, what it says, and what is not believed."""

import itertools
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gradio import networking
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from chat_ui.errors import StartupError
from chat_ui.limits import LIMITS, Door, Limits
from chat_ui.settings import Settings
from chat_ui.web.address import address_of
from chat_ui.web.session import (
    IDENTITY_FILE,
    SESSION_PATH,
    Identity,
    SessionMiddleware,
    open_identity,
)

IDENTITY = Identity("0123abcd", b"s" * 32)


async def tell_owner(request: Request) -> JSONResponse:
    return JSONResponse(request.state.owner)


def client(data_dir: Path, door: Door = "local", limits: Limits = LIMITS["local"]) -> TestClient:
    routes = [Route("/", tell_owner), Route("/x", tell_owner, methods=["GET", "POST"])]
    settings = Settings(data_dir=data_dir, door=door, limits=limits)
    return TestClient(SessionMiddleware(Starlette(routes=routes), settings))


def test_the_first_page_gives_a_cookie_that_later_requests_are_known_by(
    tmp_path: Path,
) -> None:
    with client(tmp_path) as browser:
        page = browser.get("/")
        owner = page.json()
        assert isinstance(owner, str)
        assert len(owner) == 64
        assert browser.post("/x").json() == owner
        assert browser.get("/").json() == owner
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert owner not in cookie  # what the database holds opens nothing


def test_two_browsers_are_two_owners(tmp_path: Path) -> None:
    with client(tmp_path) as one, client(tmp_path) as other:
        assert one.get("/").json() != other.get("/").json()


def test_without_a_cookie_there_is_no_owner_and_none_is_given_outside_the_page(
    tmp_path: Path,
) -> None:
    with client(tmp_path) as browser:
        answer = browser.post("/x")
        assert answer.json() is None
        assert "set-cookie" not in answer.headers


def test_a_cookie_that_was_not_minted_here_is_replaced(tmp_path: Path) -> None:
    name = open_identity(tmp_path).cookie_name
    foreign = Identity("0123abcd", b"other" * 8).mint()
    with client(tmp_path) as browser:
        page = browser.get("/", headers={"cookie": f"{name}={foreign}"})
        assert foreign not in page.headers["set-cookie"]
        answer = browser.post("/x", headers={"cookie": f"{name}={foreign}"})
        assert answer.json() is None


def test_on_a_space_the_cookie_lives_in_the_frame(tmp_path: Path) -> None:
    with client(tmp_path, "space") as browser:
        cookie = browser.get("/").headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert "Path=/;" in cookie
    assert "Domain" not in cookie
    assert "; HttpOnly; Secure; SameSite=None; Partitioned" in cookie


def test_through_a_shared_link_no_neighbour_can_plant_a_cookie(tmp_path: Path) -> None:
    name = open_identity(tmp_path).cookie_name
    planted = open_identity(tmp_path).mint()
    with client(tmp_path, "share") as browser:
        cookie = browser.get("/", headers={"host": "abc.gradio.live"}).headers["set-cookie"]
        assert cookie.startswith(f"__Host-{name}=")
        assert "; HttpOnly; Secure; SameSite=Lax" in cookie
        answer = browser.post(
            "/x", headers={"host": "abc.gradio.live", "cookie": f"{name}={planted}"}
        )
        assert answer.json() is None
        # Its owner comes by http, where a browser takes no secure cookie.
        local = browser.get("/", headers={"host": "127.0.0.1:7860"}).headers["set-cookie"]
        assert local.startswith(f"{name}=")
        assert "Secure" not in local


def test_through_a_relay_of_one_s_own_the_cookie_is_one_that_http_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networking, "GRADIO_SHARE_SERVER_ADDRESS", "relay.example.org:7000")
    with client(tmp_path, "share") as browser:
        cookie = browser.get("/", headers={"host": "abc.relay.example.org"}).headers["set-cookie"]
    assert cookie.startswith(f"{open_identity(tmp_path).cookie_name}=")
    assert "Secure" not in cookie


def test_a_page_whose_browser_refuses_the_cookie_has_a_token_of_its_own(tmp_path: Path) -> None:
    with client(tmp_path) as browser:
        first, other = browser.get(SESSION_PATH).json(), browser.get(SESSION_PATH).json()
        assert not first["is_kept"]
        headers = {"x-chat-ui-session": first["token"]}
        owner = browser.post("/x", headers=headers).json()
        assert owner == browser.post("/x", headers=headers).json()
        headers = {"x-chat-ui-session": other["token"]}
        assert browser.post("/x", headers=headers).json() not in (owner, None)
        assert browser.post("/x", headers={"x-chat-ui-session": "a" * 88}).json() is None


def test_a_browser_that_keeps_the_cookie_is_told_so_and_no_token(tmp_path: Path) -> None:
    with client(tmp_path) as browser:
        browser.get("/")
        assert browser.get(SESSION_PATH).json() == {"is_kept": True}


def test_where_new_visitors_have_no_limit_one_address_has_none(tmp_path: Path) -> None:
    limits = replace(LIMITS["space"], visitors_per_minute=0)
    with client(tmp_path, limits=limits, door="space") as browser:
        for _ in range(5):
            browser.cookies.clear()
            assert browser.get("/", headers={"x-forwarded-for": "8.8.4.4"}).status_code == 200


def test_so_many_new_visitors_come_in_a_minute_and_old_ones_always(tmp_path: Path) -> None:
    limits = replace(LIMITS["space"], visitors_per_minute=2)
    with client(tmp_path, limits=limits) as browser:
        browser.get("/")
        kept = dict(browser.cookies)
        browser.cookies.clear()
        # Two whose browsers refuse the cookie: each asks for the page and then for a token.
        assert browser.get(SESSION_PATH).status_code == 200
        browser.get("/")
        browser.cookies.clear()
        assert browser.get(SESSION_PATH).status_code == 200
        for path in ("/", SESSION_PATH):
            full = browser.get(path)
            assert full.status_code == 503
            assert 0 < int(full.headers["retry-after"]) <= 60
            assert "set-cookie" not in full.headers
        browser.cookies.update(kept)
        assert browser.get("/").status_code == 200


@pytest.mark.parametrize(("door", "status"), [("space", 200), ("local", 503)])
def test_new_visitors_do_not_keep_the_server_s_owner_out(tmp_path, door, status) -> None:
    limits = replace(LIMITS[door], visitors_per_minute=1)
    made = client(tmp_path, limits=limits, door=door)
    with made as browser:
        browser.get("/")
        browser.cookies.clear()
        made.app_state["is_owner"] = True
        assert browser.get("/").status_code == status


@pytest.mark.parametrize("path", ["/", SESSION_PATH])
@pytest.mark.parametrize("door", ["space", "share"])
def test_who_asks_in_a_loop_keeps_nobody_of_another_address_out(
    tmp_path: Path, door: Door, path: str
) -> None:
    limits = replace(LIMITS[door], visitors_per_minute=6)

    def status(address: str) -> int:
        # Whatever a visitor puts before what the proxy adds, which a Space's own may follow.
        headers = {"x-forwarded-for": f"1.1.1.{next(made_up)}, {address}, 10.20.1.7"}
        with client_of.stream("GET", path, headers=headers) as answer:
            client_of.cookies.clear()
            return answer.status_code

    made_up = itertools.count(1)
    with client(tmp_path, door, limits) as client_of:
        assert [status("8.8.4.4") for _ in range(5)] == [200, 200, 503, 503, 503]
        assert status("9.9.9.9") == 200
        # The addresses of one household are one.
        households = [status(f"2606:4700:0:{net}::{one}") for net in (1, 2) for one in (1, 2, 3)]
        assert households == [200, 200, 503, 200, 503, 503], "and six in all"


def test_an_address_of_version_4_is_one_by_a_socket_of_both_versions() -> None:
    def seen(host: str) -> str:
        return address_of({"type": "http", "headers": [], "client": (host, 1)}, "share")

    assert [seen("::ffff:8.8.4.4"), seen("::ffff:9.9.9.9")] == ["8.8.4.4", "9.9.9.9"]
    assert seen("::ffff:192.168.1.7") == ""


def test_at_the_door_of_this_machine_no_address_is_believed(tmp_path: Path) -> None:
    limits = replace(LIMITS["local"], visitors_per_minute=3)
    with client(tmp_path, limits=limits) as browser:
        for number in (200, 200, 200, 503):
            headers = {"x-forwarded-for": "8.8.4.4"}
            assert browser.get("/", headers=headers).status_code == number
            browser.cookies.clear()


def test_two_installs_have_two_cookie_names(tmp_path: Path) -> None:
    one, other = open_identity(tmp_path / "one"), open_identity(tmp_path / "other")
    assert one.cookie_name != other.cookie_name
    assert open_identity(tmp_path / "one") == one


def test_the_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    open_identity(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new" / IDENTITY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert [file.name for file in (tmp_path / "new").iterdir()] == [IDENTITY_FILE]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"install_id": "a"}', json.dumps({"install_id": "a;b", "secret": "00" * 32})],
)
def test_a_damaged_identity_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / IDENTITY_FILE).write_text(content)
    with pytest.raises(StartupError, match="if the file is damaged, remove it"):
        open_identity(tmp_path)


def test_a_minted_token_is_believed_and_tokens_differ() -> None:
    token = IDENTITY.mint()
    assert IDENTITY.owner(token) == IDENTITY.owner(token) != IDENTITY.owner(IDENTITY.mint())


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_no_other_value_is_believed(value: str) -> None:
    assert IDENTITY.owner(value) is None


@given(st.data())
def test_a_changed_token_is_not_believed(data: Any) -> None:
    token = IDENTITY.mint()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[at]))
    assert IDENTITY.owner(token[:at] + other + token[at + 1 :]) is None


def test_a_page_that_is_asked_for_with_a_token_alone_is_a_new_visitor_s(tmp_path: Path) -> None:
    with client(tmp_path) as browser:
        token = browser.get(SESSION_PATH).json()["token"]
        page = browser.get("/", headers={"x-chat-ui-session": token})
        assert browser.post("/x").json() == page.json()  # by the cookie that it was given
        assert token not in page.headers["set-cookie"]
