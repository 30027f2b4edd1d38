"""Texts of every kind look right: long lines, wide tables, much code, all scripts; 360 px too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.chat import answers, button, open_chat

CODE = "def f(x):\n    return " + " + ".join(f"x_{number}" for number in range(80))
TABLE = "\n".join(
    [
        "| " + " | ".join(f"column_number_{number}" for number in range(14)) + " |",
        "|" + "---|" * 14,
        *("| " + " | ".join(str(row * number) for number in range(14)) + " |" for row in range(40)),
    ]
)
LINES = "\n".join(f"value_{number} = compute({number}, 'a text')" for number in range(800))
ARABIC = "مرحبا بالعالم، هذا نص طويل بما يكفي."
ENGLISH = "This is a paragraph from left to right."
CJK = "你好。世界。" * 30
EMOJI = "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 é"
ANSWERS = (
    f"```python\n{CODE}\n```",
    TABLE,
    f"```python\n{LINES}\n```",
    f"{ARABIC}\n\n{ENGLISH}\n\n- {ARABIC}",
    f"{CJK}\n\n{EMOJI}\n\n{'long' * 200}",
    "$$\\sum_{i=1}^{n} " + " + ".join(f"x_{{{number}}}" for number in range(60)) + "$$",
)


def exported(folder: Path) -> Path:
    """A file with one conversation that has these answers."""
    messages: list[dict[str, Any]] = []
    for number, answer in enumerate(ANSWERS):
        for role, text in (("user", f"Question {number}"), ("assistant", answer)):
            parent = messages[-1]["id"] if messages else None
            messages.append(
                {"id": f"m{len(messages)}", "parent_id": parent, "role": role, "content": text}
            )
    conversation = {"title": ARABIC, "head_id": messages[-1]["id"], "messages": messages}
    path = folder / "texts.json"
    document = {"format": "chat_ui", "version": 1, "conversations": [conversation]}
    path.write_text(json.dumps(document), "utf-8")
    return path


@pytest.mark.parametrize(
    ("width", "height", "scheme"), [(1280, 800, "light"), (390, 844, "dark"), (360, 740, "light")]
)
def test_texts_of_every_kind_stay_in_their_place(
    new_context: Callable[..., BrowserContext],
    server: Any,
    tmp_path: Path,
    width: int,
    height: int,
    scheme: str,
) -> None:
    viewport = {"width": width, "height": height}
    page = new_context(viewport=viewport, color_scheme=scheme).new_page()
    open_chat(page, server.url)
    page.locator("#import-file").set_input_files(exported(tmp_path))
    expect(answers(page)).to_have_count(len(ANSWERS))
    expect(page.locator("#chat .katex").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    log = page.locator("#chat [role=log]")
    assert log.evaluate("log => log.scrollWidth - log.clientWidth") <= 0
    assert scrolls(page, 0, "pre") or scrolls(page, 0, "pre code"), "a long line scrolls by itself"
    assert scrolls(page, 1, "table"), "a wide table scrolls by itself"
    # Each paragraph begins at its script's own side.
    arabic, english = (answers(page).nth(3).locator("p").nth(number) for number in (0, 1))
    assert side(arabic) == "right"
    assert side(english) == "left"


def scrolls(page: Page, number: int, selector: str) -> bool:
    found = answers(page).nth(number).locator(selector).first
    return bool(found.evaluate("one => one.scrollWidth > one.clientWidth + 4"))


def side(paragraph: Any) -> str:
    """At which side of its box a short paragraph's text stands."""
    left, right = paragraph.evaluate(
        """one => {
          const range = document.createRange();
          range.selectNodeContents(one);
          const text = range.getClientRects()[0], box = one.getBoundingClientRect();
          return [text.left - box.left, box.right - text.right];
        }"""
    )
    return "left" if left < right else "right"


def test_thirty_kilobytes_of_code_are_copied_whole(new_context, server, tmp_path) -> None:
    context = new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    open_chat(page, server.url)
    page.locator("#import-file").set_input_files(exported(tmp_path))
    expect(answers(page)).to_have_count(len(ANSWERS))
    block = answers(page).nth(2)
    block.hover()
    block.get_by_role("button", name="Copy").first.click()
    page.wait_for_function("async () => (await navigator.clipboard.readText()).length > 30000")
    assert page.evaluate("navigator.clipboard.readText()").rstrip() == LINES
    expect(button(page, "Stop")).to_be_hidden()
