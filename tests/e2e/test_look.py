"""Light and dark, and what a screen reader is told, in a browser."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.e2e.chat import LONG, answers, button, open_chat, send, wait_until_answered

DARK = re.compile(r"\bdark\b")


def body(page: Page) -> Locator:
    return page.locator("body")


def choose(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).check()


def test_dark_is_chosen_and_stays_after_a_reload(chat):
    expect(body(chat)).not_to_have_class(DARK)
    choose(chat, "Dark")
    expect(body(chat)).to_have_class(DARK)
    chat.reload()
    expect(chat.get_by_role("radio", name="Dark", exact=True)).to_be_checked()
    expect(body(chat)).to_have_class(DARK)
    choose(chat, "System")
    expect(body(chat)).not_to_have_class(DARK)


def test_light_stays_where_the_system_is_dark(new_context, server):
    page = new_context(color_scheme="dark").new_page()
    open_chat(page, server.url)
    expect(body(page)).to_have_class(DARK)
    choose(page, "Light")
    expect(body(page)).not_to_have_class(DARK)
    page.reload()
    expect(page.get_by_role("radio", name="Light", exact=True)).to_be_checked()
    expect(body(page)).not_to_have_class(DARK)
    choose(page, "System")
    expect(body(page)).to_have_class(DARK)
    page.emulate_media(color_scheme="light")
    expect(body(page)).not_to_have_class(DARK)


def test_an_answer_is_read_out_by_the_sentence_and_to_its_end(chat):
    send(chat, "First one. Second two, which is longer.\n\n```\ncode\n```\n\nLast without a stop")
    wait_until_answered(chat, 1)
    spoken = chat.get_by_role("log", name="Answer, read out")
    expect(spoken).to_contain_text("Last without a stop")
    said = [text.strip() for text in spoken.locator("p").all_inner_texts()]
    assert said == [
        "You said: First one.",
        "Second two, which is longer.",
        "Code.",
        "Last without a stop",
    ]


def test_what_grows_is_read_out_while_it_grows_and_never_in_parts(chat):
    send(chat, LONG)
    expect(answers(chat).last).to_contain_text("w20")
    spoken = chat.get_by_role("log", name="Answer, read out")
    expect(spoken.locator("p")).to_have_count(0)  # its one sentence has not ended
    assert chat.locator("#chat [role=log]").get_attribute("aria-live") == "off"
    button(chat, "Stop").click()
    expect(spoken.locator("p")).to_have_text(
        [re.compile(r"^w1 w2 .* w\d+$"), "Stopped.", "Press Continue for the rest."]
    )


def test_a_stopped_answer_says_so_once_and_is_read_out_to_its_end(chat):
    send(chat, "count to 100 at 20")
    expect(answers(chat).last).to_contain_text("w5")
    button(chat, "Stop").click()
    note = "Stopped. Press Continue for the rest."
    expect(chat.locator("#chat").get_by_text(note)).to_be_visible()
    expect(chat.locator("#status")).to_contain_text("tokens")
    expect(chat.locator("#status")).not_to_contain_text("Stopped")
    spoken = chat.get_by_role("log", name="Answer, read out")
    expect(spoken).to_contain_text("w5")
    expect(spoken).to_contain_text("Press Continue for the rest.")


def test_a_conversation_that_is_opened_is_not_read_out(chat):
    send(chat, "Alpha.")
    wait_until_answered(chat, 1)
    chat.reload()
    expect(answers(chat)).to_have_count(1)
    expect(chat.get_by_role("log", name="Answer, read out").locator("p")).to_have_count(0)


def test_three_levels_of_detail(chat):
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    facts = chat.locator("#chat .facts span")
    seed = chat.get_by_role("textbox", name="Seed")
    expect(chat.get_by_role("radio", name="Simple")).to_be_checked()
    expect(facts.first).to_be_hidden()
    expect(seed).to_be_hidden()
    choose(chat, "More")
    expect(facts.first).to_contain_text("Pocket Guide")
    expect(facts.last).to_be_hidden()
    expect(seed).to_be_visible()
    choose(chat, "Everything")
    expect(facts.last).to_contain_text("Seed")
    chat.reload()
    expect(facts.last).to_contain_text("Seed")
    expect(seed).to_be_visible()
    chat.get_by_role("button", name="More", exact=False).first.click()  # what one closes stays so
    expect(seed).to_be_hidden()
    send(chat, "Beta")
    wait_until_answered(chat, 2)
    expect(seed).to_be_hidden()
    choose(chat, "Simple")
    expect(facts.first).to_be_hidden()


def test_the_facts_of_every_answer_begin_where_its_text_does_and_nothing_moves_when_they_come(chat):
    choose(chat, "More")
    send(chat, "Alpha")
    wait_until_answered(chat, 1)
    button(chat, "Regenerate").click()
    expect(chat.locator(".where")).to_have_text("2 / 2")
    send(chat, "count to 60 at 20")
    expect(chat.locator("#chat [data-bar=growing]")).to_be_visible()
    growing = chat.locator("#chat [data-bar]").last.bounding_box()
    facts = chat.locator("#chat .facts")
    wait_until_answered(chat, 2)
    expect(facts.last).to_contain_text("60 tokens")
    ended = chat.locator("#chat [data-bar]").last.bounding_box()
    assert growing is not None
    assert ended is not None
    assert growing["height"] == ended["height"]
    text = chat.locator("#chat .bot-row .prose").first.evaluate(
        "one => one.getBoundingClientRect().x"
    )
    lefts = facts.evaluate_all("all => all.map((one) => one.getBoundingClientRect().x)")
    assert lefts == [text, text]
