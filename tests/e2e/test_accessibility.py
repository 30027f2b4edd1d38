"""What axe-core finds on every screen, and how large the things are that one presses.

No rule and no part of the page is left out. That what is shown is also told and can be reached by
keyboard, the other tests here show: they find everything by its role and name.
"""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.chat import (
    answers,
    button,
    message_box,
    open_chat,
    send,
    wait_until_answered,
)
from tests.e2e.conftest import Server

pytestmark = pytest.mark.browser

WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": WIDE, "color_scheme": "light"},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "has_touch": True, "is_mobile": True},
}

# What conforms to WCAG 2.2 at level AA has all of these.
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
SMALLEST_PX = 24

RICH = """Some code, a table, a formula and a list.

```python
def area(radius: float) -> float:
    return 3.14 * radius**2  # of a circle
```

| Planet | Moons |
|---|---|
| Mars | 2 |
| Jupiter | 97 |

The area is $$A = \\pi r^2$$ and `code`, see [the manual](https://example.org/manual).

1. one
2. two
   - inner

> A quote."""


def first_screen(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def conversation(page: Page) -> None:
    send(page, RICH)
    wait_until_answered(page, 1)
    expect(answers(page).locator("table")).to_be_visible()
    expect(answers(page).locator(".katex").first).to_be_visible()
    expect(page.get_by_role("group", name="Answer", exact=True)).to_be_visible()


def short(page: Page) -> None:
    send(page, "Alpha")
    wait_until_answered(page, 1)
    expect(page.get_by_role("group", name="Answer", exact=True)).to_be_visible()


def writing(page: Page) -> None:
    send(page, "count to 4000 at 20")
    expect(answers(page).last).to_contain_text("w5")


def settings(page: Page) -> None:
    if not page.locator("#panels").is_visible():
        button(page, "Settings").click()
    expect(page.locator("#panels")).to_be_visible()


def model_panel(page: Page) -> None:
    settings(page)
    panel = page.locator("#model-panel")
    expect(panel).to_contain_text("parameters")  # the first card is there
    picker = page.get_by_role("combobox", name="Model", exact=True)
    picker.fill("HuggingFaceTB/SmolLM2-135M-Instruct")
    picker.press("Enter")
    expect(panel).to_contain_text("147,750,912 parameters")
    panel.get_by_label("Caveats of 4-bit", exact=True).click()
    panel.get_by_text("More", exact=True).click()
    expect(panel).to_contain_text("Cache for 4,096 tokens")
    expect(panel).not_to_have_attribute("aria-busy", "true")


def picker_open(page: Page) -> None:
    settings(page)
    page.get_by_role("combobox", name="Model", exact=True).click()
    expect(page.get_by_role("group", name="Fits this machine")).to_be_visible()


def more_settings(page: Page) -> None:
    settings(page)
    page.get_by_role("button", name="More").click()
    expect(page.get_by_role("textbox", name="Seed", exact=True)).to_be_visible()


def editing(page: Page) -> None:
    short(page)
    page.get_by_role("button", name="Edit message").last.click()
    expect(page.get_by_text("Editing the answer")).to_be_visible()


def rail(page: Page) -> None:
    if not page.locator("#rail").is_visible():
        button(page, "Conversations").click()
    expect(page.get_by_role("navigation", name="Conversations")).to_be_visible()


def export_menu(page: Page) -> None:
    short(page)
    rail(page)
    button(page, "Export").click()
    expect(page.get_by_role("group", name="Export")).to_be_visible()


def renaming(page: Page) -> None:
    short(page)
    rail(page)
    page.get_by_role("listitem").filter(has_text="Alpha").hover()
    button(page, "Rename").click()
    expect(page.get_by_role("textbox", name="Title")).to_be_visible()


def searching(page: Page) -> None:
    short(page)
    send(page, "Tell me of WHALES")
    wait_until_answered(page, 2)
    rail(page)
    page.get_by_role("textbox", name="Search conversations").fill("whales")
    expect(page.get_by_role("heading", name="Found")).to_be_visible()
    expect(page.locator("#conversations .found")).to_be_visible()
    page.locator("#conversations li").hover()


def keys(page: Page) -> None:
    rail(page)
    button(page, "Keyboard shortcuts").click()
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def details(page: Page) -> None:
    short(page)
    button(page, "Details").click()
    expect(page.get_by_role("dialog", name="Details")).to_be_visible()


def alert(page: Page) -> None:
    send(page, "x" * 32_001)
    expect(page.get_by_role("alert")).to_contain_text("32,000 is the limit")
    message_box(page).fill("short again")


def failure(page: Page) -> None:
    send(page, "fail")
    wait_until_answered(page, 1)
    expect(page.get_by_text("The fake engine failed.").first).to_be_visible()


def versions(page: Page) -> None:
    short(page)
    button(page, "Regenerate").click()
    expect(page.locator("#chat .where")).to_have_text("2 / 2")
    expect(button(page, "Stop")).to_be_hidden()


def undo(page: Page) -> None:
    short(page)
    rail(page)
    page.get_by_role("listitem").filter(has_text="Alpha").hover()
    button(page, "Delete").click()
    expect(button(page, "Undo")).to_be_visible()


def drawer(page: Page) -> None:
    short(page)
    rail(page)


SCREENS: list[Callable[[Page], None]] = [
    first_screen, conversation, writing, model_panel, picker_open, more_settings, editing,
    export_menu, renaming, searching, keys, details, alert, failure, versions, undo, drawer,
]  # fmt: skip

CASES = [
    pytest.param(look, screen, id=f"{look}-{screen.__name__}")
    for look in LOOKS
    for screen in SCREENS
    if look == "phone" or screen is not drawer
]

# A label with its control in it is one target, and so is a line of a list. A link in a sentence is
# as high as its line (WCAG 2.5.8, "Inline").
SMALL_TARGETS = """(smallest) => {
  const all = 'a[href], button, input, select, textarea, summary, [role=option]';
  const isInline = (one) =>
    one.matches(':is(p, li) a') && getComputedStyle(one).display === 'inline';
  const small = [];
  for (const one of document.querySelectorAll(all)) {
    if (!one.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (one.disabled || isInline(one)) continue;
    const {width, height} = (one.closest('label') ?? one).getBoundingClientRect();
    if (width < smallest || height < smallest) {
      small.push(`${width} x ${height}: ${one.outerHTML.slice(0, 160)}`);
    }
  }
  return small;
}"""


def opened(page: Page, server: Server) -> Page:
    open_chat(page, server.url)
    expect(page.locator("#model-line[data-phase=ready]")).to_be_visible()
    return page


# What the page's script does five times a second is done.
NAMED = """() => [...document.querySelectorAll('#chat pre')].every(
  (code) => code.scrollWidth <= code.clientWidth || code.tabIndex === 0)"""


def violations(page: Page) -> list[str]:
    page.wait_for_function(NAMED)
    options = {
        "resultTypes": ["violations"],
        "runOnly": {"type": "tag", "values": LEVELS},
        "rules": {"target-size": {"enabled": True}},  # is left out unless it is asked for
    }
    return [
        f"{found['id']}: {node['html'][:160]} at {node['target']}\n{node['failureSummary']}"
        for found in Axe().run(page, options=options).response["violations"]
        for node in found["nodes"]
    ]


def small_targets(page: Page) -> list[str]:
    found: list[str] = page.evaluate(SMALL_TARGETS, SMALLEST_PX)
    return found


@pytest.mark.parametrize(("look", "screen"), CASES)
def test_nothing_stands_in_anybodys_way(
    server: Server,
    new_context: Callable[..., BrowserContext],
    look: str,
    screen: Callable[[Page], None],
) -> None:
    # Colours that are still fading have too little contrast.
    page = opened(new_context(reduced_motion="reduce", **LOOKS[look]).new_page(), server)
    screen(page)
    found = violations(page)
    assert not found, "\n".join(found)
    small = small_targets(page)
    assert not small, "\n".join(small)


def test_what_stands_in_the_way_is_found(server: Server, page: Page) -> None:
    opened(page, server)
    page.evaluate("""() => {
      const one = document.createElement('button');
      one.style.cssText = 'position: fixed; inset: 9px; width: 20px; height: 30px';
      document.body.append(one);
    }""")
    assert [line for line in violations(page) if line.startswith("button-name")]
    assert [line for line in small_targets(page) if line.startswith("20 x 30")]


def test_code_that_is_too_wide_is_scrolled_by_keyboard(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    page = opened(new_context(**LOOKS["phone"]).new_page(), server)
    conversation(page)
    code = answers(page).locator("pre")
    expect(code).to_have_attribute("tabindex", "0")
    code.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.activeElement.scrollLeft > 0")
