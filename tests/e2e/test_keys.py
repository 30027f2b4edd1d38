"""A shared page's key in a browser: by its link, and typed."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.e2e.chat import answers, open_chat, send, wait_until_answered
from tests.e2e.conftest import Serve

pytestmark = pytest.mark.browser


def test_a_shared_page_opens_by_its_link_and_by_a_typed_key(
    serve: Serve, new_context: Callable[..., BrowserContext]
) -> None:
    server = serve("--door", "share")
    server.wait_for(phase="ready")
    (link,) = [line.split(" is at ")[1] for line in server.lines if " is at " in line]

    by_link = new_context().new_page()
    by_link.goto(f"{link}&__theme=dark")
    expect(by_link).to_have_url(f"{server.url}/?__theme=dark")
    open_chat(by_link, server.url)
    send(by_link, "hello")
    wait_until_answered(by_link, 1)
    expect(answers(by_link).last).to_contain_text("You said: hello")

    typing = new_context().new_page()
    typing.goto(server.url)
    typing.get_by_label("Key").fill("wrong")
    typing.get_by_role("button", name="Open").click()
    expect(typing.locator("p")).to_contain_text("not the one")
    typing.get_by_label("Key").fill(link.split("key=")[1])
    typing.get_by_role("button", name="Open").click()
    expect(typing).to_have_url(f"{server.url}/")
    open_chat(typing, server.url)
