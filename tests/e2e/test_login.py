"""The owner of a Space logs in with Hugging Face, changes the model, and logs out."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chat import button, open_chat, send, wait_until_answered
from tests.e2e.conftest import FLAGS, Serve
from tests.e2e.tls import https_front
from tests.fake_openid import FakeOpenID
from tools.browser import find_chromium

pytestmark = pytest.mark.browser

HOST = "anna-chat.hf.space"
# As the Hub's proxy says it, which takes https.
PROXIED = {"X-Forwarded-Proto": "https"}


@pytest.fixture
def provider() -> Iterator[FakeOpenID]:
    with FakeOpenID(f"https://{HOST}/login/callback") as fake:
        yield fake


@pytest.fixture
def new_page(
    serve: Serve, browser: Browser, provider: FakeOpenID, tmp_path: Path
) -> Iterator[Callable[[], Page]]:
    """Makes visitors of anna's Space, each with cookies of its own."""
    space = {
        "SPACE_ID": "anna/chat",
        "SPACE_HOST": HOST,
        "SPACE_AUTHOR_NAME": "anna",
        **provider.environment(),
    }
    server = serve(environ=space)
    server.wait_for(phase="ready")
    with https_front(HOST, urlsplit(server.url).port or 0, tmp_path) as port:
        flags = [*FLAGS, f"--host-resolver-rules=MAP {HOST}:443 127.0.0.1:{port}"]
        chromium = browser.browser_type.launch(executable_path=find_chromium(), args=flags)

        def visit() -> Page:
            context = chromium.new_context(
                ignore_https_errors=True,
                extra_http_headers=PROXIED,
                viewport={"width": 1280, "height": 900},
            )
            return context.new_page()

        yield visit
        chromium.close()


def test_the_owner_logs_in_changes_the_model_and_logs_out(
    new_page: Callable[[], Page], provider: FakeOpenID
) -> None:
    page = new_page()
    page.add_init_script(
        "window.violations = []; document.addEventListener('securitypolicyviolation',"
        " (event) => violations.push(`${event.effectiveDirective} ${event.blockedURI}`))"
    )
    open_chat(page, f"https://{HOST}/")
    link = page.get_by_role("link", name="Log in with Hugging Face")
    four_bit = page.get_by_role("radio", name="4-bit", exact=False).first
    expect(four_bit).to_be_disabled()
    link.click()
    expect(page.get_by_text("You are logged in as anna.")).to_be_visible()
    expect(page).to_have_url(f"https://{HOST}/")
    expect(link).to_be_hidden()
    expect(four_bit).to_be_enabled()
    four_bit.check()
    expect(page.locator("#model-line .model-head")).to_contain_text("4-bit")
    send(page, "Hello")
    assert "Hello" in wait_until_answered(page, 1)
    button(page, "This server").click()
    address = page.get_by_role("dialog", name="This server").get_by_role("link")
    expect(address).to_have_attribute("href", f"https://{HOST}/")
    page.keyboard.press("Escape")
    button(page, "Log out").click()
    expect(link).to_be_visible()
    expect(four_bit).to_be_disabled()
    assert page.evaluate("window.violations") == []
    provider.user = {"sub": "99", "preferred_username": "bob"}
    other = new_page()
    open_chat(other, f"https://{HOST}/")
    other.get_by_role("link", name="Log in with Hugging Face").click()
    expect(other.get_by_text("bob, this Space isn't yours")).to_be_visible()
    other.get_by_role("link", name="Back to the chat").click()
    expect(other.get_by_role("radio", name="4-bit", exact=False).first).to_be_disabled()
