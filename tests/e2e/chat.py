"""What a person does on the page, by the names a screen reader says."""

import re

from playwright.sync_api import Locator, Page, Route, expect

ANSWER = '[data-testid=bot]:not([aria-label*="\u2063"]):not(:has(.thought-group))'
TIMEOUT_MS = 30_000
LONG = "count to 500 at 10"  # fifty seconds: a test that stops it is not the later one
expect.set_options(timeout=TIMEOUT_MS)


def open_chat(page: Page, url: str) -> None:
    """Open the page and wait until it can be used."""
    page.goto(url)
    expect(message_box(page)).to_be_editable()


def message_box(page: Page) -> Locator:
    """Where one types."""
    return page.get_by_role("textbox", name="Message", exact=True)


def button(page: Page, name: str) -> Locator:
    """A button by its exact name."""
    return page.get_by_role("button", name=name, exact=True)


def send(page: Page, text: str) -> None:
    """Type a message and press Enter."""
    message_box(page).fill(text)
    message_box(page).press("Enter")


def new_chat(page: Page) -> None:
    """Begin another chat, and wait until the messages of the one before are gone."""
    button(page, "New chat").click()
    expect(questions(page)).to_have_count(0)


def answers(page: Page) -> Locator:
    """The model's messages, without thoughts, and notes, which begin with a mark of the view."""
    return page.locator(ANSWER)


def questions(page: Page) -> Locator:
    """The person's messages."""
    return page.locator("[data-testid=user]")


def wait_until_answered(page: Page, count: int) -> str:
    """Wait for the end of the answer with this number; its text."""
    expect(answers(page)).to_have_count(count)
    expect(button(page, "Stop")).to_be_hidden()
    return answers(page).nth(count - 1).inner_text()


def stop(page: Page) -> int:
    """Stop the answer, and wait for its end; the number of its last word."""
    button(page, "Stop").click()
    expect(button(page, "Stop")).to_be_hidden()
    # Comes with the last words.
    expect(page.locator("#chat").get_by_text(re.compile(r"^Stopped\.")).last).to_be_visible()
    return last_word(page)


def let_go(page: Page, held: list[Route]) -> None:
    """Let the request go on that a route holds, as soon as it has arrived."""
    for _ in range(TIMEOUT_MS // 50):
        if held:
            break
        page.wait_for_timeout(50)
    held.pop().continue_()


def last_word(page: Page) -> int:
    """The number of the last word that the counting engine has written: 7 for "... w6 w7"."""
    words = re.findall(r"w(\d+)", answers(page).last.inner_text())
    return int(words[-1]) if words else 0


def conversation_id(page: Page) -> str:
    """The id in the address."""
    page.wait_for_url(re.compile(r"[?&]c="))
    return re.search(r"[?&]c=([^&#]+)", page.url)[1]  # type: ignore[index]
