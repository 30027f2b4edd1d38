"""The login of a Space: who owns it gets in, and nothing but a login that was begun here ends."""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from chat_ui.settings import Settings, read
from chat_ui.ui.texts import LANGUAGES, texts, texts_in
from chat_ui.web import openid
from chat_ui.web.guard import Guard
from chat_ui.web.hosts import Hosts
from chat_ui.web.key import KeyMiddleware, Keys
from chat_ui.web.login import (
    BEGIN,
    BEGUN_PER_MINUTE,
    CALLBACK,
    END,
    LASTS_S,
    TAKES_S,
    LoginMiddleware,
    login_routes,
)
from tests.fake_openid import CLIENT_SECRET, FakeOpenID

HOST = "anna-chat.hf.space"
URL = f"https://{HOST}"
STRANGER = {"sub": "99", "preferred_username": "bob"}
# Of a request that a link or an answer of another site leads to.
CROSS_SITE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def tell(request: Request) -> JSONResponse:
    state = request.state
    return JSONResponse({"is_owner": state.is_owner, "login": state.login})


@pytest.fixture
def provider() -> Iterator[FakeOpenID]:
    with FakeOpenID(f"{URL}{CALLBACK}") as fake:
        yield fake


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., TestClient]


@pytest.fixture
def make(provider: FakeOpenID, clock: Clock, tmp_path: Path) -> Make:
    """Makes browsers of one Space, which is the user's anna unless the variables say otherwise."""
    apps: list[Any] = []

    def browser(**variables: str) -> TestClient:
        if not apps:
            environ = {
                "SPACE_ID": "anna/chat",
                "SPACE_HOST": HOST,
                "SPACE_AUTHOR_NAME": "anna",
                "CHAT_UI_DATA_DIR": str(tmp_path),
                **provider.environment(),
                **variables,
            }
            apps.append(space(read([], environ), clock))
        return TestClient(apps[0], base_url=URL, follow_redirects=False)

    return browser


def space(settings: Settings, clock: Clock) -> Guard:
    inner: Any = Starlette(routes=[Route("/", tell)])
    if settings.oauth:
        inner = LoginMiddleware(inner, settings.oauth, settings.space_host, texts_in, clock)
    keyed = KeyMiddleware(inner, settings, Keys(owner="o" * 43), texts_in)
    return Guard(keyed, settings, Hosts.of(settings), login_routes(settings))


def begun(browser: TestClient) -> str:
    """Go to the provider and log in there; the address that it sends the browser back to."""
    answer = browser.get(BEGIN, headers={"sec-fetch-site": "same-origin"})
    assert answer.status_code == 303, answer.text
    assert "OAUTH" not in answer.headers["location"]
    assert CLIENT_SECRET not in answer.headers["location"]
    back = httpx.get(answer.headers["location"])
    assert back.status_code == 302, back.text
    return back.headers["location"]


def logged_in(browser: TestClient) -> Any:
    return browser.get(begun(browser), headers=CROSS_SITE)


def is_owner(browser: TestClient) -> bool:
    found: bool = browser.get("/").json()["is_owner"]
    return found


def test_the_author_of_the_space_is_its_owner_until_logging_out(make: Make) -> None:
    browser = make()
    assert not is_owner(browser)
    answer = logged_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = next(one for one in answer.headers.get_list("set-cookie") if "begun" not in one)
    assert cookie.startswith("__Host-")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert browser.get("/").json() == {"is_owner": True, "login": "anna"}
    assert not is_owner(make())  # another browser
    stolen = dict(browser.cookies)
    assert browser.post(END).status_code == 204
    assert browser.get("/").json() == {"is_owner": False, "login": ""}
    browser.cookies.update(stolen)  # what was logged out is worth nothing any more
    assert not is_owner(browser)


def test_who_made_an_organisation_s_space_owns_it_by_the_id(
    make: Make, provider: FakeOpenID
) -> None:
    browser = make(SPACE_AUTHOR_NAME="an-organisation", SPACE_CREATOR_USER_ID="64f0")
    logged_in(browser)
    assert is_owner(browser)
    provider.user = {"sub": "65", "preferred_username": "64f0"}  # a name is no id
    other = make()
    assert logged_in(other).status_code == 403
    assert not is_owner(other)


def test_another_user_stays_a_visitor_and_nothing_is_kept(
    make: Make, provider: FakeOpenID, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="chat_ui")
    provider.user = {"sub": "99", "preferred_username": "<b>{bob}</b>"}
    browser = make()
    answer = logged_in(browser)
    assert answer.status_code == 403
    assert "&lt;b&gt;{bob}&lt;/b&gt;, this Space isn&#x27;t yours" in answer.text
    assert "set-cookie" not in answer.headers
    assert browser.get("/").json() == {"is_owner": False, "login": ""}
    assert not caplog.records


def test_an_end_without_a_beginning_is_refused(make: Make, provider: FakeOpenID) -> None:
    for query in ("", "?code=x", "?code=x&state=", "?code=x&state=y"):
        answer = make().get(f"{CALLBACK}{query}", headers=CROSS_SITE)
        assert answer.status_code == 400
        assert "wasn&#x27;t begun in this browser" in answer.text
    assert provider.asked == []


def test_a_forged_state_ends_nothing_and_the_real_one_still_does(
    make: Make, provider: FakeOpenID
) -> None:
    browser = make()
    back = begun(browser)
    forged = re.sub("state=.", "state=_", back)
    assert browser.get(forged, headers=CROSS_SITE).status_code == 400
    assert "/oauth/token" not in provider.asked
    assert browser.get(back, headers=CROSS_SITE).status_code == 303


def test_an_attacker_s_login_can_not_be_ended_in_another_browser(make: Make) -> None:
    """Neither to be somebody else there, nor to take over what the owner has begun."""
    attacker, victim = make(), make()
    back = begun(attacker)
    assert victim.get(back, headers=CROSS_SITE).status_code == 400
    begun(victim)  # a login of its own does not help
    assert victim.get(back, headers=CROSS_SITE).status_code == 400
    assert not is_owner(victim)


def test_a_login_ends_once(make: Make, provider: FakeOpenID) -> None:
    browser = make()
    answer = browser.get(BEGIN)
    kept = dict(browser.cookies)
    back = httpx.get(answer.headers["location"]).headers["location"]
    assert browser.get(back).status_code == 303
    browser.cookies.update(kept)
    assert browser.get(back).status_code == 400
    assert provider.asked.count("/oauth/token") == 1


def test_what_takes_too_long_is_begun_again_and_a_login_ends_by_itself(
    make: Make, clock: Clock
) -> None:
    browser = make()
    back = begun(browser)
    clock.now = TAKES_S
    assert browser.get(back).status_code == 400
    logged_in(browser)
    clock.now += LASTS_S - 1
    assert is_owner(browser)
    clock.now += 1
    assert not is_owner(browser)


def test_the_owner_s_name_is_kept_no_longer_than_the_login(make: Make, clock: Clock) -> None:
    browser = make()
    logged_in(browser)
    app: Any = browser.app
    login: LoginMiddleware = app._app._app
    assert [one.name for one in login._logins.values()] == ["anna"]
    clock.now += LASTS_S
    make().get("/")  # whoever asks
    assert not login._logins


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"}, {"aud": "another-space"}, {"aud": ["the-space", "x"]},
        {"exp": 1}, {"exp": None}, {"nonce": "another"}, {"nonce": None}, {"sub": ""},
        {"sub": 5}, {"preferred_username": ["anna"]}, {"preferred_username": "x" * 300},
    ],
)  # fmt: skip
def test_an_identity_token_of_another_login_is_refused(
    make: Make, provider: FakeOpenID, claims: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    provider.claims = claims
    browser = make()
    answer = logged_in(browser)
    assert answer.status_code == 502
    assert "failed. Try again in a minute" in answer.text
    assert not is_owner(browser)
    assert "evil" not in caplog.text + answer.text


def test_nonsense_of_the_provider_and_its_silence_are_sentences(
    make: Make, provider: FakeOpenID
) -> None:
    provider.is_broken = True
    assert logged_in(make()).status_code == 502
    browser = make()
    back = begun(browser)
    provider.stop()
    assert browser.get(back).status_code == 502


def test_who_changes_their_mind_is_told_how_to_go_on(make: Make) -> None:
    browser = make()
    state = httpx.URL(browser.get(BEGIN).headers["location"]).params["state"]
    answer = browser.get(f"{CALLBACK}?error=access_denied&state={state}", headers=CROSS_SITE)
    assert answer.status_code == 400
    assert "has logged nobody in" in answer.text
    assert f'href="{BEGIN}"' in answer.text


def test_no_address_is_taken_from_a_request(make: Make) -> None:
    """Where it leads is the provider, or the page: there is no open redirect."""
    browser = make()
    evil = "_target_url=//evil.example&redirect_uri=https://evil.example&next=/%5Cevil.example"
    assert "evil" not in browser.get(f"{BEGIN}?{evil}").headers["location"]
    assert browser.get(f"{begun(browser)}&{evil}").headers["location"] == "/"


def test_begun_logins_are_bounded(make: Make, clock: Clock, provider: FakeOpenID) -> None:
    browser = make()
    for _ in range(BEGUN_PER_MINUTE):
        assert browser.get(BEGIN).status_code == 303
    assert browser.get(BEGIN).status_code == 503
    assert len(provider.asked) == 1  # the provider says once where its endpoints are
    clock.now += 60
    assert browser.get(BEGIN).status_code == 303


def test_who_begins_logins_in_a_loop_does_not_keep_the_owner_out(make: Make) -> None:
    stranger, owner = make(), make()
    stranger.headers["x-forwarded-for"] = "10.0.0.1, 8.8.4.4"
    owner.headers["x-forwarded-for"] = "8.8.8.8"
    statuses = [stranger.get(BEGIN).status_code for _ in range(BEGUN_PER_MINUTE)]
    assert statuses == [303] * 20 + [503] * 40
    logged_in(owner)
    assert is_owner(owner)


def test_another_site_can_not_log_anybody_out(make: Make) -> None:
    browser = make()
    logged_in(browser)
    answer = browser.post(END, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert browser.get(END).status_code == 404
    assert is_owner(browser)


@pytest.mark.parametrize(
    "missing",
    [
        {"OAUTH_CLIENT_ID": ""}, {"OAUTH_CLIENT_SECRET": ""}, {"OPENID_PROVIDER_URL": ""},
        {"SPACE_HOST": ""}, {"SPACE_AUTHOR_NAME": ""}, {"CHAT_UI_DOOR": "local"},
        {"CHAT_UI_DOOR": "share"},
    ],
)  # fmt: skip
def test_without_what_a_login_needs_there_is_none(
    provider: FakeOpenID, tmp_path: Path, missing: dict[str, str]
) -> None:
    environ = {
        "SPACE_ID": "anna/chat", "SPACE_HOST": HOST, "SPACE_AUTHOR_NAME": "anna",
        **provider.environment(),
    }  # fmt: skip
    whole, settings = read([], environ), read([], environ | missing)
    assert whole.oauth is not None
    assert CLIENT_SECRET not in repr(whole)
    assert settings.oauth is None
    browser = TestClient(space(settings, Clock()), base_url="http://127.0.0.1:7860")
    assert browser.get(BEGIN).status_code == 404
    assert browser.get(CALLBACK).status_code == 404
    assert browser.post(END).status_code == 404


@pytest.mark.parametrize("language", LANGUAGES)
def test_how_it_ended_is_said_in_the_visitor_s_language(make: Make, language: str) -> None:
    accepted = "zh-CN" if language == "zh" else language
    answer = make().get(CALLBACK, headers={"accept-language": accepted})
    assert f'<html lang="{texts(language).tag}">' in answer.text
    assert texts(language)("login.again") in answer.text


def test_a_space_with_a_domain_of_its_own_is_known_under_both_names() -> None:
    settings = read([], {"SPACE_ID": "anna/chat", "SPACE_HOST": f"{HOST},Chat.example.org"})
    assert settings.space_host == HOST
    hosts = Hosts.of(settings)
    assert hosts.takes(HOST)
    assert hosts.takes("chat.example.org")


def test_certificates_are_read_once_and_not_on_the_event_loop(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_on: list[str] = []

    def certificates() -> ssl.SSLContext:
        try:
            asyncio.get_running_loop()
            read_on.append("loop")
        except RuntimeError:
            read_on.append("thread")
        return ssl.create_default_context()

    openid._certificates.cache_clear()
    monkeypatch.setattr(httpx, "create_ssl_context", certificates)
    assert logged_in(make()).status_code == 303  # two questions to the provider
    openid._certificates.cache_clear()
    assert read_on == ["thread"]
