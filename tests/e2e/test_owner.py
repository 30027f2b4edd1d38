"""What the server's owner sees where strangers come, and the stop switch, in a browser."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import (
    APIResponse,
    BrowserContext,
    Locator,
    Page,
    Request,
    Route,
    expect,
)

from tests.e2e.chat import LONG, answers, button, message_box, open_chat, send, wait_until_answered
from tests.e2e.conftest import Serve, Server
from tests.e2e.test_accessibility import LOOKS
from tests.e2e.test_privacy import problems

pytestmark = pytest.mark.browser

TUNNEL = "http://made-up.gradio.live"
LINK = "https://made-up.gradio.live/"
NewContext = Callable[..., BrowserContext]


def printed(server: Server, name: str) -> str:
    """The link that was printed after this name."""
    server.wait_for_line(f"{name}: ")
    (line,) = [line for line in server.lines if line.startswith(f"{name}: ")]
    return line.removeprefix(f"{name}: ")


def owners_page(server: Server, new_context: NewContext, **options: Any) -> Page:
    """The page as the owner's link opens it."""
    page = new_context(**options).new_page()
    open_chat(page, printed(server, "Owner"))
    return page


def opened(page: Page) -> Locator:
    """The owner's dialog."""
    button(page, "This server").click()
    dialog = page.get_by_role("dialog", name="This server")
    expect(dialog.get_by_text("Answers being written")).to_be_visible()
    return dialog


def figure(dialog: Locator, name: str) -> Locator:
    """What a figure says."""
    return dialog.locator("dl > div", has_text=name).get_by_role("definition")


def is_look(request: Request) -> bool:
    """Whether the dialog asks with it for what it shows."""
    return '"owner_figures"' in (request.post_data or "")


def test_the_owner_sees_the_link_with_its_key_and_what_goes_on(
    serve: Serve, new_context: NewContext
) -> None:
    server = serve("--share", environ={"FAKE_TUNNEL": TUNNEL})
    link = printed(server, "Public link")
    assert link.startswith(f"{LINK}?key=")
    assert not [line for line in server.lines if "█" in line], "no terminal reads this"
    for look in LOOKS.values():
        page = owners_page(server, new_context, **look)
        if look.get("is_mobile"):
            button(page, "Conversations").click()
        dialog = opened(page)
        expect(figure(dialog, "Answers being written")).to_have_text("0 of 8")
        expect(dialog.get_by_role("link")).to_have_attribute("href", link)
        expect(dialog.get_by_text("It ends with this program")).to_be_visible()
        code = dialog.get_by_role("img", name="QR code of the public link")
        expect(code).to_be_visible()
        assert code.evaluate("(image) => image.decode().then(() => image.naturalWidth > 0)")
        assert problems(page) == []
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_where_there_is_no_link_nothing_of_one_is_shown(
    serve: Serve, new_context: NewContext
) -> None:
    server = serve("--door", "share", "--public")
    page = owners_page(server, new_context)
    dialog = opened(page)
    for part in (
        dialog.get_by_role("heading", name="Public link"),
        dialog.get_by_role("img"),
        dialog.get_by_role("link"),
        button(page, "Copy the link"),
        dialog.get_by_text("No public link could be opened"),
    ):
        expect(part.and_(page.locator(":visible"))).to_have_count(0)
    assert problems(page) == []
    # Nor is an owner told that somebody else keeps their messages.
    expect(page.locator("#privacy")).to_be_hidden()


def test_where_no_link_could_be_opened_the_owner_is_told(
    serve: Serve, new_context: NewContext
) -> None:
    server = serve("--share", environ={"FAKE_TUNNEL": ""})
    server.wait_for_line("No public link could be opened: ")
    page = owners_page(server, new_context)
    dialog = opened(page)
    expect(dialog.get_by_text("No public link could be opened")).to_be_visible()
    expect(button(page, "Copy the link")).to_have_count(0)


def test_what_was_asked_before_the_switch_was_set_is_not_shown_after_it(
    serve: Serve, new_context: NewContext
) -> None:
    server = serve("--door", "share", "--public")
    page = owners_page(server, new_context)
    dialog = opened(page)
    expect(dialog.get_by_text("Visitors are let in.")).to_be_visible()
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        if held or not is_look(route.request):
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.evaluate("""() => {
      window.said = [];
      const state = document.querySelector("#owner .switch > p");
      new MutationObserver(() => said.push(state.textContent))
        .observe(state, { childList: true, characterData: true, subtree: true });
    }""")
    page.route("**/component_server*/", hold)
    button(page, "Pause for visitors").click()
    while not held:
        page.wait_for_timeout(20)
    button(page, "Pause now").click()
    expect(dialog.get_by_text("Paused: only you are let in.")).to_be_visible()
    [(route, before)] = held
    with page.expect_request_finished(is_look):  # the one that was held
        route.fulfill(response=before)
    with page.expect_request_finished(is_look):
        pass
    assert page.evaluate("window.said") == ["Paused: only you are let in."]


def test_the_owner_pauses_the_chat_and_lets_visitors_in_again(
    serve: Serve, new_context: NewContext
) -> None:
    server = serve("--door", "share", "--public")
    owner, visitor = owners_page(server, new_context), new_context().new_page()
    open_chat(visitor, server.url)
    send(visitor, LONG)
    expect(answers(visitor)).to_contain_text("w2")
    dialog = opened(owner)
    expect(figure(dialog, "Visitors in")).to_have_text("2")
    expect(figure(dialog, "Answers being written")).to_have_text("1 of 8")
    button(owner, "Pause for visitors").click()
    expect(button(owner, "Keep it open")).to_be_focused()
    owner.keyboard.press("Enter")
    expect(button(owner, "Pause for visitors")).to_be_focused()
    assert not (server.data_dir / "STOP").exists()
    owner.keyboard.press("Enter")
    assert problems(owner) == []
    button(owner, "Pause now").click()
    expect(dialog.get_by_text("Paused: only you are let in.")).to_be_visible()
    expect(button(owner, "Let visitors in")).to_be_focused()
    expect(figure(dialog, "Answers being written")).to_have_text("0 of 8")
    owner.keyboard.press("Escape")
    note = owner.locator("#model-line .note")
    expect(note).to_have_text("Paused: only you are let in.")
    visitor.goto(server.url)
    expect(visitor.get_by_text("This chat is closed for a while")).to_be_visible()
    owner.reload()
    expect(message_box(owner)).to_be_editable()
    opened(owner)
    button(owner, "Let visitors in").click()
    expect(dialog.get_by_text("Visitors are let in.")).to_be_visible()
    expect(note).to_be_hidden()
    open_chat(visitor, server.url)
    # A stranger has no such dialog, and asking without it is refused.
    expect(answers(visitor)).to_have_count(0)
    expect(visitor.get_by_text("Pocket Guide").first).to_be_visible()
    expect(button(visitor, "This server")).to_have_count(0)
    refused = visitor.evaluate("""async () => {
      const { server } = window.chatUI.islands.owner;
      return [await server.owner_figures({}), await server.set_closed({ is_closed: true })];
    }""")
    assert [list(one) for one in refused] == [["error", "is_access"]] * 2
    assert not (server.data_dir / "STOP").exists()


def test_the_owner_s_page_goes_on_while_the_chat_is_paused(
    serve: Serve, new_context: NewContext
) -> None:
    server = serve("--door", "share", "--public")
    owner = owners_page(server, new_context)
    state = owner.locator("#model-line .state")
    expect(owner.locator("#show-owner")).to_be_visible()
    (server.data_dir / "STOP").touch()
    owner.route("**/component_server*/", lambda route: route.abort())
    expect(state).to_contain_text("The owner has closed this chat for now.")
    owner.unroute("**/component_server*/")
    expect(state).not_to_contain_text("closed")
    send(owner, "Hello")
    wait_until_answered(owner, 1)


def test_the_owner_s_dialog_goes_on_after_a_call_was_refused(
    serve: Serve, new_context: NewContext
) -> None:
    server = serve("--door", "share", "--public")
    owner = owners_page(server, new_context)
    dialog = opened(owner)
    owner.route("**/component_server*/", lambda route: route.fulfill(status=503, body="Full"))
    expect(dialog.get_by_role("alert")).to_contain_text("The server doesn't answer.")
    owner.unroute("**/component_server*/")
    expect(dialog.get_by_role("alert")).to_be_empty()


def test_at_home_there_is_nothing_of_it(chat: Page) -> None:
    expect(chat.locator("#show-owner")).to_have_count(0)
