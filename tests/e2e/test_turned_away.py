"""An open page that the server takes nothing from says why, and goes on where that can be."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from chat_ui.service.stop_file import FILE_NAME
from tests.e2e.chat import (
    answers,
    button,
    message_box,
    open_chat,
    questions,
    send,
    wait_until_answered,
)
from tests.e2e.conftest import Serve, Server

pytestmark = pytest.mark.browser


def test_who_was_forgotten_in_another_tab_is_told_to_reload(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    send(page, "Hello")
    wait_until_answered(page, 1)
    other = page.context.new_page()
    open_chat(other, page.url)
    expect(questions(other)).to_have_count(1)
    button(page, "Delete everything").click()
    dialog = page.get_by_role("dialog", name="Delete everything?")
    dialog.get_by_role("button", name="Delete everything").click()
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    told = other.locator("#alert")
    expect(told).to_contain_text("The server doesn't know this page any more. Reload it.")
    expect(other.get_by_text("The server doesn't answer")).to_have_count(0)
    send(other, "Is it still there?")
    expect(told).to_contain_text("doesn't know this page any more")
    told.get_by_role("button", name="Reload").click()
    expect(questions(other)).to_have_count(0)
    send(other, "Hello again")
    wait_until_answered(other, 1)


def test_a_page_that_is_open_says_that_the_owner_has_closed_it_and_goes_on_afterwards(
    serve: Serve, new_context: Callable[..., BrowserContext]
) -> None:
    server = serve("--door", "share", "--public")
    page = new_context().new_page()
    open_chat(page, server.url)
    send(page, "Hello")
    wait_until_answered(page, 1)
    (server.data_dir / FILE_NAME).touch()
    told = page.locator("#alert")
    expect(told).to_contain_text("The owner has closed this chat for now.")
    expect(page.get_by_text("The server doesn't answer")).to_have_count(0)
    send(page, "Not now")
    expect(told).to_contain_text("The owner has closed this chat for now.")
    expect(message_box(page)).to_have_value("Not now")
    (server.data_dir / FILE_NAME).unlink()
    expect(told).to_be_empty()
    message_box(page).press("Enter")
    wait_until_answered(page, 2)
    expect(answers(page).last).to_contain_text("You said: Not now")


def test_a_page_goes_on_after_the_relay_had_lost_the_server_for_a_while(
    server: Server, page: Page
) -> None:
    open_chat(page, server.url)
    calls = re.compile("component_server|healthz")
    page.route(calls, lambda route: route.fulfill(status=404, body="No interface is running"))
    state = page.locator("#model-line .state")
    expect(state).to_have_text("The server doesn't answer. Trying again…")
    page.unroute(calls)
    expect(state).not_to_contain_text("doesn't answer")
    send(page, "Hello")
    wait_until_answered(page, 1)


def test_a_page_that_gets_no_token_at_once_asks_again_after_the_time_that_it_was_told(
    server: Server, page: Page
) -> None:
    asked = []

    def full_at_first(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.fulfill(status=503, headers={"retry-after": "3"}, body="Many people\n")
        else:
            route.continue_()

    page.route("**/session", full_at_first)
    open_chat(page, server.url)
    expect(page.locator("#alert")).to_contain_text("The server is full.")
    expect(page.locator("#alert")).to_be_empty()
    send(page, "Hello")
    wait_until_answered(page, 1)
    assert len(asked) == 2
