"""The page in each of its languages: by the browser's wish, all of it, and where it has to fit."""

import re
from collections.abc import Callable, Iterator
from string import Formatter
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from chat_ui.ui.texts import ENGLISH, LANGUAGES, Texts, texts
from tests.e2e.chat import answers, button
from tests.e2e.conftest import Server

pytestmark = pytest.mark.browser

LOCALES = {"en": "en-US", "de": "de-DE", "fr": "fr-FR", "es": "es-ES", "zh": "zh-CN"}
OTHERS = [language for language in LANGUAGES if language != "en"]

# What is not of the page: what was written, names of models, and what the layers below say.
NOT_OURS = (
    "#chat .message, #spoken p, [lang=en], .brand, .about, .caveats ul, .leaderboards a, "
    ".reading, .problem, .fitting, .machine, .label, .now-name, #conversations a, script, style, "
    "kbd"
)
# All that a person sees or is told.
TEXTS = """(notOurs) => {
  const found = [];
  const all = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT);
  for (let place = document.body; place; place = all.nextNode()) {
    if (place.closest(notOurs)) continue;
    for (const name of ["aria-label", "title", "placeholder"]) found.push(place.getAttribute(name));
    for (const node of place.childNodes) {
      if (node.nodeType === Node.TEXT_NODE) found.push(node.data);
    }
  }
  return found.filter(Boolean).map((text) => text.trim()).filter(Boolean);
}"""
ENGLISH_WORDS = re.compile(r"\b(the|this|your|you|is|are|was|with|and|for|not|to|what)\b", re.I)


def open_chat(page: Page, url: str) -> None:
    page.goto(url)
    expect(box(page)).to_be_editable()
    expect(page.locator("#english-only")).to_have_attribute("data-text", "welcome.english_only")
    expect(page.locator(".examples button")).to_have_count(4)


def box(page: Page) -> Locator:
    return page.locator("#message textarea")


def ask(page: Page, text: str, say: Texts) -> None:
    """Send a message and wait for its answer."""
    count = answers(page).count()
    box(page).fill(text)
    box(page).press("Enter")
    expect(answers(page)).to_have_count(count + 1)
    expect(button(page, say("controls.stop"))).to_be_hidden()
    expect(button(page, say("controls.regenerate"))).to_be_visible()


def patterns(say: Texts) -> Iterator[re.Pattern[str]]:
    """Of the English texts that this language has others for."""
    for key, entry in ENGLISH.entries.items():
        if say.entries[key] == entry or key.startswith("welcome."):
            continue
        for text in [entry] if isinstance(entry, str) else entry.values():
            parts = [
                re.escape(literal) + ("" if name is None else ".+")
                for literal, name, _, _ in Formatter().parse(text)
            ]
            if re.search("[A-Za-z]{3}", "".join(parts)):
                yield re.compile("".join(parts))


def left_over(page: Page, say: Texts) -> list[str]:
    """What is still in English."""
    shown: list[str] = page.evaluate(TEXTS, NOT_OURS)
    assert len(shown) > 80
    # A word such as "Message" is the same in French, whatever it stands for in English.
    own = {text for text in say.entries.values() if isinstance(text, str)}
    english = list(patterns(say))
    return [
        text
        for text in shown
        if not re.search("[\u4e00-\u9fff]", text)
        and text not in own
        and (any(one.fullmatch(text) for one in english) or ENGLISH_WORDS.search(text))
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_in_the_browser_s_language(
    server: Server, new_context: Callable[..., BrowserContext], language: str
) -> None:
    say = texts(language)
    page = new_context(locale=LOCALES[language]).new_page()
    open_chat(page, server.url)
    expect(page.locator("html")).to_have_attribute("lang", re.compile(f"^{language}"))
    expect(page.get_by_role("heading", name=say("welcome.heading"))).to_be_visible()
    for key in ("controls.new_chat", "files.export", "files.import"):
        expect(button(page, say(key))).to_be_visible()
    for key in ("controls.message", "controls.system_prompt", "rail.search"):
        expect(page.get_by_role("textbox", name=say(key), exact=True)).to_be_visible()
    expect(box(page)).to_have_attribute("placeholder", say("controls.ask"))
    expect(page.get_by_role("slider", name=say("settings.temperature"), exact=True)).to_be_visible()
    expect(page.locator("#model-line .state")).to_have_text(say("line.ready"))
    ask(page, "count to 3 at 200", say)
    expect(page.locator("#status")).to_contain_text(say("quantity.tokens", 3))
    for key in ("message.edit", "message.branch", "message.python", "message.details"):
        expect(button(page, say(key)).last).to_be_attached()


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_is_left_in_english(
    server: Server, new_context: Callable[..., BrowserContext], language: str
) -> None:
    say = texts(language)
    page = new_context(locale=LOCALES[language]).new_page()
    open_chat(page, server.url)
    # The built-in model's examples are; it is said why.
    expect(page.locator(".examples")).to_have_attribute("lang", "en")
    expect(page.locator("#english-only")).to_have_text(say("welcome.english_only"))
    expect(page.locator("#english-only")).to_be_visible()
    assert not left_over(page, say)
    ask(page, "think", say)
    button(page, say("message.details")).click()
    expect(page.get_by_role("dialog").locator("dt").first).to_have_text(say("details.model"))
    assert not left_over(page, say)
    page.keyboard.press("Escape")
    button(page, say("files.export")).click()
    page.keyboard.press("Escape")
    button(page, say("keys.name")).click()
    assert not left_over(page, say)
    button(page, say("keys.close")).click()
    page.get_by_role("combobox", name=say("model.name"), exact=True).click()
    expect(page.get_by_role("group", name=say("card.here"), exact=True)).to_be_visible()
    assert not left_over(page, say)


def test_what_is_done_with_messages_and_conversations_does_not_ask_for_english_names(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    say = texts("de")
    page = new_context(locale="de-AT").new_page()
    open_chat(page, server.url)
    ask(page, "count to 3 at 200", say)
    button(page, "Neu generieren").click()
    expect(page.locator(".versions .where")).to_have_text("2 / 2")
    expect(button(page, "Stoppen")).to_be_hidden()
    button(page, "Vorige Version").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".versions .where")).to_have_text("1 / 2")
    expect(button(page, "Nächste Version")).to_be_focused()
    row = page.locator("#conversations li")
    row.hover()
    row.get_by_role("button", name="Anheften").click()
    expect(page.get_by_role("heading", name="Angeheftet")).to_be_visible()
    expect(row.get_by_role("button", name="Lösen")).to_be_focused()
    row.get_by_role("button", name="Löschen").click()
    expect(page.locator("#undo")).to_contain_text("Gelöscht:")
    button(page, "Rückgängig").click()
    expect(row).to_have_count(1)


@pytest.mark.parametrize(
    ("locale", "language"), [("de-AT", "de"), ("it-IT", "en"), ("zh-TW", "zh"), ("zh-HK", "en")]
)
def test_scripts_and_server_go_by_gradio_s_choice(
    server: Server, new_context: Callable[..., BrowserContext], locale: str, language: str
) -> None:
    page, say = new_context(locale=locale).new_page(), texts(language)
    open_chat(page, server.url)
    expect(page.locator("html")).to_have_attribute("lang", re.compile(f"^{language}"))
    for key in ("controls.new_chat", "controls.send", "files.import"):  # Gradio's, and ours
        expect(button(page, say(key))).to_be_visible()
    expect(page.locator("#model-line .state")).to_have_text(say("line.ready"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_fits_a_telephone(
    server: Server, new_context: Callable[..., BrowserContext], language: str
) -> None:
    say = texts(language)
    viewport = {"width": 390, "height": 844}
    page = new_context(locale=LOCALES[language], viewport=viewport).new_page()
    open_chat(page, server.url)

    def is_cut(selector: str) -> list[Any]:
        found: list[Any] = page.evaluate(
            """(selector) => [...document.querySelectorAll(selector)]
              .filter((one) => one.offsetParent && one.clientWidth > 1)
              .filter((one) => one.scrollWidth > one.clientWidth + 1)
              .map((one) => one.textContent || one.id)""",
            selector,
        )
        return found

    everywhere = "button:not(.label-wrap), h1, h2, h3, summary, legend, label, .row-line, .verdict"
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    ask(page, "count to 3 at 200", say)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    for toggle in ("#rail-toggle", "#panels-toggle"):
        page.locator(toggle).click()
        expect(page.locator(toggle)).to_have_attribute("aria-expanded", "true")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert not is_cut(everywhere)


@pytest.mark.parametrize("language", ["de", "fr", "es"])
def test_a_precision_s_line_and_its_caveats_do_not_overlap_on_a_narrow_telephone(
    server: Server, new_context: Callable[..., BrowserContext], language: str
) -> None:
    say, size = texts(language), {"width": 360, "height": 740}
    page = new_context(locale=LOCALES[language], viewport=size).new_page()
    open_chat(page, server.url)
    page.locator("#panels-toggle").click()
    line = page.locator("#precision .row-line").first
    expect(line).to_contain_text(say("quantity.rate", rate=""))  # the speed was measured
    page.locator(".kinds > summary").click()
    overlapping = page.evaluate("""() => [...document.querySelectorAll("#precision .row")]
      .filter((row) => row.querySelector("details").offsetParent)
      .filter((row) => {
        const beside = row.querySelector("summary").getBoundingClientRect();
        return [...row.querySelectorAll(".row-name, .row-line")].some((place) => {
          const text = document.createRange();
          text.selectNodeContents(place.firstChild);
          return [...text.getClientRects()].some((one) =>
            one.right > beside.left && one.bottom > beside.top + 7 && one.top < beside.bottom - 7);
        });
      })
      .map((row) => row.textContent)""")
    assert not overlapping
