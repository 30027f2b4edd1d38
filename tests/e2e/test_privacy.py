"""What strangers read before they write, the page on privacy, and being forgotten, in a browser."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.chat import button, open_chat, send, wait_until_answered
from tests.e2e.conftest import Serve, Server
from tests.e2e.test_accessibility import LEVELS, LOOKS

pytestmark = pytest.mark.browser


def problems(page: Page) -> list[str]:
    options = {"runOnly": {"type": "tag", "values": [*LEVELS, "best-practice"]}}
    found = Axe().run(page, options=options).response["violations"]
    return [violation["id"] for violation in found]


def test_strangers_are_told_before_they_write_and_can_read_more(
    serve: Serve, new_context: Callable[..., BrowserContext]
) -> None:
    server = serve("--door", "share", "--public")
    for look in LOOKS.values():
        page = new_context(**look).new_page()
        open_chat(page, server.url)
        box = page.get_by_role("region", name="Before you write")
        expect(box).to_contain_text("A chat that nobody used for 24 hours is deleted.")
        expect(box).to_contain_text("please write nothing personal or secret")
        expect(page.get_by_text("your conversations are kept there")).to_have_count(0)
        assert problems(page) == []
        box.get_by_role("link", name="Privacy").click()
        expect(page.get_by_role("heading", level=1, name="Privacy")).to_be_visible()
        assert problems(page) == []
        page.get_by_role("link", name="Back to the chat").click()
        expect(box).to_be_visible()


def test_everything_is_deleted_once_that_is_confirmed(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    send(page, "Hello")
    wait_until_answered(page, 1)
    mine = page.get_by_role("navigation", name="Conversations").get_by_role("link")
    expect(mine).to_have_count(1)
    page.get_by_role("textbox", name="Message", exact=True).fill("A draft")
    dialog = page.get_by_role("dialog", name="Delete everything?")
    button(page, "Delete everything").click()
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    assert problems(page) == []
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(mine).to_have_count(1)
    [before] = page.context.cookies()
    button(page, "Delete everything").click()
    dialog.get_by_role("button", name="Delete everything").click()
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    expect(mine).to_have_count(0)
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_have_value("")
    [after] = page.context.cookies()
    assert after["name"] == before["name"]
    assert after["value"] != before["value"]


def test_what_is_written_and_answered_stands_in_no_log(serve: Serve, page: Page) -> None:
    server = serve("--door", "share", "--public")
    open_chat(page, server.url)
    page.get_by_role("textbox", name="System prompt", exact=True).fill("Canarysystem")
    send(page, "Canaryprompt")  # it is answered with the same, and is the title
    wait_until_answered(page, 1)
    send(page, "fail Canaryprompt")
    expect(page.get_by_text("The fake engine failed.").first).to_be_visible()
    send(page, "explode Canaryprompt")
    expect(page.get_by_text("Something went wrong inside the app.").first).to_be_visible()
    assert server.terminate() == 0
    told = "\n".join(server.lines)
    assert "ERROR chat_ui.service.replies: a reply failed" in told
    assert "builtins.RuntimeError" in told
    assert "Canary" not in told
    held = [file.name for file in server.data_dir.rglob("*") if b"Canary" in file.read_bytes()]
    assert held == ["chat_ui.db"]
