"""Each door in a browser: the page is whole under its policy, and hostile text stays text."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from chat_ui.limits import DOORS, Door
from tests.e2e.chat import answers, button, open_chat, questions, send, wait_until_answered
from tests.e2e.conftest import Serve
from tests.e2e.test_rendering import FORMULAS, RENDERED, SHOWN_AS_TYPED, TAGS

pytestmark = pytest.mark.browser

FLAGS: dict[Door, list[str]] = {
    "local": [],
    "space": ["--door", "space"],
    "share": ["--door", "share", "--public"],
}
WATCH = """() => {
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`));
}"""
RICH = f"""Look:

```python
print("hello")
```

| a | b |
|---|---|
| 1 | 2 |

{FORMULAS["dollars"]} and **bold**, see https://example.org."""
# Together in few messages, so that each takes its way through the whole app: as the person's, at
# once, and as the model's, piece by piece.
MORE = [
    "[x](JaVaScRiPt:window.__pwn=1)",
    "[x](java\tscript:window.__pwn=1)",
    "[x](vbscript:x)",
    "[x](&#106;avascript:window.__pwn=1)",
    "[x](//evil.example)",
    "![x](//evil.example/x.png)",
    '![x](data:image/svg+xml,<svg onload="window.__pwn=1">)',
    "[x]: javascript:window.__pwn=1\n\n[x]",
    "<javascript:window.__pwn=1>",
    "$$\\href{javascript:window.__pwn=1}{x}$$",
    "$$\\includegraphics{https://evil.example/x.png}$$",
    "$$\\htmlData{x=1}{y}$$",
    '```mermaid\ngraph TD; A-->B; click A "javascript:window.__pwn=1"\n```',
    "```mermaid\n%%{init: {'securityLevel':'loose'}}%%\ngraph TD; A[<img src=x>]\n```",
    "```html\n<script>window.__pwn=1</script>\n```",
    "<math><mi xlink:href=javascript:__pwn=1>x</mi></math>",
    "<noscript><p title='</noscript><img src=x onerror=window.__pwn=1>'>",
    "<svg><style><img src=x onerror=window.__pwn=1></style></svg>",
]
HOSTILE = [
    *SHOWN_AS_TYPED.values(),
    *(text for text, _, _ in RENDERED.values() if "`" not in text),
    *MORE,
]
AT_ONCE = 12


class Watched:
    """A page that notes what it fetches from elsewhere, dialogs, errors and violations."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.foreign: list[str] = []
        self.said: list[str] = []
        page.add_init_script(f"({WATCH})()")
        page.on("request", lambda request: self._request(request.url))
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def assert_quiet(self) -> None:
        """Nothing was fetched from elsewhere, tried against the policy, said or run."""
        assert self.foreign == []
        assert self.page.evaluate("window.violations") == []
        assert self.said == []
        assert self.page.evaluate("typeof window.__pwn") == "undefined"
        assert self.page.url.startswith(self.url)

    def _request(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(url)

    def _dialog(self, dialog: Any) -> None:
        self.said.append(dialog.message)
        dialog.dismiss()


@pytest.mark.parametrize("door", DOORS)
def test_a_full_chat_breaks_nothing_of_the_policy(
    serve: Serve, new_context: Callable[..., BrowserContext], door: Door
) -> None:
    server = serve(*FLAGS[door])
    page = new_context().new_page()
    watched = Watched(page, server.url)
    open_chat(page, server.url)
    send(page, f"slowly: {RICH}")
    wait_until_answered(page, 1)
    answer = answers(page).last
    for part in (".token.keyword, .token.builtin", "table td", ".katex", "strong", "a"):
        expect(answer.locator(part).first).to_be_visible()
    for name in ("Dark", "Light"):
        page.get_by_role("radio", name=name, exact=True).check()
    page.reload()
    expect(answers(page).last.locator(".katex").first).to_be_visible()
    button(page, "New chat").click()
    expect(questions(page)).to_have_count(0)
    watched.assert_quiet()


@pytest.mark.parametrize("door", ["space", "share"])  # at the local one: test_rendering.py
def test_what_a_model_writes_stays_text(serve: Serve, page: Page, door: Door) -> None:
    assert len(HOSTILE) >= 60
    server = serve(*FLAGS[door], "--max-turns-per-minute-per-visitor", "0")
    watched = Watched(page, server.url)
    open_chat(page, server.url)
    for number, start in enumerate(range(0, len(HOSTILE), AT_ONCE)):
        texts = HOSTILE[start : start + AT_ONCE]
        send(page, "slowly: " + "\n\n".join(texts))
        expect(questions(page)).to_have_count(number + 1)
        wait_until_answered(page, number + 1)
        watched.assert_quiet()
    found = page.evaluate("""() => {
      const all = [...document.querySelectorAll("[data-testid=user] *, [data-testid=bot] *")];
      const ours = all.filter((one) => !one.closest(".copy_code_button, .katex"));
      return [...new Set(ours.map((one) => one.localName))];
    }""")
    assert set(found) <= TAGS
    beyond = page.evaluate("""() => [...document.querySelectorAll(".message *")].filter((one) => {
      const row = one.closest(".message-row").getBoundingClientRect();
      const box = one.getBoundingClientRect();
      return getComputedStyle(one).position === "fixed" || box.top < row.top - 50;
    }).length""")
    assert beyond == 0


def test_the_policy_holds_even_where_markup_gets_through(serve: Serve, page: Page) -> None:
    server = serve()
    watched = Watched(page, server.url)
    open_chat(page, server.url)
    page.evaluate(
        """(html) => document.querySelector("#main").insertAdjacentHTML("beforeend", html)""",
        "<div id=hostile>"
        "<img src=https://evil.example/x.png>"
        "<iframe src=https://evil.example></iframe>"
        "<video src=https://evil.example/x.mp4 autoplay></video>"
        "<link rel=stylesheet href=https://evil.example/x.css>"
        "<form action=https://evil.example><button>Go</button></form></div>",
    )
    page.locator("#hostile form").evaluate("(form) => form.submit()")
    tried = """() => ["img-src", "frame-src", "media-src", "style-src-elem", "form-action"].every(
      (name) => window.violations.some((line) => line.startsWith(name)))"""
    page.wait_for_function(tried)
    assert page.url.startswith(server.url)
    assert watched.said == []


def test_without_its_cookie_the_page_chats_and_says_that_nothing_is_kept(
    serve: Serve, page: Page
) -> None:
    def without_cookie(route: Route) -> None:
        answer = httpx.get(route.request.url)  # not route.fetch(), which keeps the cookie
        headers = {"content-type": answer.headers["content-type"]}
        route.fulfill(body=answer.text, headers=headers)

    server = serve("--door", "space")
    page.route(f"{server.url}/", without_cookie)
    watched = Watched(page, server.url)
    open_chat(page, server.url)
    expect(page.get_by_text("your conversations end with this page")).to_be_visible()
    send(page, "Alpha")
    assert "You said: Alpha" in wait_until_answered(page, 1)
    send(page, "Beta")
    assert "You said: Beta" in wait_until_answered(page, 2)
    expect(page.get_by_role("navigation").get_by_role("link", name="Alpha")).to_be_visible()
    assert page.context.cookies() == []
    watched.assert_quiet()


def test_with_its_cookie_nothing_is_said_of_it(serve: Serve, page: Page) -> None:
    server = serve("--door", "space")
    open_chat(page, server.url)
    send(page, "Alpha")
    wait_until_answered(page, 1)
    (cookie,) = page.context.cookies()
    assert cookie["secure"]
    assert cookie["httpOnly"]
    button(page, "New chat").click()
    expect(questions(page)).to_have_count(0)
    expect(page.get_by_text("your conversations end with this page")).to_be_hidden()
