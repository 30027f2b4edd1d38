"""The library of system prompts in a browser."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.e2e.chat import button


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="System prompt", exact=True)


def library(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Saved prompts")


def test_one_of_the_library_comes_into_the_box(chat):
    library(chat).select_option("1986 robot")
    expect(box(chat)).to_have_value(re.compile("1986"))
    expect(button(chat, "Save")).to_be_hidden()
    box(chat).fill("Something else")
    expect(library(chat)).to_have_value("")
    expect(button(chat, "Save")).to_be_visible()


def test_an_own_prompt_is_saved_in_the_browser_and_removed_again(chat):
    box(chat).fill("Answer as a  pirate\nwould.")
    button(chat, "Save").click()
    expect(library(chat).locator("option:checked")).to_have_text("Answer as a pirate would.")
    chat.reload()
    expect(box(chat)).to_have_value("")
    library(chat).select_option("Answer as a pirate would.")
    expect(box(chat)).to_have_value("Answer as a  pirate\nwould.")
    button(chat, "Remove").click()
    expect(button(chat, "Save")).to_be_visible()
    expect(box(chat)).to_have_value("Answer as a  pirate\nwould.")
    chat.reload()
    expect(library(chat).get_by_role("option", name="Answer as a pirate would.")).to_have_count(0)


def test_words_of_one_s_own_that_a_saved_prompt_replaced_come_back(chat):
    undo = button(chat, "Undo")
    library(chat).select_option("1986 robot")
    expect(box(chat)).to_have_value(re.compile("1986"))
    expect(undo).to_be_hidden()  # nothing of one's own was there
    box(chat).fill("Long thought over")
    library(chat).select_option("Terse")
    library(chat).select_option("1986 robot")
    expect(box(chat)).to_have_value(re.compile("1986"))
    undo.click()
    expect(box(chat)).to_have_value("Long thought over")
    expect(undo).to_be_hidden()
    expect(box(chat)).to_be_focused()
    library(chat).select_option("Terse")
    box(chat).fill("Typed since")
    undo.click()
    expect(box(chat)).to_have_value("Long thought over")
    undo.click()
    expect(box(chat)).to_have_value("Typed since")
    button(chat, "New chat").click()
    expect(box(chat)).to_have_value("")
    expect(undo).to_be_hidden()


def test_what_the_browser_kept_may_be_damaged(chat):
    chat.evaluate('localStorage[\'chat_ui.prompts.1\'] = \'[[1, 2], ["a"], ["x", "y"], null]\'')
    chat.reload()
    expect(library(chat).get_by_role("option", name="x", exact=True)).to_have_count(1)
    expect(library(chat).locator("option")).to_have_count(5)  # none, three to begin with, x
