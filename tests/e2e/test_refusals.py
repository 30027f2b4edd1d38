"""What the server won't take is said on the page, and nothing that was typed is lost."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.chat import (
    answers,
    button,
    message_box,
    questions,
    send,
    wait_until_answered,
)


def test_a_message_that_is_too_long_is_not_sent_and_stays_in_the_box(chat):
    asked: list[str] = []
    text = "\U0001f40b" * 32_001
    message_box(chat).fill(text)
    chat.on("request", lambda one: asked.append(one.post_data or ""))
    message_box(chat).press("Enter")
    expect(chat.get_by_role("alert")).to_contain_text(
        "The message has 32,001 characters; 32,000 is the limit. Shorten it, or send it in parts."
    )
    expect(message_box(chat)).to_have_value(text)
    assert not [body for body in asked if '"fn_index"' in body and text in body]
    message_box(chat).fill("Hello")
    message_box(chat).press("Enter")
    assert wait_until_answered(chat, 1) == "You said: Hello"
    expect(chat.get_by_role("alert")).to_be_empty()


def test_what_is_too_long_with_its_system_prompt_is_not_sent(chat):
    chat.get_by_role("textbox", name="System prompt").fill("äöü" * 50_000)
    send(chat, "Hello")
    expect(chat.get_by_role("alert")).to_contain_text("This is longer than the server takes.")
    expect(message_box(chat)).to_have_value("Hello")
    expect(questions(chat)).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (403, "The server doesn't know this page."),
        (413, "This is longer than the server takes."),
        (421, "The server doesn't know this page."),
        (429, "Too much was asked for at once."),
        (503, "The server is full."),
        (400, "The server didn't take this."),
    ],
)
def test_a_send_that_the_server_refuses_comes_back_with_a_sentence(chat, status, sentence):
    send(chat, "First")
    wait_until_answered(chat, 1)

    def refuse(route: Route) -> None:
        is_send = '"Second"' in (route.request.post_data or "")
        route.fulfill(status=status, body="No.") if is_send else route.continue_()

    joins = re.compile("queue/join")
    chat.route(joins, refuse)
    send(chat, "Second")
    expect(chat.get_by_role("alert")).to_contain_text(sentence)
    expect(message_box(chat)).to_have_value("Second")
    expect(button(chat, "Send")).to_be_visible()
    chat.unroute(joins)
    message_box(chat).press("Enter")
    wait_until_answered(chat, 2)
    expect(answers(chat).last).to_have_text("You said: Second")
    expect(questions(chat)).to_have_text(["First", "Second"])


def test_an_answer_that_can_t_be_asked_for_again_frees_the_page(chat: Page):
    send(chat, "First")
    wait_until_answered(chat, 1)
    joins = re.compile("queue/join")
    chat.route(joins, lambda route: route.fulfill(status=503, body="No."))
    button(chat, "Regenerate").click()
    expect(chat.get_by_role("alert")).to_contain_text("The server is full.")
    expect(button(chat, "Send")).to_be_visible()
    chat.unroute(joins)
    button(chat, "Regenerate").click()
    expect(chat.locator(".where")).to_have_text("2 / 2")
