"""Temporary chats in a browser: as any other while they last, in no list, and on no disk."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.e2e.chat import (
    LONG,
    answers,
    button,
    conversation_id,
    last_word,
    message_box,
    new_chat,
    open_chat,
    questions,
    send,
    wait_until_answered,
)
from tests.e2e.conftest import Serve, Server

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
SECRET = "xylophone"


def box(page: Page) -> Locator:
    return page.get_by_role("checkbox", name="Temporary chat", exact=True)


def note(page: Page) -> Locator:
    return page.get_by_text("Temporary chat: it is not stored.", exact=True)


def nav(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations")


def begin(page: Page, text: str) -> str:
    """Begin a temporary chat, and wait for its answer; its id."""
    box(page).check()
    send(page, text)
    wait_until_answered(page, 1)
    return conversation_id(page)


def storage(page: Page) -> str:
    found: str = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
    return found


@pytest.fixture
def chat(server: Server, page: Page) -> Page:
    open_chat(page, server.url)
    return page


def test_it_goes_on_and_a_reload_and_another_tab_find_it(chat: Page) -> None:
    expect(box(chat)).not_to_be_checked()
    expect(box(chat)).to_have_accessible_description(
        "Kept in memory only, and gone an hour after its last message."
    )
    begin(chat, "Alpha")
    expect(note(chat)).to_be_visible()
    expect(box(chat)).to_be_hidden()
    send(chat, "Beta")
    assert wait_until_answered(chat, 2) == "You said: Beta"
    address = chat.url
    chat.reload()
    expect(questions(chat)).to_have_text(["Alpha", "Beta"])
    expect(note(chat)).to_be_visible()
    other = chat.context.new_page()
    open_chat(other, address)
    expect(questions(other)).to_have_text(["Alpha", "Beta"])
    expect(note(other)).to_be_visible()
    # Each follows what the other does.
    send(chat, LONG)
    expect(answers(other)).to_have_count(3)
    expect(answers(other).last).to_contain_text("w5")
    expect(button(other, "Stop")).to_be_visible()
    button(other, "Stop").click()
    expect(button(chat, "Stop")).to_be_hidden()
    assert last_word(chat) < 500
    button(other, "Regenerate").click()
    expect(chat.locator(".where").last).to_have_text("2 / 2")
    button(chat, "Stop").click()
    expect(button(other, "Stop")).to_be_hidden()


def test_it_is_neither_in_the_list_nor_found(chat: Page) -> None:
    send(chat, f"Kept {SECRET}")
    wait_until_answered(chat, 1)
    expect(nav(chat).get_by_role("link")).to_have_text([f"Kept {SECRET}"])
    new_chat(chat)
    begin(chat, f"Temporary {SECRET}")
    chat.get_by_role("textbox", name="Search conversations").fill(SECRET)
    expect(nav(chat).get_by_role("heading", name="Found")).to_be_visible()
    expect(nav(chat).get_by_role("link")).to_have_text([f"Kept {SECRET}"])
    chat.reload()
    expect(nav(chat).get_by_role("link")).to_have_text([f"Kept {SECRET}"])
    expect(chat).to_have_title("chat_ui")


def test_the_box_stays_as_it_was_until_a_reload(chat: Page) -> None:
    begin(chat, "Alpha")
    new_chat(chat)
    expect(box(chat)).to_be_checked()
    send(chat, "Beta")
    wait_until_answered(chat, 1)
    expect(note(chat)).to_be_visible()
    new_chat(chat)
    expect(note(chat)).to_be_hidden()
    chat.reload()
    expect(box(chat)).not_to_be_checked()
    send(chat, "Gamma")
    wait_until_answered(chat, 1)
    expect(note(chat)).to_be_hidden()
    expect(nav(chat).get_by_role("link")).to_have_text(["Gamma"])


def test_versions_and_branches_of_it_are_temporary_too(chat: Page) -> None:
    first = begin(chat, "Alpha")
    answer = chat.get_by_role("group", name="Answer", exact=True)
    answer.get_by_role("button", name="Edit message").click()
    expect(chat.get_by_text("Editing ")).to_be_visible()
    message_box(chat).fill("Mine.")
    message_box(chat).press("Enter")
    expect(answers(chat)).to_have_text("Mine.")
    answer.get_by_role("button", name="Branch").click()
    chat.wait_for_url(lambda url: "c=" in url and first not in url)
    expect(answers(chat)).to_have_text("Mine.")
    expect(note(chat)).to_be_visible()
    expect(nav(chat).get_by_role("link")).to_have_count(0)
    chat.go_back()
    chat.wait_for_url(re.compile(first))
    expect(answers(chat)).to_have_text("Mine.")


def test_an_answer_in_it_goes_on_through_a_reload(chat: Page) -> None:
    box(chat).check()
    send(chat, LONG)
    expect(answers(chat).last).to_contain_text("w5")
    before = last_word(chat)
    chat.reload()
    expect(answers(chat).last).to_contain_text(f"w{before + 10}")
    button(chat, "Stop").click()
    expect(button(chat, "Stop")).to_be_hidden()


def test_another_visitor_does_not_find_it(
    chat: Page, server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    begin(chat, SECRET)
    stranger = new_context().new_page()
    open_chat(stranger, chat.url)
    expect(stranger.get_by_role("alert")).to_contain_text("This conversation isn't here.")
    expect(answers(stranger)).to_have_count(0)
    assert SECRET not in stranger.content()


def test_the_browser_keeps_no_draft_of_it(chat: Page) -> None:
    message_box(chat).press_sequentially(f"My {SECRET}")
    assert SECRET in storage(chat)
    box(chat).check()
    assert SECRET not in storage(chat)
    box(chat).uncheck()
    assert SECRET in storage(chat)
    box(chat).check()
    message_box(chat).press("Enter")
    assert SECRET not in storage(chat)
    wait_until_answered(chat, 1)
    expect(note(chat)).to_be_visible()
    message_box(chat).press_sequentially(f"Another {SECRET}")
    assert SECRET not in storage(chat)
    button(chat, "New chat").click()
    expect(box(chat)).to_be_visible()


def test_nothing_of_it_is_on_the_disk_and_a_restart_ends_it(
    serve: Serve, page: Page, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    variables = ("TMPDIR", "SQLITE_TMPDIR", "GRADIO_TEMP_DIR")
    server = serve(environ=dict.fromkeys(variables, str(elsewhere)))
    open_chat(page, server.url)
    send(page, "An ordinary marimba")
    wait_until_answered(page, 1)
    new_chat(page)
    page.get_by_role("textbox", name="System prompt", exact=True).fill(f"Speak of the {SECRET}.")
    begin(page, f"My {SECRET}")
    send(page, f"{SECRET} fail")
    expect(answers(page).last).to_contain_text("One two")
    button(page, "Regenerate").click()
    expect(page.locator(".where").last).to_have_text("2 / 2")
    expect(button(page, "Stop")).to_be_hidden()
    address = page.url

    def on_disk(word: str) -> list[Path]:
        found = [path for path in tmp_path.rglob("*") if path.is_file()]
        return [path for path in found if word.encode() in path.read_bytes()]

    assert on_disk("marimba")
    assert on_disk(SECRET) == []
    assert server.terminate() == 0
    assert on_disk("marimba")
    assert on_disk(SECRET) == []
    assert SECRET not in "\n".join(server.lines)
    serve(again=server)
    expect(page.get_by_role("alert")).to_contain_text("This conversation isn't here.")
    expect(answers(page)).to_have_count(0)
    page.goto(address)
    expect(page.get_by_role("alert")).to_contain_text("This conversation isn't here.")
    expect(nav(page).get_by_role("link")).to_have_text(["An ordinary marimba"])


def test_a_temporary_chat_on_a_phone(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    page = new_context(viewport=PHONE, has_touch=True, is_mobile=True).new_page()
    open_chat(page, server.url)
    page.get_by_text("Temporary chat", exact=True).tap()
    expect(box(page)).to_be_checked()
    expect(box(page)).to_have_css("appearance", "auto")  # else an empty one is not to be seen
    expect(page.get_by_text("Kept in memory only")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    send(page, "Alpha")
    wait_until_answered(page, 1)
    expect(note(page)).to_be_visible()
    expect(note(page)).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    button(page, "Conversations").tap()
    expect(nav(page).get_by_role("link")).to_have_count(0)
