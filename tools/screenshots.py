"""Take the screenshots of the documentation: ``python -m tools.screenshots``.

Starts the app with the built-in model and an empty data folder, uses it in a
browser as a person would, and writes assets/screenshots/*.png.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tools.browser import find_chromium

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "assets" / "screenshots"
MAX_BYTES = 300_000
WIDE = (1280, 800)
PHONE = (390, 844)
# Root, as in a container, may not use Chromium's sandbox; only our own page is opened.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
READY_MS = 120_000
QUESTIONS = ("What can you help me with?", "What does the temperature change?")
# Its answers hold a table, code and a formula.
RICH = (
    "Compare the precisions in a table.",
    "Show me some code.",
    "What is the formula for the decoding speed?",
)


def main() -> int:
    """Write all screenshots; the exit code says whether that worked."""
    chromium = find_chromium()
    if chromium is None:
        print("No Chromium. Get one with: python -m tools.browser", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        take_all(browser, url)
        browser.close()
    return 0


def take_all(browser: Browser, url: str) -> None:
    """Every screenshot, each from a visitor of its own."""
    page = opened(browser, url, WIDE)
    take(page, "first")
    for number, question in enumerate(RICH, start=1):
        ask(page, question, number)
    page.get_by_role("button", name="Regenerate").click()
    page.wait_for_selector("#chat .versions", timeout=READY_MS)
    take(page, "conversation")
    page = opened(browser, url, WIDE)
    choose(page, "Qwen3-4B")
    take(page, "model")
    page = opened(browser, url, WIDE, dark=True)
    ask(page, RICH[1], 1)
    take(page, "dark")
    page = opened(browser, url, PHONE)
    ask(page, QUESTIONS[1], 1)
    take(page, "phone")


@contextmanager
def served() -> Iterator[str]:
    """The app, running with an empty data folder; its address."""
    with tempfile.TemporaryDirectory() as data_dir:
        # This machine is measured first, without a browser that takes its cores.
        measure = [sys.executable, "-m", "chat_ui", "forecast", "Qwen/Qwen3-0.6B"]
        environ = {**os.environ, "CHAT_UI_DATA_DIR": data_dir}
        subprocess.run(measure, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, check=True)
        command = [sys.executable, "app.py", "--port", "0", "--data-dir", data_dir]
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            first_line = server.stdout.readline()
            if "http" not in first_line:
                raise RuntimeError(f"the app did not start: {first_line}")
            yield first_line.split()[-1]
        finally:
            server.terminate()
            server.wait(timeout=30)


def opened(browser: Browser, url: str, size: tuple[int, int], *, dark: bool = False) -> Page:
    """The page of a new visitor, with the model loaded."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#model-line[data-phase=ready]")).to_be_visible(timeout=READY_MS)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page


def ask(page: Page, question: str, number: int) -> None:
    """Send a message and wait for the end of its answer."""
    page.get_by_role("textbox", name="Message").fill(question)
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("bot")).to_have_count(number, timeout=READY_MS)
    expect(page.get_by_role("status", name="Answer")).to_contain_text("tokens/s", timeout=READY_MS)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden(timeout=READY_MS)


def choose(page: Page, model: str) -> None:
    """Look at a model of the catalogue, once this machine's speeds are measured."""
    page.get_by_role("combobox", name="Model").fill(model)
    page.keyboard.press("Enter")
    row = page.get_by_role("radio", name="4-bit", exact=True)
    expect(page.locator("#panels")).to_contain_text("4,022,468,096", timeout=READY_MS)
    row.scroll_into_view_if_needed()


def take(page: Page, name: str) -> None:
    """Write one screenshot."""
    page.wait_for_timeout(800)  # transitions, fonts, and the list of conversations
    file = FOLDER / f"{name}.png"
    page.screenshot(path=file, animations="disabled", caret="hide")
    size = file.stat().st_size
    print(f"{file.relative_to(ROOT)}: {size / 1000:.0f} kB")
    if size > MAX_BYTES:
        raise RuntimeError(f"{file.name} is too large: {size} bytes")


if __name__ == "__main__":
    sys.exit(main())
