"""What a visitor sees of the limits: a place among those who wait, and settings within them."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.chat import LONG, button, message_box, open_chat, send, wait_until_answered
from tests.e2e.conftest import Serve


def says(page: Page, text: str) -> None:
    """Wait until the status line has this text."""
    expect(page.get_by_role("status").filter(has_text=text)).to_be_visible()


def test_who_waits_sees_their_place_moves_up_and_is_answered(
    serve: Serve, new_context: Callable[..., BrowserContext]
) -> None:
    server = serve("--max-replies", "1")
    server.wait_for(phase="ready")
    writing, next_, last = (new_context().new_page() for _ in range(3))
    for page in (writing, next_, last):
        open_chat(page, server.url)
    send(writing, LONG)
    says(writing, "Writing…")
    send(next_, "Hello")
    says(next_, "You are next")
    send(last, "Good morning")
    says(last, "1 before you")
    button(next_, "Stop").click()
    expect(next_.locator("#chat").get_by_text("Stopped.").first).to_be_visible()
    says(last, "You are next")
    button(writing, "Stop").click()
    assert wait_until_answered(last, 1) == "You said: Good morning"


def test_a_kept_setting_beyond_this_server_s_limit_is_lowered_and_a_message_is_sent(
    serve: Serve, page: Page
) -> None:
    server = serve("--max-new-tokens", "64")
    server.wait_for(phase="ready")
    kept = "[0.5, 0.9, 4096]"
    page.add_init_script(f"localStorage.setItem('chat_ui.settings.1', '{kept}')")
    open_chat(page, server.url)
    expect(page.locator("#set-max-new-tokens input[type=number]")).to_have_value("64")
    expect(page.locator("#set-temperature input[type=number]")).to_have_value("0.5")
    send(page, "Hello")
    assert wait_until_answered(page, 1) == "You said: Hello"


def test_who_sends_more_than_the_minute_allows_is_told_when_and_keeps_the_message(
    serve: Serve, page: Page
) -> None:
    server = serve("--door", "share", "--public", "--max-turns-per-minute-per-visitor", "1")
    server.wait_for(phase="ready")
    open_chat(page, server.url)
    send(page, "Hello")
    wait_until_answered(page, 1)
    send(page, "Once more")
    expect(page.get_by_role("alert").filter(has_text="again in")).to_be_visible()
    expect(message_box(page)).to_have_value("Once more")
    assert wait_until_answered(page, 1) == "You said: Hello"
