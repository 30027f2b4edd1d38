"""The session cookie: who gets one, what it says, and what is not believed."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from chat_ui.errors import StartupError
from chat_ui.limits import Door
from chat_ui.settings import Settings
from chat_ui.web.session import IDENTITY_FILE, Identity, SessionMiddleware, open_identity

IDENTITY = Identity("0123abcd", b"s" * 32)


async def tell_owner(request: Request) -> JSONResponse:
    return JSONResponse(request.state.owner)


def client(data_dir: Path, door: Door = "local") -> TestClient:
    routes = [Route("/", tell_owner), Route("/x", tell_owner, methods=["GET", "POST"])]
    return TestClient(
        SessionMiddleware(Starlette(routes=routes), Settings(data_dir=data_dir, door=door))
    )


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
    assert "SameSite=None; Secure; Partitioned" in cookie


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
