"""A conversation in a real browser: it grows, stops, survives, and is its owner's alone."""

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from chat_ui.models.quantization import MAIN_PRECISIONS
from tests.e2e.chat import (
    ANSWER,
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
    stop,
    wait_until_answered,
)
from tests.e2e.conftest import Serve, Server

pytestmark = pytest.mark.browser

# Records every text that the newest answer had on screen.
WATCH = """selector => {
  window.grown = [];
  const note = () => {
    const all = document.querySelectorAll(selector);
    const text = all.length ? all[all.length - 1].innerText.trim() : '';
    if (text && text !== window.grown[window.grown.length - 1]) window.grown.push(text);
  };
  new MutationObserver(note).observe(document.body,
    {subtree: true, childList: true, characterData: true});
}"""


def grown(page: Page) -> list[str]:
    return page.evaluate("window.grown.splice(0)")


@pytest.mark.torch
@pytest.mark.parametrize("precision", MAIN_PRECISIONS)
def test_the_built_in_model_answers_three_questions_and_the_text_grows(
    serve: Serve, page: Page, precision: str
) -> None:
    server = serve("--precision", precision, real=True)
    open_chat(page, server.url)
    server.wait_until_loaded(precision=precision)
    page.evaluate(WATCH, ANSWER)
    steps = 0
    questions_asked = ["Hello!", "What is a system message?", "What happens when I press Send?"]
    for number, question in enumerate(questions_asked, start=1):
        send(page, question)
        answer = wait_until_answered(page, number)
        assert len(answer.split()) >= 3, answer
        steps = max(steps, len({text for text in grown(page) if text}))
    # At 400 tokens/s a short answer is there in two or three updates; the scripted ones below grow.
    assert steps >= 1
    expect(questions(page)).to_have_text(questions_asked)
    expect(page.get_by_role("status").filter(has_text="tokens/s")).to_be_visible()
    assert server.health()["dtype"] in ("float32", "bfloat16")


@pytest.mark.torch
def test_a_later_turn_says_how_much_of_its_prompt_it_need_not_read(
    serve: Serve, page: Page
) -> None:
    server = serve(real=True)
    open_chat(page, server.url)
    server.wait_until_loaded()
    for number, question in enumerate(("Hello!", "What is a system message?"), start=1):
        send(page, question)
        wait_until_answered(page, number)
    status = page.get_by_role("status").filter(has_text=re.compile(r"reused \d+ of \d+ prompt"))
    expect(status).to_be_visible()


def stored(server: Server, conversation: str) -> list[str]:
    """The answers of a conversation, as they are in the database: asked by another process."""
    [file] = server.data_dir.glob("*.db")
    query = "select content from messages where role='assistant' and conversation_id=?"
    with closing(sqlite3.connect(file)) as database:
        return [content for (content,) in database.execute(query, [conversation])]


def wait_until_stored(server: Server, conversation: str, text: str) -> None:
    nothing = threading.Event()
    for _ in range(600):
        if any(text in answer for answer in stored(server, conversation)):
            return
        nothing.wait(0.1)
    raise AssertionError(f"{text} was not stored")


def test_stop_ends_one_answer_and_keeps_its_text(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    send(page, LONG)
    expect(answers(page).last).to_contain_text("w5")
    at = stop(page)
    assert 5 <= at < 500
    send(page, "and now?")
    assert "You said: and now?" in wait_until_answered(page, 2)
    page.reload()
    expect(answers(page).first).to_contain_text(f"w{at}")
    expect(answers(page).first).not_to_contain_text(f"w{at + 1}")


def test_escape_stops_and_shift_enter_breaks_the_line(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    box = message_box(page)
    box.fill(LONG)
    box.press("Shift+Enter")
    box.press_sequentially("second line")
    expect(box).to_have_value(f"{LONG}\nsecond line")
    box.press("Enter")
    expect(box).to_have_value("")
    expect(answers(page).last).to_contain_text("w3")
    page.keyboard.press("Escape")
    expect(button(page, "Stop")).to_be_hidden()
    assert last_word(page) < 500


def test_a_reload_finds_the_answer_still_growing(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    send(page, LONG)
    expect(answers(page).last).to_contain_text("w5")
    before = last_word(page)
    page.reload()
    expect(answers(page).last).to_contain_text(f"w{before + 1}")
    expect(button(page, "Stop")).to_be_visible()
    seen = last_word(page)
    expect(answers(page).last).to_contain_text(f"w{seen + 10}")
    button(page, "Stop").click()
    expect(button(page, "Stop")).to_be_hidden()


def test_a_second_tab_follows_the_same_answer(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    context = new_context()
    first = context.new_page()
    open_chat(first, server.url)
    send(first, LONG)
    conversation_id(first)
    second = context.new_page()
    second.goto(first.url)
    expect(answers(second).last).to_contain_text("w10")
    stop(second)
    expect(button(first, "Stop")).to_be_hidden()
    expect(answers(first)).to_have_text([answers(second).last.inner_text()])


def test_after_kill_and_restart_everything_is_there(serve: Serve, page: Page) -> None:
    server = serve()
    open_chat(page, server.url)
    send(page, "first message")
    wait_until_answered(page, 1)
    first = conversation_id(page)
    new_chat(page)
    send(page, LONG)
    expect(answers(page).last).to_contain_text("w1")
    second = conversation_id(page)
    assert first != second
    wait_until_stored(server, second, "w15")  # it is stored every second
    # An old page that sees another server loads itself anew, just when this one is left.
    page.goto("about:blank")
    server.kill()
    again = serve(again=server)
    page.goto(f"{again.url}/?c={second}")
    expect(questions(page)).to_have_text([LONG])
    expect(answers(page).last).to_contain_text("w15")
    expect(button(page, "Stop")).to_be_hidden()
    page.goto(f"{again.url}/?c={first}")
    expect(answers(page).last).to_contain_text("You said: first message")
    send(page, "and it goes on")
    assert "You said: and it goes on" in wait_until_answered(page, 2)


def test_an_open_page_comes_back_when_the_server_does(serve: Serve, page: Page) -> None:
    server = serve()
    open_chat(page, server.url)
    send(page, "first message")
    wait_until_answered(page, 1)
    page.evaluate("window.isTheOldPage = true")
    server.kill()
    send(page, "typed while it was away")
    serve(again=server)
    page.wait_for_function("!window.isTheOldPage")
    expect(answers(page).last).to_contain_text("You said: first message")
    expect(message_box(page)).to_have_value("typed while it was away")
    message_box(page).press("Enter")
    assert "typed while it was away" in wait_until_answered(page, 2)


def test_two_browsers_stream_apart_and_stop_apart(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    anna, ben = new_context().new_page(), new_context().new_page()
    open_chat(anna, server.url)
    open_chat(ben, server.url)
    send(anna, f"Anna: {LONG}")
    send(ben, f"Ben: {LONG}")
    expect(answers(anna).last).to_contain_text("w5")
    expect(answers(ben).last).to_contain_text("w5")
    button(anna, "Stop").click()
    expect(button(anna, "Stop")).to_be_hidden()
    at = last_word(ben)
    expect(answers(ben).last).to_contain_text(f"w{at + 20}")
    expect(button(ben, "Stop")).to_be_visible()
    expect(questions(anna)).to_have_text([f"Anna: {LONG}"])
    expect(questions(ben)).to_have_text([f"Ben: {LONG}"])
    button(ben, "Stop").click()


def test_another_browser_never_sees_the_conversation(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    anna, ben = new_context().new_page(), new_context().new_page()
    open_chat(anna, server.url)
    send(anna, "my secret is heliotrope")
    wait_until_answered(anna, 1)
    open_chat(ben, anna.url)
    send(ben, "what do you know?")
    assert "what do you know" in wait_until_answered(ben, 1)
    expect(ben.get_by_text("heliotrope")).to_have_count(0)
    assert conversation_id(ben) != conversation_id(anna)
    anna.reload()
    expect(questions(anna)).to_have_text(["my secret is heliotrope"])


def test_new_chat_keeps_the_old_one_in_the_list(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    send(page, "about <b>parrots</b>")
    wait_until_answered(page, 1)
    new_chat(page)
    expect(page).not_to_have_url(re.compile("c="))
    send(page, "about crows")
    wait_until_answered(page, 1)
    conversations = page.get_by_role("navigation", name="Conversations")
    conversations.get_by_text("about <b>parrots</b>").click()
    expect(questions(page)).to_have_text(["about <b>parrots</b>"])
    expect(page).to_have_url(re.compile("c="))


def test_regenerate_answers_again(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    send(page, "hello")
    wait_until_answered(page, 1)
    button(page, "Regenerate").click()
    expect(page.locator("#chat .where")).to_have_text("2 / 2")
    wait_until_answered(page, 1)
    expect(questions(page)).to_have_count(1)
    assert len(stored(server, conversation_id(page))) == 2


def test_refused_messages_stay_in_the_box(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    send(page, "hello")
    wait_until_answered(page, 1)
    message_box(page).press("Enter")
    long = "x" * 32_001
    send(page, long)
    expect(page.get_by_text("32,001 characters; 32,000 is the limit").first).to_be_visible()
    expect(message_box(page)).to_have_value(long)
    expect(answers(page)).to_have_count(1)
    send(page, "fail")
    wait_until_answered(page, 2)
    expect(page.get_by_text("The fake engine failed.").first).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)
    send(page, "and on")
    assert "You said: and on" in wait_until_answered(page, 3)


def test_a_message_right_after_a_short_answer_is_sent(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    send(page, "hello")
    wait_until_answered(page, 1)
    # As if Send had been pressed this very moment.
    page.evaluate("chatUI.page.pressedAt = Infinity")
    send(page, "and on")
    assert "You said: and on" in wait_until_answered(page, 2)


def test_a_second_press_sends_nothing_and_says_nothing(server: Server, page: Page) -> None:
    open_chat(page, server.url)
    message_box(page).fill("hello")
    button(page, "Send").evaluate("(send) => { send.click(); send.click(); }")
    assert "You said: hello" in wait_until_answered(page, 1)
    expect(page.locator("#alert")).to_be_empty()
    send(page, "and on")
    assert "You said: and on" in wait_until_answered(page, 2)
    expect(questions(page)).to_have_count(2)


def test_an_answer_that_the_servers_end_cut_off_says_so(serve: Serve, page: Page) -> None:
    server = serve()
    open_chat(page, server.url)
    send(page, LONG)
    expect(answers(page).last).to_contain_text("w10")
    assert server.terminate() == 0  # it does not wait for the answer
    expect(page.get_by_text("cancel scope")).to_have_count(
        0
    )  # what Gradio says of a stream cut off
    address = page.url
    page.goto("about:blank")  # else it would load itself anew when the server is back
    serve(again=server)
    page.goto(address)
    expect(answers(page).last).to_contain_text("w10")
    expect(button(page, "Stop")).to_be_hidden()
    expect(page.get_by_text("The server ended while this was written").first).to_be_visible()


def test_a_message_for_a_new_chat_that_is_not_there_yet_is_sent_when_it_is(
    server: Server, page: Page
) -> None:
    open_chat(page, server.url)
    send(page, LONG)
    expect(answers(page).last).to_contain_text("w3")
    # In one go: no answer of the server comes between.
    page.evaluate("""() => {
      document.getElementById('new-chat').click();
      const box = document.querySelector('#message textarea');
      box.value = 'quickly';
      box.dispatchEvent(new Event('input', {bubbles: true}));
      box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
    }""")
    expect(questions(page)).to_have_text(["quickly"])
    assert "You said: quickly" in wait_until_answered(page, 1)
