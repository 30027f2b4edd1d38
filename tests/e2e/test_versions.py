"""Versions in a browser: regenerate, edit, walk, branch, continue; nothing written is lost."""

import re

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.e2e.chat import (
    LONG,
    answers,
    button,
    conversation_id,
    let_go,
    message_box,
    open_chat,
    questions,
    send,
    stop,
    wait_until_answered,
)

PHONE = {"width": 390, "height": 844}


def bar(page: Page, kind: str, number: int = -1) -> Locator:
    """What can be done with a message: of `kind` "Answer" or "Your message"."""
    bars = page.get_by_role("group", name=kind, exact=True)
    return bars.last if number < 0 else bars.nth(number)


def press(page: Page, kind: str, name: str, number: int = -1) -> None:
    bar(page, kind, number).get_by_role("button", name=name, exact=True).click()


def edit(page: Page, kind: str, text: str, number: int = -1) -> None:
    press(page, kind, "Edit message", number)
    expect(page.get_by_text("Editing ")).to_be_visible()
    message_box(page).fill(text)
    message_box(page).press("Enter")
    expect(page.get_by_text("Editing ")).to_be_hidden()


def where(page: Page, kind: str, number: int = -1) -> Locator:
    return bar(page, kind, number).locator(".where")


def test_regenerate_keeps_the_answer_and_previous_shows_it(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    expect(button(chat, "Previous version")).to_have_count(0)
    button(chat, "Regenerate").click()
    expect(where(chat, "Answer")).to_have_text("2 / 2")
    expect(button(chat, "Next version")).to_be_disabled()
    press(chat, "Answer", "Previous version")
    expect(where(chat, "Answer")).to_have_text("1 / 2")
    expect(button(chat, "Previous version")).to_be_disabled()


def test_an_edited_question_is_answered_and_the_old_one_has_its_own_answer(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    send(chat, "Beta")
    wait_until_answered(chat, 2)
    edit(chat, "Your message", "Gamma", 0)
    expect(answers(chat)).to_have_text(["You said: Gamma"])
    expect(where(chat, "Your message")).to_have_text("2 / 2")
    press(chat, "Your message", "Previous version")
    expect(answers(chat)).to_have_text(["You said: Alpha", "You said: Beta"])
    expect(questions(chat)).to_have_text(["Alpha", "Beta"])
    chat.reload()
    expect(answers(chat)).to_have_text(["You said: Alpha", "You said: Beta"])


def test_an_edited_answer_is_what_the_model_is_shown_from_then_on(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    edit(chat, "Answer", "I never said that.")
    expect(answers(chat)).to_have_text(["I never said that."])
    expect(where(chat, "Answer")).to_have_text("2 / 2")
    send(chat, "Beta")
    wait_until_answered(chat, 2)
    expect(answers(chat).first).to_have_text("I never said that.")
    press(chat, "Answer", "Details", 0)
    expect(chat.get_by_role("dialog", name="Details")).to_contain_text("edited by hand")


def test_editing_gives_the_draft_back(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    message_box(chat).fill("Half a thought")
    press(chat, "Your message", "Edit message")
    expect(message_box(chat)).to_have_value("Alpha")
    message_box(chat).press("Escape")
    expect(message_box(chat)).to_have_value("Half a thought")
    press(chat, "Your message", "Edit message")
    message_box(chat).fill("Beta")
    chat.reload()  # the draft is kept, not the edit
    expect(message_box(chat)).to_have_value("Half a thought")


def test_what_is_typed_before_the_text_to_be_edited_is_there_is_not_mixed_with_it(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    message_box(chat).fill("A draft")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "message_text" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    chat.route(re.compile("component_server"), hold)
    press(chat, "Your message", "Edit message")
    expect(message_box(chat)).not_to_be_editable()
    message_box(chat).focus()
    chat.keyboard.type("lost?")
    chat.keyboard.press("Enter")
    expect(message_box(chat)).to_have_value("A draft")
    let_go(chat, held)
    expect(message_box(chat)).to_be_editable()
    expect(message_box(chat)).to_have_value("Alpha")
    message_box(chat).press("Escape")
    expect(message_box(chat)).to_have_value("A draft")
    press(chat, "Your message", "Edit message")
    expect(message_box(chat)).not_to_be_editable()
    button(chat, "Cancel").click()  # whoever does not wait for it
    expect(message_box(chat)).to_be_editable()
    expect(message_box(chat)).to_have_value("A draft")
    let_go(chat, held)
    expect(questions(chat)).to_have_text(["Alpha"])


def test_an_edit_that_is_begun_while_a_message_is_being_sent_goes_on(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    held: list[Route] = []
    chat.route("**/queue/join*", lambda route: held.append(route), times=1)
    send(chat, "Beta")
    press(chat, "Your message", "Edit message", 0)
    expect(message_box(chat)).to_have_value("Alpha")
    let_go(chat, held)
    expect(answers(chat)).to_have_text(["You said: Alpha", "You said: Beta"])
    expect(chat.get_by_text("Editing ")).to_be_visible()
    expect(message_box(chat)).to_have_value("Alpha")


def test_enter_pressed_twice_stores_an_edited_answer_once(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    press(chat, "Answer", "Edit message")
    message_box(chat).fill("Mine")
    chat.evaluate("""() => {
      const box = document.querySelector('#message textarea');
      for (const _ of [1, 2, 3]) {
        box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
      }
    }""")
    expect(answers(chat)).to_have_text(["Mine"])
    expect(where(chat, "Answer")).to_have_text("2 / 2")


@pytest.mark.parametrize("kind", ["Your message", "Answer"])
def test_an_edit_that_changes_nothing_makes_no_version(chat, kind):
    send(chat, "Alpha\nand more")
    wait_until_answered(chat, 1)
    before = chat.evaluate("chatUI.page.version")
    message_box(chat).fill("A draft")
    press(chat, kind, "Edit message")
    expect(message_box(chat)).to_have_value(re.compile("Alpha"))
    # A second press at once does not send the draft either.
    chat.evaluate("""() => {
      const box = document.querySelector('#message textarea');
      for (const _ of [1, 2]) {
        box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
      }
    }""")
    expect(chat.get_by_text("Editing ")).to_be_hidden()
    expect(message_box(chat)).to_have_value("A draft")
    chat.reload()
    expect(answers(chat)).to_have_count(1)
    chat.wait_for_function("(before) => chatUI.page.version === before", arg=before)


def test_what_is_typed_after_an_edited_question_was_sent_stays(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    message_box(chat).fill("A draft")
    press(chat, "Your message", "Edit message")
    message_box(chat).fill("Beta")
    # Typed between Send and the server's word that it has the message.
    chat.evaluate("""() => {
      const { end } = chatUI.editing;
      chatUI.editing.end = (isSent) => {
        chatUI.setBox(document.querySelector('#message textarea').value + 'typed since');
        end(isSent);
      };
    }""")
    message_box(chat).press("Enter")
    expect(answers(chat)).to_have_text(["You said: Beta"])
    expect(message_box(chat)).to_have_value("A draft\n\ntyped since")


def test_another_conversation_ends_the_editing(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    press(chat, "Your message", "Edit message")
    button(chat, "New chat").click()
    expect(chat.get_by_text("Editing ")).to_be_hidden()
    expect(message_box(chat)).to_have_value("")
    send(chat, "Beta")
    expect(answers(chat)).to_have_text(["You said: Beta"])


def test_branch_goes_on_in_a_conversation_of_its_own(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    send(chat, "Beta")
    wait_until_answered(chat, 2)
    first = conversation_id(chat)
    press(chat, "Answer", "Branch", 0)
    expect(answers(chat)).to_have_text(["You said: Alpha"])
    assert conversation_id(chat) != first
    send(chat, "Gamma")
    expect(answers(chat)).to_have_text(["You said: Alpha", "You said: Gamma"])
    chat.go_back()
    expect(answers(chat)).to_have_text(["You said: Alpha", "You said: Beta"])


def test_continue_goes_on_where_the_answer_was_cut(chat):
    send(chat, LONG)
    expect(answers(chat)).to_contain_text("w5")
    stop(chat)
    expect(button(chat, "Continue")).to_be_visible()
    before = answers(chat).last.inner_text()
    button(chat, "Continue").click()
    expect(button(chat, "Stop")).to_be_visible()
    expect(answers(chat).last).to_contain_text(before)
    chat.wait_for_function(
        "([before]) => [...document.querySelectorAll('[data-testid=bot]')].some("
        "(one) => one.innerText.trim().length > before.length + 5)",
        arg=[before],
    )
    button(chat, "Stop").click()
    expect(where(chat, "Answer")).to_have_text("2 / 2")
    press(chat, "Answer", "Previous version")
    expect(answers(chat).last).to_have_text(before)


def test_an_answer_that_ended_by_itself_is_not_continued(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    expect(button(chat, "Continue")).to_be_hidden()


def test_an_answer_starts_with_the_words_that_were_given(chat):
    chat.get_by_role("button", name="More").click()
    chat.get_by_role("textbox", name="Start the answer with").fill("Well, ")
    send(chat, "Alpha")
    expect(answers(chat)).to_contain_text("Well, You said")


def test_versions_by_keyboard(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    for count in ("2 / 2", "3 / 3"):
        button(chat, "Regenerate").click()
        expect(where(chat, "Answer")).to_have_text(count)
        expect(button(chat, "Stop")).to_be_hidden()
    button(chat, "Previous version").focus()
    chat.keyboard.press("Enter")
    expect(where(chat, "Answer")).to_have_text("2 / 3")
    expect(button(chat, "Previous version")).to_be_focused()
    chat.keyboard.press("ArrowLeft")
    expect(where(chat, "Answer")).to_have_text("1 / 3")
    expect(button(chat, "Next version")).to_be_focused()  # the other one is at its end
    chat.keyboard.press("ArrowRight")
    expect(where(chat, "Answer")).to_have_text("2 / 3")


def test_another_tab_follows_to_the_version_that_is_shown(chat, server):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    other = chat.context.new_page()
    open_chat(other, f"{server.url}/?c={conversation_id(chat)}")
    edit(chat, "Answer", "Another text")
    expect(answers(other)).to_have_text(["Another text"])
    press(chat, "Answer", "Previous version")
    expect(answers(other)).to_have_text(["You said: Alpha"])


def test_what_is_asked_for_is_asked_of_the_answer_that_one_sees(chat, server):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    other = chat.context.new_page()
    open_chat(other, f"{server.url}/?c={conversation_id(chat)}")
    expect(answers(other)).to_have_text(["You said: Alpha"])
    other.evaluate("chatUI.followNews = () => {}")  # the news has not reached this tab yet
    send(chat, "Beta")
    wait_until_answered(chat, 2)
    send(other, "Gamma")
    wait_until_answered(other, 2)
    expect(questions(other)).to_have_text(["Alpha", "Gamma"])
    expect(where(other, "Your message")).to_have_text("2 / 2")
    expect(questions(chat)).to_have_text(["Alpha", "Gamma"])
    chat.evaluate("chatUI.followNews = () => {}")
    press(other, "Your message", "Previous version")
    expect(answers(other)).to_have_text(["You said: Alpha", "You said: Beta"])
    button(chat, "Regenerate").click()
    expect(where(chat, "Answer")).to_have_text("2 / 2")
    expect(questions(chat)).to_have_text(["Alpha", "Gamma"])


def test_continue_goes_on_with_the_answer_that_one_sees(chat, server):
    send(chat, "count to 400 at 20")
    expect(answers(chat)).to_contain_text("w3")
    button(chat, "Stop").click()
    expect(button(chat, "Continue")).to_be_visible()
    other = chat.context.new_page()
    open_chat(other, f"{server.url}/?c={conversation_id(chat)}")
    expect(button(other, "Continue")).to_be_visible()
    chat.evaluate("chatUI.followNews = () => {}")
    edit(other, "Answer", "Mine")
    expect(where(other, "Answer")).to_have_text("2 / 2")
    button(chat, "Continue").click()
    expect(where(chat, "Answer")).to_have_text("3 / 3")
    expect(answers(chat).last).to_contain_text("w1 w2 w3 w")


def test_details_tell_how_an_answer_was_made(chat):
    chat.get_by_role("textbox", name="System prompt", exact=True).fill("Be a pirate.")
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    press(chat, "Answer", "Details")
    details = chat.get_by_role("dialog", name="Details")
    for text in ("Pocket Guide", "Be a pirate.", "Temperature", "Seed"):
        expect(details).to_contain_text(text)
    chat.keyboard.press("Escape")
    expect(details).to_be_hidden()


def test_details_tell_the_time_in_the_reader_s_zone_and_language(new_context, server):
    page = new_context(locale="de-DE", timezone_id="Asia/Tokyo").new_page()
    page.goto(server.url)
    page.locator("#message textarea").fill("Alpha")
    page.locator("#message textarea").press("Enter")
    made = page.locator("#chat .bot-row + .message-buttons [data-act=details]:visible")
    expect(made).to_have_count(1)
    # An hour that Tokyo and UTC have another date at.
    page.evaluate("""() => { chatUI.islands.status.server = {
      message_details: async () => ({ details: [], written: "2026-01-02T20:04:00+00:00" }),
    }; }""")
    made.click()
    time = page.locator("#details time")
    expect(time).to_have_text("03.01.2026, 05:04")
    expect(time).to_have_attribute("datetime", "2026-01-02T20:04:00+00:00")


def test_copy_as_python_gives_a_script(new_context, server):
    context: BrowserContext = new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    open_chat(page, server.url)
    send(page, "Alpha \u2060 omega")
    wait_until_answered(page, 1)
    press(page, "Answer", "Copy as Python")
    expect(page.get_by_role("status").filter(has_text=re.compile("^Copied"))).to_have_count(1)
    script = page.evaluate("navigator.clipboard.readText()")
    compile(script, "script", "exec")
    assert "pipeline" in script
    assert "Alpha" in script


def test_versions_on_a_phone(new_context, server):
    page = new_context(viewport=PHONE, has_touch=True, is_mobile=True).new_page()
    open_chat(page, server.url)
    send(page, "Alpha")
    wait_until_answered(page, 1)
    edit(page, "Your message", "Beta")
    expect(where(page, "Your message")).to_have_text("2 / 2")
    bar(page, "Your message").get_by_role("button", name="Previous version").tap()
    expect(answers(page)).to_have_text(["You said: Alpha"])
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_finished_answers_can_be_copied_while_another_one_is_written(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    button(chat, "Regenerate").click()
    expect(where(chat, "Answer")).to_have_text("2 / 2")
    send(chat, "count to 400 at 20")
    expect(answers(chat).last).to_contain_text("w5")
    finished = bar(chat, "Answer", 0)
    for name in ("Edit message", "Branch", "Previous version", "Next version"):
        expect(finished.get_by_role("button", name=name, exact=True)).to_be_disabled()
    for name in ("Copy as Python", "Details"):
        expect(finished.get_by_role("button", name=name, exact=True)).to_be_enabled()
    press(chat, "Answer", "Details", 0)
    expect(chat.get_by_role("dialog", name="Details")).to_contain_text("Pocket Guide")
    chat.keyboard.press("Escape")
    # What grows may not be another version a moment later.
    expect(chat.locator("#chat [data-bar=growing] [data-act=details]")).to_be_hidden()
    button(chat, "Stop").click()
    for name in ("Edit message", "Branch", "Previous version"):
        expect(finished.get_by_role("button", name=name, exact=True)).to_be_enabled()
    expect(finished.get_by_role("button", name="Next version")).to_be_disabled()
    expect(bar(chat, "Answer").get_by_role("button", name="Details")).to_be_visible()
