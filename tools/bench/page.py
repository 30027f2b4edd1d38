"""Measures the page in a real browser: what an update costs, and how long a conversation opens.

    python -m tools.bench.page         # and with --quick in less than a minute

No model runs: the answers are those of the tests' scripted engine, so that all of the time is the
server's, the page's and Gradio's. The histories are stored before the server starts.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from chat_ui.chat.messages import Conversation, Message, Role
from chat_ui.history.store import Store
from chat_ui.settings import read
from chat_ui.web.session import Identity, open_identity
from tools.bench import machine
from tools.bench.figures import Figure, Goal, median
from tools.bench.report import write_json
from tools.bench.samples import Samples
from tools.bench.worker import ROOT
from tools.browser import find_chromium

FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
SIZE: Final = {"width": 1280, "height": 800}
DEADLINE_MS: Final = 60_000
SHORT, LONG, LONGEST = 2, 300, 1000
# An update while an answer streams: the messages there are, and whether all of them are shown.
CASES: Final = {
    "2 messages": (SHORT, False),
    "300 messages": (LONG, False),
    "300 messages, all shown": (LONG, True),
}
ANSWER: Final = "count to 2000 at 50"
STREAM_S: Final = 6.0
GOAL_COST: Final = Goal(1.3, "<=")
GOAL_OPEN_S: Final = Goal(1.0, "<=")

# Each update of the chat calls this once.
COUNT_UPDATES: Final = """() => {
  const { messages } = window.chatUI;
  const show = (window.uncounted ??= messages.show);
  window.updates = 0;
  messages.show = (now) => { window.updates += 1; return show(now); };
}"""
# Resolves after the frame that shows the text has been painted: with the page's own clock.
PAINTED: Final = """(text) => new Promise((done, fail) => {
  setTimeout(() => fail(new Error(`not shown: ${text}`)), 60_000);
  const look = () => {
    const all = document.querySelectorAll('#chat [data-testid=bot]');
    if (!all[all.length - 1]?.textContent.includes(text)) return requestAnimationFrame(look);
    requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0));
  };
  look();
})"""
CLICK: Final = """(title) => {
  const links = [...document.querySelectorAll('#conversations a')];
  window.clickedAt = performance.now();
  links.find((link) => link.textContent === title).click();
}"""
CODE: Final = "\n\n```python\nfor number in range(10):\n    print(number, number**2)\n```\n\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print tables, write JSON where it is asked for. Goals that are missed are no error.

    Returns:
        0, or 1 where there is no browser.
    """
    args = _arguments(argv)
    chromium = find_chromium()
    if chromium is None:
        print("No Chromium. Get one with: python -m tools.browser", file=sys.stderr)
        return 1
    rounds = args.rounds or (1 if args.quick else 5)
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="chat-ui-page-") as folder:
        identity, token, titles = _store_histories(Path(folder), rounds)
        with _served(Path(folder)) as (server, url), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            for number in range(rounds):
                page = _page(browser, url, identity, token)
                for name, (messages, all_shown) in CASES.items():
                    title = titles[messages, number, all_shown]
                    _tell(f"round {number + 1}: an answer after {name}")
                    samples.add("", name, _streaming(page, server, title, all_shown))
                for messages in (SHORT, LONGEST):  # those that nothing was sent to
                    _tell(f"round {number + 1}: a conversation of {messages} messages")
                    found = _opening(page, titles[messages, number, messages == SHORT])
                    samples.add("", f"{messages} messages", found)
                page.context.close()
            browser.close()
    rows = figures(samples)
    print(as_text(samples, rows))
    if args.json is not None:
        raw = [{"case": c, "measure": m, "values": v} for (_, c, m), v in samples.values.items()]
        about = {"machine": machine.describe(), "figures": [row.as_json() for row in rows]}
        write_json(args.json, {**about, "raw": raw})
    return 0


def figures(samples: Samples) -> list[Figure]:
    """What the numbers come to, beside what is asked of them."""
    return [
        *(
            _ratio(samples, f"{what} per update, {case} / 2 messages", case, measure, goal)
            for case, goal in (("300 messages", GOAL_COST), ("300 messages, all shown", None))
            for what, measure in (("server", "server_ms"), ("browser", "browser_ms"))
        ),
        _seconds(samples, "open 1,000 messages (s)", "open_s", GOAL_OPEN_S),
        _seconds(samples, "reload 1,000 messages (s)", "reload_s", None),
        _ratio(samples, "reload, 1,000 / 2 messages", "1000 messages", "reload_s", None),
    ]


def as_text(samples: Samples, rows: Sequence[Figure]) -> str:
    """The tables that a person reads."""
    lines = []
    for (_, case, measure), values in samples.values.items():
        lines.append(f"{case:28}{measure:16}{statistics.median(values):10.3f} (of {len(values)})")
    lines += ["", f"{'figure':56}{'value':>9}  {'goal':9}holds"]
    for row in rows:
        value = "-" if row.ratio is None else f"{row.ratio:.3f}"
        goal = "" if row.goal is None else str(row.goal)
        verdict = {True: "yes", False: "NO", None: row.reason}[row.holds]
        lines.append(f"{row.name:56}{value:>9}  {goal:9}{verdict}".rstrip())
    return "\n".join(lines)


def history(count: int, title: str, last: str) -> Conversation:
    """A conversation of this many messages, whose last one has the text `last` in it."""
    now = datetime.now(UTC)
    messages: list[Message] = []
    for number in range(count):
        role: Role = "assistant" if number % 2 else "user"
        text = f"Question {number}: what is it about?"
        if role == "assistant":
            code = CODE if number % 3 == 0 else ""
            text = f"It is **{number}**, and {'a few more words ' * 20}.{code}"
        text += f" {last}" if number == count - 1 else ""
        messages.append(
            Message(f"m{number}", f"m{number - 1}" if number else None, role, text, now)
        )
    return Conversation("c", title, "", now, now, messages[-1].id, tuple(messages))


def _store_histories(
    data_dir: Path, rounds: int
) -> tuple[Identity, str, dict[tuple[int, int, bool], str]]:
    """Everything that is opened; the title of each by messages, round and whether all are shown."""
    settings = read(["--data-dir", str(data_dir)])
    identity = open_identity(settings.data_dir)
    token = identity.mint()
    owner = identity.owner(token)
    assert owner is not None
    titles = {
        (messages, number, all_shown): f"{messages} of {number}{' all' if all_shown else ''}"
        for number in range(rounds)
        for messages in (SHORT, LONG, LONGEST)
        for all_shown in (False, True)
    }
    store = Store.open(settings.data_dir)
    store.list.add(owner, [history(key[0], title, _mark(title)) for key, title in titles.items()])
    store.close()
    return identity, token, titles


def _mark(title: str) -> str:
    return f"The end of {title.replace(' ', '-')}."


@contextmanager
def _served(data_dir: Path) -> Iterator[tuple[psutil.Process, str]]:
    command = [sys.executable, "-m", "tests.e2e.serve", "--port", "0", "--data-dir", str(data_dir)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if " is at http" in line:
                yield psutil.Process(server.pid), line.split(" is at ")[1].strip().rstrip("/")
                return
        raise RuntimeError("the server did not start")
    finally:
        server.terminate()
        server.wait(timeout=30)


def _page(browser: Browser, url: str, identity: Identity, token: str) -> Page:
    context = browser.new_context(viewport=SIZE)  # type: ignore[arg-type]
    context.add_cookies([{"name": identity.cookie_name, "value": token, "url": url}])
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#model-line[data-phase=ready]")
    return page


def _open(page: Page, title: str) -> float:
    """Open a conversation of the list; the seconds from the click until its end was painted."""
    page.get_by_role("link", name=title, exact=True).wait_for()
    page.evaluate(CLICK, title)
    painted: float = page.evaluate(PAINTED, _mark(title))
    return (painted - float(page.evaluate("window.clickedAt"))) / 1000


def _streaming(page: Page, server: psutil.Process, title: str, all_shown: bool) -> dict[str, float]:
    """What an update of a growing answer costs, in milliseconds of each."""
    _open(page, title)
    earlier = page.get_by_role("button", name="Show earlier messages")
    while all_shown and earlier.is_visible():
        before = page.locator("#chat .message-row").count()
        earlier.click()
        page.wait_for_function(
            "(n) => document.querySelectorAll('#chat .message-row').length > n", arg=before
        )
        page.wait_for_timeout(300)
    page.evaluate(COUNT_UPDATES)
    page.get_by_role("textbox", name="Message", exact=True).fill(ANSWER)
    page.keyboard.press("Enter")
    page.evaluate(PAINTED, "w20 ")
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable")
    before_it = _costs(page, server, cdp)
    time.sleep(STREAM_S)
    after = _costs(page, server, cdp)
    page.evaluate("document.getElementById('stop').click()")
    page.wait_for_selector("html:not([data-busy])")
    cdp.detach()
    updates = after["updates"] - before_it["updates"]
    return {
        "updates": updates,
        "server_ms": 1000 * (after["server_s"] - before_it["server_s"]) / updates,
        "browser_ms": 1000 * (after["browser_s"] - before_it["browser_s"]) / updates,
    }


def _costs(page: Page, server: psutil.Process, cdp: Any) -> dict[str, float]:
    metrics = {one["name"]: one["value"] for one in cdp.send("Performance.getMetrics")["metrics"]}
    spent = server.cpu_times()
    return {
        "updates": float(page.evaluate("window.updates")),
        "server_s": spent.user + spent.system,
        "browser_s": float(metrics["TaskDuration"]),
    }


def _opening(page: Page, title: str) -> dict[str, float]:
    """How long a conversation takes to open, from the first screen and by a reload, in seconds."""
    page.get_by_role("button", name="New chat", exact=True).click()
    page.wait_for_selector("html[data-empty]")
    opened = _open(page, title)
    page.wait_for_timeout(500)
    page.reload(wait_until="commit")
    page.wait_for_function("() => document.querySelector('#chat')")
    return {"open_s": opened, "reload_s": float(page.evaluate(PAINTED, _mark(title))) / 1000}


def _ratio(samples: Samples, name: str, case: str, measure: str, goal: Goal | None) -> Figure:
    least = median(samples, ("", "2 messages", measure))
    value = median(samples, ("", case, measure))
    if not least or value is None:
        return Figure(name, None, goal, "not measured")
    return Figure(name, value / least, goal)


def _seconds(samples: Samples, name: str, measure: str, goal: Goal | None) -> Figure:
    value = median(samples, ("", f"{LONGEST} messages", measure))
    return Figure(name, value, goal, "" if value is not None else "not measured")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.page", description="Measure the page in a real browser."
    )
    parser.add_argument("--quick", action="store_true", help="everything once")
    parser.add_argument("--rounds", type=int, metavar="N", help="repeats of everything (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there")
    return parser.parse_args(argv)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
