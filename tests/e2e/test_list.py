"""The list of conversations in a browser: groups, search, rename, pin, delete and undo, keys."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.e2e.chat import (
    LONG,
    answers,
    button,
    message_box,
    new_chat,
    open_chat,
    questions,
    send,
    wait_until_answered,
)

PHONE = {"width": 390, "height": 844}


def nav(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations")


def link(page: Page, title: str) -> Locator:
    return nav(page).get_by_role("link", name=title)


def expect_titles(page: Page, titles: list[str]) -> None:
    expect(nav(page).get_by_role("link")).to_have_text(titles, use_inner_text=True)


def search_box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Search conversations")


def begin(page: Page, *texts: str) -> None:
    """Begin a conversation with each of these."""
    for text in texts:
        new_chat(page)
        send(page, text)
        wait_until_answered(page, 1)
        expect(link(page, text)).to_have_attribute("aria-current", "page")


def test_the_newest_conversation_is_the_first_of_today(chat):
    begin(chat, "Alpha", "Beta")
    expect(nav(chat).get_by_role("heading", name="Today")).to_be_visible()
    expect_titles(chat, ["Beta", "Alpha"])


def test_a_new_title_stays_after_a_reload_and_names_the_page(chat):
    begin(chat, "Alpha")
    button(chat, "Rename").click()
    title = chat.get_by_role("textbox", name="Title")
    expect(title).to_have_value("Alpha")
    title.fill("Whales & <b>sea</b>")
    title.press("Enter")
    expect(link(chat, "Whales & <b>sea</b>")).to_be_visible()
    expect(chat).to_have_title("Whales & <b>sea</b> \u2013 chat_ui")
    chat.reload()
    expect(link(chat, "Whales & <b>sea</b>")).to_be_visible()


def test_escape_gives_a_new_title_up_and_stops_no_answer(chat):
    begin(chat, "Alpha")
    send(chat, LONG)
    expect(answers(chat).last).to_contain_text("w3")
    button(chat, "Rename").click()
    chat.get_by_role("textbox", name="Title").fill("")
    chat.keyboard.press("Escape")
    expect_titles(chat, ["Alpha"])
    expect(button(chat, "Stop")).to_be_visible()
    button(chat, "Stop").click()


def test_a_title_being_typed_outlives_news_of_the_list(chat, server):
    begin(chat, "Alpha")
    button(chat, "Rename").click()
    title = chat.get_by_role("textbox", name="Title")
    title.fill("Half a ti")
    other = chat.context.new_page()
    open_chat(other, server.url)
    begin(other, "Beta")
    with chat.expect_response(re.compile("component_server")):
        pass  # the pulse that brings the news
    expect(title).to_have_value("Half a ti")
    title.press("Enter")
    expect(link(chat, "Half a ti")).to_be_visible()
    expect(link(chat, "Beta")).to_be_visible()


def test_a_pinned_conversation_stands_above_newer_ones(chat):
    begin(chat, "Alpha", "Beta")
    link(chat, "Alpha").hover()
    nav(chat).get_by_role("listitem").filter(has_text="Alpha").get_by_role(
        "button", name="Pin"
    ).click()
    expect(nav(chat).get_by_role("heading", name="Pinned")).to_be_visible()
    expect_titles(chat, ["Alpha", "Beta"])
    expect(button(chat, "Unpin")).to_be_focused()
    chat.keyboard.press("Enter")
    expect(nav(chat).get_by_role("heading", name="Pinned")).to_have_count(0)
    expect_titles(chat, ["Beta", "Alpha"])


def test_delete_can_be_undone_and_the_open_one_is_shown_again(chat):
    begin(chat, "Alpha", "Beta")
    button(chat, "Delete").click()
    expect(chat.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    expect_titles(chat, ["Alpha"])
    button(chat, "Undo").click()
    expect(link(chat, "Beta")).to_have_attribute("aria-current", "page")
    expect(answers(chat)).to_have_text("You said: Beta")
    expect(button(chat, "Undo")).to_have_count(0)


def test_a_deleted_conversation_is_gone_in_another_tab_and_at_its_address(chat, server):
    begin(chat, "Alpha")
    address = chat.url
    other = chat.context.new_page()
    open_chat(other, server.url)
    expect(link(other, "Alpha")).to_be_visible()
    button(chat, "Delete").click()
    expect(link(other, "Alpha")).to_have_count(0)
    other.goto(address)
    expect(other.get_by_role("alert")).to_contain_text("conversation")
    expect(answers(other)).to_have_count(0)


def test_deleting_ends_the_answer_that_is_being_written(chat):
    begin(chat, "Alpha")
    send(chat, LONG)
    expect(answers(chat).last).to_contain_text("w3")
    button(chat, "Delete").click()
    expect(chat.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    send(chat, "Beta")  # a visitor has one answer at a time
    expect(questions(chat)).to_have_text(["Beta"])
    assert wait_until_answered(chat, 1) == "You said: Beta"


def test_search_finds_titles_and_texts_and_shows_where(chat):
    begin(chat, "Alpha")
    send(chat, "Tell me of WHALES, please")
    wait_until_answered(chat, 2)
    begin(chat, "Beta")
    search_box(chat).fill("whales")
    expect(nav(chat).get_by_role("heading", name="Found")).to_be_visible()
    expect_titles(chat, ["Alpha"])
    expect(nav(chat)).to_contain_text("Tell me of WHALES, please")
    search_box(chat).fill("alph")
    expect(nav(chat).get_by_role("link")).to_have_count(1)
    expect(nav(chat)).not_to_contain_text("Tell me of")
    search_box(chat).fill("nothing has these words")
    expect(nav(chat)).to_contain_text("No conversation has these words.")
    search_box(chat).press("Escape")
    expect(nav(chat).get_by_role("link")).to_have_count(2)


def test_shortcuts_search_begin_a_chat_hide_the_list_and_go_to_the_message_box(chat):
    begin(chat, "Alpha")
    chat.keyboard.press("Control+b")
    expect(nav(chat)).to_be_hidden()
    chat.keyboard.press("Control+k")  # which shows it again
    expect(search_box(chat)).to_be_focused()
    chat.keyboard.press("Control+Shift+O")
    expect(chat.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    button(chat, "Settings").focus()
    chat.keyboard.press("/")
    expect(message_box(chat)).to_be_focused()
    chat.keyboard.type("Why? a/b")  # no shortcut while one types
    expect(message_box(chat)).to_have_value("Why? a/b")


def test_the_shortcuts_are_told_in_a_dialog(chat):
    button(chat, "Settings").focus()
    chat.keyboard.press("?")
    dialog = chat.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("New chat")
    chat.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button(chat, "Settings")).to_be_focused()


def test_the_list_by_keyboard_alone(chat):
    begin(chat, "Alpha", "Beta")
    search_box(chat).focus()
    chat.keyboard.press("Tab")
    expect(link(chat, "Beta")).to_be_focused()
    for _ in range(4):  # past Pin, Rename and Delete
        chat.keyboard.press("Tab")
    expect(link(chat, "Alpha")).to_be_focused()
    chat.keyboard.press("Enter")
    expect(answers(chat)).to_have_text("You said: Alpha")


def test_the_list_on_a_phone(new_context, server):
    page = new_context(viewport=PHONE, has_touch=True, is_mobile=True).new_page()
    open_chat(page, server.url)
    send(page, "Alpha")
    wait_until_answered(page, 1)
    expect(nav(page)).to_be_hidden()
    button(page, "Conversations").tap()
    button(page, "Rename").tap()
    page.get_by_role("textbox", name="Title").fill("Beta")
    page.keyboard.press("Enter")
    expect(link(page, "Beta")).to_be_visible()
    button(page, "Delete").tap()
    button(page, "Undo").tap()
    link(page, "Beta").tap()
    expect(nav(page)).to_be_hidden()
    expect(answers(page)).to_have_text("You said: Alpha")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_double_click_deletes_one_and_undo_reaches_all(chat):
    begin(chat, "Alpha", "Beta", "Gamma")
    bin_ = button(chat, "Delete").first.bounding_box()
    assert bin_ is not None
    chat.mouse.dblclick(bin_["x"] + 8, bin_["y"] + 8, delay=60)
    expect(nav(chat).get_by_role("link")).to_have_count(2)
    expect(chat.get_by_role("alert")).to_be_empty()
    link(chat, "Alpha").hover()
    chat.wait_for_timeout(800)  # as long as a second click counts as a double one
    row = nav(chat).get_by_role("listitem").filter(has_text="Alpha")
    row.get_by_role("button", name="Delete").click()
    expect(nav(chat).get_by_role("link")).to_have_count(1)
    button(chat, "Undo").click()
    expect(link(chat, "Alpha")).to_be_visible()
    button(chat, "Undo").click()
    expect(link(chat, "Gamma")).to_be_visible()
    expect(button(chat, "Undo")).to_have_count(0)


def test_enter_on_an_unchanged_title_ends_the_renaming(chat):
    begin(chat, "Alpha")
    button(chat, "Rename").click()
    chat.get_by_role("textbox", name="Title").press("Enter")
    expect(button(chat, "Rename")).to_be_focused()
    expect(chat.get_by_role("textbox", name="Title")).to_have_count(0)


def test_a_click_elsewhere_while_renaming_is_not_swallowed(chat):
    begin(chat, "Alpha", "Beta")
    button(chat, "Rename").click()
    link(chat, "Alpha").click()
    expect(answers(chat)).to_have_text(["You said: Alpha"])
    expect(chat.get_by_role("textbox", name="Title")).to_have_count(0)


def test_what_can_not_be_done_is_said_and_not_shown_as_done(serve, page):
    server = serve()
    open_chat(page, server.url)
    begin(page, "Alpha")
    page.get_by_role("group", name="Answer").get_by_role("button", name="Edit message").click()
    expect(message_box(page)).to_have_value("You said: Alpha")
    message_box(page).fill("My own words")
    server.kill()
    message_box(page).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The server doesn't answer.")
    expect(message_box(page)).to_have_value("My own words")
    page.get_by_role("group", name="Your message").get_by_role(
        "button", name="Edit message"
    ).click()
    expect(page.get_by_text("Editing the answer")).to_be_visible()
    expect(message_box(page)).to_be_editable()
    expect(message_box(page)).to_have_value("My own words")
    button(page, "Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("The server doesn't answer.")
    expect(link(page, "Alpha")).to_be_visible()
    expect(button(page, "Undo")).to_have_count(0)


def test_a_tap_beside_an_open_drawer_closes_it_and_presses_nothing(new_context, server):
    page = new_context(viewport={"width": 360, "height": 740}, has_touch=True).new_page()
    open_chat(page, server.url)
    button(page, "Conversations").tap()
    expect(nav(page)).to_be_visible()
    page.touchscreen.tap(350, 400)
    expect(nav(page)).to_be_hidden()
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    expect(answers(page)).to_have_count(0)


def test_a_conversation_deleted_in_another_window_is_told_and_the_draft_stays(chat, server):
    begin(chat, "Alpha")
    message_box(chat).fill("Half a thought")
    other = chat.context.new_page()
    open_chat(other, chat.url)
    expect(answers(other)).to_have_count(1)
    button(other, "Delete").click()
    expect(link(other, "Alpha")).to_have_count(0)
    expect(other.get_by_text("deleted in another window")).to_have_count(0)
    told = chat.get_by_role("alert").filter(has_text="deleted in another window")
    expect(told).to_be_visible()
    expect(answers(chat)).to_have_text(["You said: Alpha"])
    message_box(chat).press("Enter")
    expect(told).to_be_hidden()  # the reason why it can't be sent
    expect(message_box(chat)).to_have_value("Half a thought")


def test_a_deletion_in_another_window_can_be_undone_here(chat, server):
    begin(chat, "Alpha")
    other = chat.context.new_page()
    open_chat(other, chat.url)
    expect(answers(other)).to_have_count(1)
    button(other, "Delete").click()
    told = chat.get_by_role("alert").filter(has_text="deleted in another window")
    told.get_by_role("button", name="Undo").click()
    expect(told).to_be_hidden()
    expect(link(chat, "Alpha")).to_have_attribute("aria-current", "page")
    expect(link(other, "Alpha")).to_be_visible()


def test_a_chat_begun_while_the_list_is_searched_is_in_the_list(chat):
    begin(chat, "Alpha")
    button(chat, "New chat").click()
    expect(answers(chat)).to_have_count(0)
    search_box(chat).fill("alp")
    expect(nav(chat).get_by_role("heading", name="Found")).to_be_visible()
    send(chat, "Beta")
    expect(link(chat, "Beta")).to_have_attribute("aria-current", "page")
    expect(search_box(chat)).to_have_value("")
