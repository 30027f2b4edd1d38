"""Choosing a model in the browser: what the panel says before, while and after one is loaded."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.e2e.chat import button, open_chat
from tests.e2e.conftest import FAKE, ROOT, Serve, Server
from tests.fake_hub import TOKEN, FakeHub, Repository

pytestmark = pytest.mark.browser

GUIDE = ROOT / "assets" / "pocket-guide"


@contextmanager
def served_hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add("someone/tiny-guide", GUIDE, downloads=1_234_567, likes=340)
        hub.add("someone/locked-guide", GUIDE, is_gated=True)
        # It fits nowhere, if its config is believed.
        giant = hub.add("someone/giant-guide", GUIDE)
        config = json.loads(giant.files["config.json"])
        config |= {"hidden_size": 65_536, "num_hidden_layers": 1000}
        giant.files["config.json"] = json.dumps(config).encode()
        yield hub


@pytest.fixture(scope="module")
def asking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks a fake Hub, for tests that load nothing."""
    folder = tmp_path_factory.mktemp("asking")
    with served_hub() as hub:
        server = Server(FAKE, folder / "data", [], environ=hub.environment(folder / "home"))
        server.wait_for(phase="ready")
        yield server
        server.kill()


@pytest.fixture
def looking(asking_server: Server, page: Page) -> Page:
    """A page on which nothing is loaded: other tests look there, too."""
    open_panel(page, asking_server)
    return page


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with served_hub() as hub:
        yield hub


@pytest.fixture
def chat(hub: FakeHub, serve: Serve, page: Page, tmp_path: Path) -> Page:
    """The page of a server of its own, which asks `hub` and has nothing in its cache."""
    server = serve(environ=hub.environment(tmp_path / "home"))
    server.wait_for(phase="ready")
    open_panel(page, server)
    return page


def open_panel(page: Page, server: Server) -> None:
    open_chat(page, server.url)
    expect(panel(page)).to_contain_text("parameters")  # the first card is there


def named(hub: FakeHub, name: str) -> Repository:
    found = hub.named(f"someone/{name}")
    assert found is not None
    return found


def panel(page: Page) -> Locator:
    return page.locator("#model-panel")


def picker(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Model", exact=True)


def precision(page: Page, name: str) -> Locator:
    return panel(page).get_by_role("radio", name=name, exact=True)


def options(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Models").get_by_role("option")


def pick(page: Page, model: str) -> None:
    """Type a model's id and press Enter; wait until its card is there."""
    picker(page).fill(model)
    picker(page).press("Enter")
    expect(picker(page)).to_have_attribute("aria-expanded", "false")
    expect(panel(page)).not_to_have_attribute("aria-busy", "true")


def active(page: Page) -> Locator:
    """The option that the keyboard is at."""
    # Not by the id that the box names now: the list may be made anew, with other ids.
    expect(picker(page)).to_have_attribute("aria-activedescendant", re.compile("."))
    return options(page).and_(page.locator(".active"))


def loaded(page: Page, label: str) -> None:
    """Wait until the server says that this model answers."""
    expect(page.locator("#model-line .label")).to_contain_text(label)
    expect(page.locator("#model-line")).to_have_attribute("data-phase", "ready")
    expect(button(page, "Unload")).to_be_visible()


def test_the_picker_works_with_the_keyboard_alone(looking: Page) -> None:
    picker(looking).focus()
    picker(looking).press("ArrowDown")
    expect(picker(looking)).to_have_attribute("aria-expanded", "true")
    expect(options(looking).first).to_contain_text("Pocket Guide")
    expect(active(looking)).to_contain_text("Pocket Guide")
    picker(looking).press("ArrowDown")
    expect(active(looking)).not_to_contain_text("Pocket Guide")
    picker(looking).press("Escape")
    expect(picker(looking)).to_have_attribute("aria-expanded", "false")
    expect(picker(looking)).to_have_value(re.compile("Pocket Guide"))
    picker(looking).press_sequentially("smollm2 135")
    expect(active(looking)).to_contain_text("SmolLM2 135M")
    picker(looking).press("Enter")
    expect(picker(looking)).to_have_value(re.compile("SmolLM2 135M"))
    expect(picker(looking)).to_be_focused()
    expect(button(looking, "Unload")).to_be_visible()  # nothing has begun


def test_a_path_that_is_none_is_told_though_the_server_s_model_settles_meanwhile(
    looking: Page,
) -> None:
    # The next pulse hands over what the server's model is; it settles once more when told to.
    looking.evaluate(
        """() => {
          const { show } = window.chatUI.models;
          window.chatUI.models.show = (now) => show((window.shown = now));
        }"""
    )
    looking.wait_for_function("() => window.shown")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "/no/such/folder" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    looking.route(re.compile("component_server"), hold)
    with looking.expect_request(lambda request: "/no/such/folder" in (request.post_data or "")):
        picker(looking).fill("/no/such/folder")
        picker(looking).press("Enter")
    looking.evaluate(
        "window.chatUI.models.show({ ...window.shown, revision: window.shown.revision + 1 })"
    )
    held[0].continue_()
    expect(panel(looking).locator(".model-message")).to_contain_text("/no/such/folder")
    expect(picker(looking)).to_have_value(re.compile("Pocket Guide"))
    # And the precisions say again what they take.
    expect(panel(looking).locator(".row .verdict").first).to_have_attribute(
        "data-verdict", re.compile(".")
    )


def test_the_catalogue_is_grouped_by_what_this_machine_can_do(looking: Page) -> None:
    picker(looking).click()
    here = looking.get_by_role("group", name="On this machine")
    expect(here.get_by_role("option")).to_contain_text(
        [re.compile("Pocket Guide.*Fits", re.DOTALL)]
    )
    # The first list may come before all is forecast; it mends itself while it is open.
    fits = looking.get_by_role("group", name="Fits this machine")
    expect(fits.get_by_role("option").first).to_contain_text("SmolLM2 135M")
    expect(options(looking).filter(has_text="Gemma").first).to_contain_text("gated")


def test_each_precision_says_what_it_takes_and_does_before_it_is_chosen(looking: Page) -> None:
    for name in ("Full", "8-bit", "4-bit", "8-bit (fast, CPU)"):
        expect(precision(looking, name)).to_have_accessible_description(
            re.compile(r"^[\d.,]+ [MG]B · about [\d.,]+ tokens/s (Fits|Tight)$")
        )
    expect(precision(looking, "4-bit (fp4, double quantization)")).to_be_hidden()
    panel(looking).get_by_text("More", exact=True).click()
    expect(precision(looking, "4-bit (fp4, double quantization)")).to_be_visible()
    caveats = panel(looking).get_by_text("A small loss, which shows more in small models")
    expect(caveats).to_be_hidden()
    panel(looking).get_by_label("Caveats of 4-bit", exact=True).click()
    expect(caveats).to_be_visible()


def test_a_longer_context_takes_more_memory(looking: Page) -> None:
    pick(looking, "HuggingFaceTB/SmolLM2-135M-Instruct")
    context = panel(looking).get_by_role("combobox", name="Context")
    expect(panel(looking)).to_contain_text("Cache for 4,096 tokens")
    before = panel(looking).locator(".need").inner_text()
    context.select_option("8k tokens")
    expect(panel(looking)).to_contain_text("Cache for 8,192 tokens")
    expect(panel(looking).locator(".need")).not_to_have_text(before)


def test_a_model_of_the_hub_is_found_downloaded_and_loaded(chat: Page, hub: FakeHub) -> None:
    tiny = named(hub, "tiny-guide")
    tiny.file_fault = "held"
    picker(chat).fill("tiny-gui")
    found = chat.get_by_role("group", name="On the Hub").get_by_role("option")
    expect(found).to_contain_text(["1.2M downloads · 340 likes"])
    found.click()
    download = panel(chat).get_by_role(
        "button", name=re.compile(r"^Download and load \([\d.]+ MB\)$")
    )
    expect(download).to_be_visible()
    assert not hub.fetched("model.safetensors"), "nothing is downloaded before the button"
    download.click()
    expect(panel(chat)).to_contain_text("Loading someone/tiny-guide, Full")
    expect(panel(chat)).to_contain_text(re.compile(r"Downloading [\d.]+ of [\d.]+ MB"))
    expect(panel(chat).get_by_role("progressbar", name="Loading")).to_be_visible()
    expect(chat.locator("#model-line .label")).to_contain_text("Pocket Guide")  # it still answers
    tiny.gate.set()
    loaded(chat, "someone/tiny-guide")
    expect(panel(chat).get_by_role("progressbar")).to_be_hidden()
    expect(download).to_be_hidden()
    picker(chat).click()
    here = chat.get_by_role("group", name="On this machine")
    expect(here.get_by_role("option").filter(has_text="tiny-guide")).to_be_visible()


def test_a_download_can_be_cancelled_and_begun_again(chat: Page, hub: FakeHub) -> None:
    tiny = named(hub, "tiny-guide")
    tiny.file_fault = "held"
    pick(chat, "someone/tiny-guide")
    download = panel(chat).get_by_role("button", name=re.compile("^Download and load"))
    download.click()
    assert tiny.held.wait(30)
    button(chat, "Cancel loading").click()
    loaded(chat, "Pocket Guide")
    expect(panel(chat)).to_contain_text("someone/tiny-guide")
    expect(picker(chat)).to_have_value("someone/tiny-guide")
    tiny.gate.set()
    download.click()
    loaded(chat, "someone/tiny-guide")


def test_a_gated_model_says_what_to_do_and_takes_a_token(chat: Page, hub: FakeHub) -> None:
    pick(chat, "someone/locked-guide")
    expect(panel(chat)).to_contain_text(re.compile("someone/locked-guide.*gated|access", re.I))
    token = panel(chat).get_by_label("Access token", exact=True)
    expect(token).to_be_visible()
    token.fill(TOKEN)
    button(chat, "Look again").click()
    download = panel(chat).get_by_role("button", name=re.compile("^Download and load"))
    download.click()
    loaded(chat, "someone/locked-guide")
    expect(token).to_have_value("")
    assert TOKEN not in chat.content()


def test_what_does_not_fit_says_so_and_is_loaded_only_anyway(chat: Page) -> None:
    pick(chat, "someone/giant-guide")
    expect(precision(chat, "Full")).to_have_accessible_description(re.compile("Too large$"))
    expect(panel(chat)).to_contain_text(re.compile(r"Needs [\d.,]+ GB; [\d.]+ GB are free"))
    anyway = panel(chat).get_by_role("button", name=re.compile("^Download and load anyway"))
    anyway.click()
    loaded(chat, "someone/giant-guide")


def test_an_unloaded_model_is_loaded_again_by_its_button(chat: Page) -> None:
    button(chat, "Unload").focus()
    button(chat, "Unload").press("Enter")
    expect(panel(chat)).to_contain_text("Unloaded")
    expect(button(chat, "Unload")).to_be_hidden()
    panel(chat).get_by_role("button", name="Load", exact=True).click()
    loaded(chat, "Pocket Guide")


def test_the_leaderboards_open_elsewhere_and_learn_nothing_of_this_page(looking: Page) -> None:
    links = panel(looking).locator(".leaderboards a")
    expect(links.first).to_be_visible()
    for link in links.all():
        assert link.get_attribute("target") == "_blank"
        assert "noopener" in (link.get_attribute("rel") or "")
        assert (link.get_attribute("href") or "").startswith("https://")


def test_without_the_hub_the_list_is_there_and_a_search_says_why_not(
    server: Server, page: Page
) -> None:
    # `server` has no network.
    open_chat(page, server.url)
    picker(page).fill("smollm2")
    expect(options(page).filter(has_text="SmolLM2 135M")).to_be_visible()
    expect(panel(page).locator(".picker-line")).to_contain_text(re.compile(r"Hub|network"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_the_panel_works_by_touch(
    server: Server, new_context: Callable[..., BrowserContext], scheme: str
) -> None:
    size = {"width": 390, "height": 844}
    page = new_context(
        viewport=size, has_touch=True, is_mobile=True, color_scheme=scheme
    ).new_page()
    open_chat(page, server.url)
    button(page, "Settings").tap()
    picker(page).tap()
    smol = options(page).filter(has_text="SmolLM2 135M").first
    smol.tap()
    expect(picker(page)).to_have_value(re.compile("SmolLM2 135M"))
    expect(panel(page)).to_be_visible()  # a tap in the list is none beside the panel
    expect(precision(page, "4-bit")).to_be_enabled()
    inside = panel(page).evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    assert inside
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # The one page of `server` that looks at another model changes nothing for the others.
    assert server.health()["model"] == "pocket-guide"


def test_where_the_model_is_fixed_the_panel_only_tells(
    serve: Serve, new_context: Callable[..., BrowserContext]
) -> None:
    server = serve(environ={"SPACE_ID": "someone/space"})
    server.wait_for(phase="ready")
    page = new_context().new_page()
    open_chat(page, server.url)
    expect(panel(page)).to_contain_text("parameters")
    expect(picker(page)).to_be_disabled()
    expect(precision(page, "4-bit")).to_be_disabled()
    expect(precision(page, "Full")).to_be_checked()
    for name in ("Unload", "Load", "Cancel loading"):
        expect(button(page, name)).to_be_hidden()
    (link,) = [line.split("Owner: ")[1] for line in server.lines if "Owner: " in line]
    owners = new_context().new_page()
    owners.goto(link)
    expect(owners).to_have_url(f"{server.url}/")
    open_chat(owners, server.url)
    expect(picker(owners)).to_be_enabled()
    precision(owners, "4-bit").check()
    server.wait_for(phase="ready", precision="4bit")
    expect(precision(page, "4-bit")).to_be_checked()
    expect(precision(page, "4-bit")).to_be_disabled()
