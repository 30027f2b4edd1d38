"""The page's parts by the names that tests and screen readers use, and the server's one model."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from chat_ui.models.quantization import MAIN_PRECISIONS, QUANTIZATIONS
from tests.e2e.chat import (
    LONG,
    answers,
    button,
    conversation_id,
    last_word,
    let_go,
    message_box,
    open_chat,
    send,
    wait_until_answered,
)
from tests.e2e.conftest import Serve, Server

pytestmark = pytest.mark.browser


def precision(page: Page, name: str) -> Locator:
    return page.get_by_role("radiogroup", name="Precision").get_by_role(
        "radio", name=name, exact=True
    )


def show_panels(page: Page) -> None:
    """Open what is folded away; on a wide screen nothing needs to be."""
    settings = page.get_by_role("button", name="Settings", exact=True)
    if not page.get_by_role("slider", name="Temperature").is_visible() and settings.count():
        settings.click()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (360, 640)])
def test_every_part_has_its_name_and_nothing_scrolls_sideways(
    server: Server, new_context: Callable[..., BrowserContext], width: int, height: int
) -> None:
    page = new_context(viewport={"width": width, "height": height}).new_page()
    open_chat(page, server.url)
    send(page, "hello " + "wide" * 100)
    wait_until_answered(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(button(page, "Send")).to_be_visible()
    expect(button(page, "New chat")).to_be_attached()
    expect(button(page, "Regenerate")).to_be_attached()
    show_panels(page)
    expect(page.get_by_role("textbox", name="System prompt", exact=True)).to_be_visible()
    expect(page.get_by_role("combobox", name="Model", exact=True)).to_be_attached()
    for method in MAIN_PRECISIONS:
        expect(precision(page, QUANTIZATIONS[method].label)).to_be_attached()
    for name in ("Temperature", "Top-p", "Max new tokens"):
        expect(page.get_by_role("slider", name=name, exact=True)).to_be_attached()


def test_the_system_prompt_and_settings_reach_the_answer(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    page.get_by_role("textbox", name="System prompt", exact=True).fill("Be a pirate.")
    slider = page.get_by_role("slider", name="Max new tokens", exact=True)
    slider.focus()
    slider.press("Home")
    send(page, "count to 40 at 200")
    wait_until_answered(page, 1)
    expect(page.get_by_text(re.compile(r"limit of 16 new tokens")).first).to_be_visible()
    expect(answers(page).last).not_to_contain_text("w17")
    page.reload()
    expect(page.get_by_role("textbox", name="System prompt", exact=True)).to_have_value(
        "Be a pirate."
    )


def test_a_switch_shows_on_every_open_page(
    serve: Serve, new_context: Callable[..., BrowserContext]
) -> None:
    server = serve()
    one, other = new_context().new_page(), new_context().new_page()
    open_chat(one, server.url)
    open_chat(other, server.url)
    server.wait_for(phase="ready")
    precision(one, "4-bit").check()
    server.wait_for(precision="4bit", phase="ready")
    expect(precision(one, "4-bit")).to_be_checked()
    expect(precision(other, "4-bit")).to_be_checked()


def test_going_back_to_a_model_in_memory_loads_nothing_and_a_running_answer_goes_on(
    serve: Serve, page: Page
) -> None:
    server = serve()
    open_chat(page, server.url)
    server.wait_for(phase="ready")
    send(page, LONG)
    expect(answers(page).last).to_contain_text("w3")
    precision(page, "4-bit").check()
    server.wait_for(precision="4bit", phase="ready")
    expect(page.get_by_text("Also in memory: Pocket Guide").first).to_be_visible()
    expect(answers(page).last).to_contain_text(f"w{last_word(page) + 5}")
    precision(page, "Full").check()
    server.wait_for(precision="full", phase="ready")
    expect(answers(page).last).to_contain_text(f"w{last_word(page) + 5}")
    assert [line for line in server.lines if "loads" in line] == ["loads full", "loads 4bit"]
    button(page, "Stop").click()
    expect(button(page, "Stop")).to_be_hidden()


def test_what_the_loaded_model_means_for_a_setting_stands_below_it(
    server: Server, page: Page
) -> None:
    open_chat(page, server.url)
    page.get_by_role("button", name="More").click()
    expect(page.get_by_text("A seed repeats an answer exactly.", exact=True)).to_be_visible()
    expect(page.get_by_text("The drafts come from prompt lookup.", exact=True)).to_be_visible()
    seed = page.get_by_role("textbox", name="Seed", exact=True)
    expect(seed).to_have_accessible_description("A seed repeats an answer exactly.")
    assisted = page.get_by_role("checkbox", name="Assisted generation")
    expect(assisted).to_have_accessible_description("The drafts come from prompt lookup.")


def test_a_model_that_is_none_is_a_sentence(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    server.wait_for(phase="ready")
    send(page, "hello")
    wait_until_answered(page, 1)
    model = page.get_by_role("combobox", name="Model", exact=True)
    model.fill("/nowhere/at/all")
    model.press("Enter")
    expect(page.get_by_text("There is no model folder '/nowhere/at/all'.").first).to_be_visible()
    expect(model).to_have_value(re.compile("Pocket Guide"))
    send(page, "still there?")
    assert "You said: still there?" in wait_until_answered(page, 2)


def test_an_unknown_conversation_is_a_new_chat(server: Server, page: Page) -> None:
    open_chat(page, f"{server.url}/?c=nothing")
    send(page, "hello")
    wait_until_answered(page, 1)
    assert conversation_id(page) != "nothing"


def test_what_is_typed_while_an_answer_grows_stays(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    send(page, "count to 60 at 20")
    expect(answers(page).last).to_contain_text("w3")
    message_box(page).press_sequentially("my next question", delay=50)
    wait_until_answered(page, 1)
    expect(message_box(page)).to_have_value("my next question")


def test_what_is_typed_before_the_page_has_loaded_stays(server: Server, page: Page) -> None:
    held: list[Route] = []
    # The page's first event, which asks what the address shows.
    page.route("**/queue/join*", lambda route: held.append(route), times=1)
    open_chat(page, server.url)
    page.get_by_role("textbox", name="System prompt", exact=True).fill("Be a pirate.")
    message_box(page).fill("my first question")
    let_go(page, held)
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    expect(message_box(page)).to_have_value("my first question")
    message_box(page).press("Enter")
    wait_until_answered(page, 1)
    expect(message_box(page)).to_have_value("")
    page.reload()
    expect(page.get_by_role("textbox", name="System prompt", exact=True)).to_have_value(
        "Be a pirate."
    )


def test_the_page_asks_nobody_else_and_logs_no_error(server: Server, page: Page) -> None:
    foreign: list[str] = []
    errors: list[str] = []
    page.on("request", lambda r: foreign.append(r.url) if not r.url.startswith(
        (server.url, "data:", "blob:")) else None)  # fmt: skip
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    open_chat(page, server.url)
    send(page, "![x](https://example.invalid/x.png) <img src=https://example.invalid/y.png>")
    wait_until_answered(page, 1)
    assert foreign == []
    assert errors == []
