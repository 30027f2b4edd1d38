"""A connection that drops in the middle of an answer: the page says so and goes on from there."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.chat import (
    LONG,
    answers,
    button,
    conversation_id,
    last_word,
    message_box,
    open_chat,
    questions,
    send,
    wait_until_answered,
)
from tests.e2e.conftest import Server
from tests.e2e.relay import Relay

pytestmark = pytest.mark.browser

PICKED_UP = """(seen) => {
  const all = document.querySelectorAll('[data-testid=bot]');
  const words = all[all.length - 1]?.innerText.match(/w\\d+/g) ?? [];
  return words.length > seen;
}"""

# The last message of each stream arrives late, and all else at once.
LATE_CLOSE = """(() => {
  const fetched = window.fetch;
  const decoder = new TextDecoder(), encoder = new TextEncoder();
  window.fetch = async (...args) => {
    const answer = await fetched(...args);
    if (!String(args[0]?.url ?? args[0]).includes("/queue/data")) return answer;
    const late = new TransformStream({
      async transform(chunk, out) {
        const text = decoder.decode(chunk, { stream: true });
        const [news, ...close] = text.split(/(?=data: {"msg":"close_stream")/);
        if (news) out.enqueue(encoder.encode(news));
        if (!close.length) return;
        await new Promise((go) => setTimeout(go, 700));
        out.enqueue(encoder.encode(close.join("")));
      },
    });
    return new Response(answer.body.pipeThrough(late), answer);
  };
})()"""


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    """The wire between the page and the server."""
    with Relay(server.url) as relay:
        yield relay


def away(page: Page) -> Locator:
    return page.get_by_text("The server doesn't answer. Trying again…")


def words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(1, count + 1))


def break_off(page: Page, relay: Relay, how: str, count: int) -> int:
    """Break the wire in the middle of an answer; how many words there are once that is said.

    Args:
        page: the page.
        relay: the wire.
        how: one of its methods.
        count: of so many words, in 15 seconds; 0 for an answer that lasts.
    """
    send(page, f"count to {count} at {count / 15:.0f}" if count else LONG)
    expect(answers(page).last).to_contain_text("w10")
    getattr(relay, how)()
    expect(away(page)).to_be_visible()
    return last_word(page)


# Silence is noticed after 8 seconds, which the answer outlasts.
@pytest.mark.parametrize(("how", "count"), [("cut", 300), ("stall", 500), ("lose", 500)])
def test_an_answer_is_picked_up_when_the_connection_is_back(
    relay: Relay, page: Page, how: str, count: int
) -> None:
    open_chat(page, relay.url)
    seen = break_off(page, relay, how, count)
    message_box(page).fill("and then?")
    relay.mend()
    page.wait_for_function(PICKED_UP, arg=seen + 20)
    expect(away(page)).to_be_hidden()
    expect(message_box(page)).to_have_value("and then?")
    wait_until_answered(page, 1)
    expect(answers(page)).to_have_text([words(count)])
    expect(questions(page)).to_have_count(1)
    expect(page.locator("#status")).to_contain_text("First token")
    message_box(page).press("Enter")
    assert wait_until_answered(page, 2) == "You said: and then?"


def test_what_is_sent_meanwhile_stays_and_is_said_why(relay: Relay, page: Page) -> None:
    open_chat(page, relay.url)
    break_off(page, relay, "cut", 0)
    message_box(page).fill("and then?")
    message_box(page).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Your message stays here until it is back.")
    expect(message_box(page)).to_have_value("and then?")
    relay.mend()
    expect(away(page)).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_empty()
    button(page, "Stop").click()
    expect(button(page, "Stop")).to_be_hidden()
    message_box(page).press("Enter")
    assert wait_until_answered(page, 2) == "You said: and then?"


def test_an_answer_that_ended_meanwhile_is_whole(server: Server, relay: Relay, page: Page) -> None:
    open_chat(page, relay.url)
    send(page, "count to 100 at 10")
    conversation_id(page)
    expect(answers(page).last).to_contain_text("w5")
    relay.cut()
    expect(away(page)).to_be_visible()
    assert last_word(page) < 100
    other = page.context.new_page()  # the same visitor, with a connection
    other.goto(page.url.replace(relay.url, server.url))
    wait_until_answered(other, 1)
    relay.mend()
    expect(away(page)).to_be_hidden()
    expect(answers(page)).to_have_text([words(100)])
    expect(button(page, "Stop")).to_be_hidden()
    expect(page.locator("#status")).to_contain_text(re.compile("First token"))


def test_what_is_asked_for_while_a_stream_is_being_closed_is_brought(
    server: Server, page: Page
) -> None:
    page.add_init_script(LATE_CLOSE)
    open_chat(page, server.url)
    send(page, "Hello")
    assert wait_until_answered(page, 1) == "You said: Hello"
    conversation_id(page)
    expect(page.locator("#status")).to_contain_text(re.compile("First token"))
