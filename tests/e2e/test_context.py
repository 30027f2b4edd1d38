"""The meter "Context", the cut in the transcript, and thoughts, in a browser."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.e2e.chat import answers, button, message_box, send, wait_until_answered

WINDOW = 20_000  # of tests/e2e/serve.py, where a byte is a token


def meter(page: Page) -> Locator:
    return page.get_by_role("meter", name="Context")


def used(page: Page) -> int:
    return int(meter(page).get_attribute("aria-valuenow") or "-1")


def test_the_meter_counts_the_system_prompt_the_history_and_the_draft(chat):
    expect(meter(chat)).to_have_attribute("aria-valuemax", str(WINDOW))
    before = used(chat)
    message_box(chat).fill("x" * 1000)
    expect(meter(chat)).to_have_attribute("aria-valuenow", str(before + 1000))
    expect(meter(chat)).to_have_attribute("aria-valuetext", re.compile("draft 1,000"))
    chat.get_by_role("textbox", name="System prompt", exact=True).fill("Be brief.")
    expect(meter(chat)).to_have_attribute(
        "aria-valuenow", str(before + 1000 + len("system:Be brief.") + 1)
    )
    message_box(chat).fill("Hello")
    message_box(chat).press("Enter")
    wait_until_answered(chat, 1)
    expect(meter(chat)).to_have_attribute("aria-valuetext", re.compile("draft 0"))
    expect(meter(chat)).to_have_attribute("aria-valuetext", re.compile("history [1-9]"))


def test_the_oldest_that_do_not_fit_are_cut_off_by_a_line(chat):
    for number in range(3):
        send(chat, f"{number} " + "words " * 600)
        wait_until_answered(chat, number + 1)
    cut = chat.locator("[data-cut]")
    expect(cut).to_have_count(1)
    expect(cut).to_contain_text(re.compile("[12] words"))
    expect(chat.get_by_text(re.compile("oldest [24] messages don't fit"))).to_be_visible()
    button(chat, "New chat").click()
    expect(cut).to_have_count(0)
    expect(chat.get_by_text("don't fit")).to_be_hidden()


def test_a_draft_that_is_too_long_is_told_before_it_is_sent(chat):
    message_box(chat).fill("x" * (WINDOW - 100))
    expect(chat.get_by_text("too long to be sent")).to_be_visible()


def test_a_message_being_edited_is_not_counted_on_top_of_the_history(chat):
    send(chat, "x" * 500)
    wait_until_answered(chat, 1)
    message = chat.get_by_role("group", name="Your message")
    message.get_by_role("button", name="Edit message").click()
    expect(message_box(chat)).to_have_value("x" * 500)
    tells = meter(chat)
    expect(tells).to_have_attribute("aria-valuetext", re.compile("history 0, draft 500,"))
    answer = chat.get_by_role("group", name="Answer")
    answer.get_by_role("button", name="Edit message").click()
    expect(message_box(chat)).to_have_value(f"You said: {'x' * 500}")
    message_box(chat).fill("Mine")
    history = len(f"user:{'x' * 500}|assistant:Mine|")
    expect(tells).to_have_attribute("aria-valuetext", re.compile(f"history {history}, draft 0,"))
    button(chat, "Cancel").click()
    expect(tells).to_have_attribute("aria-valuetext", re.compile("history 1,[0-9]+, draft 0,"))


def test_the_beginning_of_the_answer_is_counted_though_its_box_is_folded_away(chat):
    chat.get_by_role("button", name="More").click()
    chat.get_by_role("textbox", name="Start the answer with").fill("Well, ")
    expect(meter(chat)).to_have_attribute("aria-valuetext", re.compile("draft [1-9]"))
    chat.get_by_role("button", name="More").click()
    expect(chat.get_by_role("textbox", name="Start the answer with")).to_be_hidden()
    message_box(chat).fill("x" * 100)
    expect(meter(chat)).to_have_attribute("aria-valuetext", re.compile("draft 1(0[1-9]|[1-9].)"))


def test_a_new_chat_empties_the_beginning_of_the_answer(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    chat.get_by_role("button", name="More").click()
    begins_with = chat.get_by_role("textbox", name="Start the answer with")
    for go, shown in (
        (button(chat, "New chat"), 0),
        (chat.get_by_role("link", name="Alpha"), 1),
        (button(chat, "New chat"), 0),
    ):
        begins_with.fill("Well, ")
        go.click()
        expect(answers(chat)).to_have_count(shown)
        expect(begins_with).to_have_value("")
    send(chat, "Beta")
    wait_until_answered(chat, 1)
    expect(answers(chat)).to_have_text(["You said: Beta"])


def test_a_draft_over_the_cap_is_told_as_more_than_what_was_counted(chat):
    message_box(chat).fill("x" * 70_000)
    expect(
        chat.get_by_text(re.compile("^more than [0-9,]+ of 20,000 tokens · too"))
    ).to_be_visible()
    expect(meter(chat)).to_have_attribute("aria-valuetext", re.compile("draft more than [0-9,]+,"))


def test_a_thought_is_folded_once_it_is_thought_and_names_its_time(chat):
    send(chat, "think of it")
    title = chat.locator("#chat .thought-group .title")
    wait_until_answered(chat, 1)
    expect(answers(chat)).to_have_text(["You said: think of it"])
    expect(title).to_have_text(re.compile("Thought for "))
    expect(title).to_have_attribute("aria-expanded", "false")
    expect(chat.get_by_text("Let me see.")).to_be_hidden()
    title.focus()
    chat.keyboard.press("Enter")
    expect(chat.get_by_text("Let me see.")).to_be_visible()
    # The bar stands below the answer, not below the thought.
    bar = chat.get_by_role("group", name="Answer")
    expect(bar).to_have_count(1)
    edit = bar.get_by_role("button", name="Edit message").bounding_box()
    assert edit["y"] > answers(chat).bounding_box()["y"]  # type: ignore[index]


def test_a_thought_is_open_while_it_grows_and_stays_where_it_is_stopped(chat):
    send(chat, "think long")
    title = chat.locator("#chat .thought-group .title")
    expect(title).to_have_text("Thinking…")
    expect(title).to_have_attribute("aria-expanded", "true")
    expect(chat.get_by_role("status", name="Answer")).to_have_text("Thinking…")
    expect(chat.locator("#chat .thought-group")).to_contain_text("w2")
    button(chat, "Stop").click()
    expect(chat.get_by_text("Stopped.").first).to_be_visible()
    expect(chat.locator("#chat .thought-group .title")).to_have_count(1)


def test_thinking_is_switched_where_the_model_has_a_switch(chat):
    chat.get_by_role("checkbox", name="Think before answering").uncheck()
    send(chat, "Hello")
    wait_until_answered(chat, 1)
    button(chat, "Details").click()
    details = chat.get_by_role("dialog", name="Details")
    expect(details).to_contain_text("ThinkingOff")
