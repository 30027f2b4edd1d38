"""How messages look in a real Chatbot in a real browser, and what is copied from it."""

import json
import random
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Locator, Page, TimeoutError, expect

from chat_ui.chat.messages import Conversation, Message
from chat_ui.ui import view

pytestmark = pytest.mark.browser

SCRIPT = Path(__file__).resolve().parents[2] / "assets" / "js" / "copy.js"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TAGS = {
    "p", "span", "br", "a", "code", "pre", "em", "strong", "del", "h1", "h2", "ul", "ol", "li",
    "hr", "blockquote", "div", "table", "thead", "tbody", "tr", "th", "td", "button",
}  # fmt: skip

# Each is shown exactly as it is here: nothing in them is Markdown that would be rendered.
SHOWN_AS_TYPED = {
    "bold": "a <b>bold</b> word",
    "script": "<script>window.__pwn = 1</script>",
    "image event": "<img src=x onerror='window.__pwn = 1'>",
    "remote image": '<img src="https://evil.example/x.png">',
    "form": '<form action="https://evil.example"><input type=password><button>Go</button></form>',
    "overlay": '<div style="position:fixed;inset:0;background:red;z-index:9999">x</div>',
    "style": "<style>body { display: none }</style>",
    "style import": "<style>@import 'https://evil.example/x.css'</style>",
    "iframe": '<iframe src="https://evil.example"></iframe>',
    "svg": "<svg onload='window.__pwn = 1'><rect width=9 height=9 /></svg>",
    "refresh": '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    "base": '<base href="https://evil.example">',
    "link": '<link rel="stylesheet" href="https://evil.example/x.css">',
    "video": "<video autoplay src='https://evil.example/x.mp4'></video>",
    "object": "<object data='https://evil.example/x'></object>",
    "details": "<details open ontoggle='window.__pwn = 1'><summary>x</summary></details>",
    "split tag": "<form\naction=x\n/>",
    "split attribute": '<img\nsrc=x\nonerror="window.__pwn = 1">',
    "unfinished tag": "<img src=x onerror='window.__pwn = 1'",
    "comment": "before <!-- hidden --> after",
    "unfinished comment": "before <!-- hidden",
    "doctype": "<!DOCTYPE html>",
    "cdata": "<![CDATA[ hidden ]]>",
    "instruction": "<?php echo 1; ?>",
    "thoughts": "Tags: <think>Hm.</think>Yes.",
    "custom element": "<x-y onclick='window.__pwn = 1'>hello</x-y>",
    "closing tags": "</div></span></div></body>",
    "generics": "a List<int> and a Map<String, T>",
    "comparisons": "a < b, b <c> d, 1<2, x<=y, a <- b, i<n",
    "entities": "&lt; &amp; &copy; &#60; &#x3c; &nbsp; &notanentity; & &amp",
    "escaped markup": "&lt;script&gt;window.__pwn = 1&lt;/script&gt;",
    "entity of this app": "&#0060;b&#0062;",
    "address in a tag": "<a href='javascript:window.__pwn=1'>x</a>",
    "definition": "[Answer]: 42",
    "placeholder": "%%%LATEX_BLOCK_0%%%",
    "rewritten path": 'src="/file=x"',
    "prices": "It costs $5 or $6, and not $$ at all.",
    "nested brackets": "<<b>> <</b>> <<<script>>>",
    "emoji": "<b>👩‍👩‍👧 \u2060\u2062</b> \u200b&lt;",
    "upper case": "<IMG SRC=x ONERROR=alert(1)> <sCrIpT>alert(1)</ScRiPt>",
    "slashes": "<img/src=x/onerror=alert(1)>",
    "html in a rule": "---<form>---",
}

# And these are rendered: the text that is to be seen, and the elements that there must be.
RENDERED = {
    "javascript link": ("[click](javascript:window.__pwn=1)", "click", "p"),
    "data link": ("[click](data:text/html,<script>alert(1)</script>)", "click", "p"),
    "image": ("![a cat](https://evil.example/x.png)", "!a cat", "a[href^=https]"),
    "image by reference": (
        "![a][1]\n\n[1]: https://evil.example",
        "![a][1]\n\n[1]: https://evil.example",
        "p",
    ),
    "image in a link": ("[![a](https://evil.example/x)](https://evil.example)", "!a", "a"),
    "address": ("<https://example.org/a?b=1&c=2>", "https://example.org/a?b=1&c=2", "a"),
    "bare address": (
        "see https://example.org/a?b=1&c=2.",
        "see https://example.org/a?b=1&c=2.",
        "a",
    ),
    "html in a link": ("[<b>x</b>](https://example.org)", "<b>x</b>", "a"),
    "html in a heading": ("# <form>", "<form>", "h1"),
    "html in a list": ("- <form>\n- <b>", "<form>\n<b>", "ul > li"),
    "html in a quote": ("> <form>\n> <b>", "<form>\n<b>", "blockquote"),
    "html in bold": ("**<form>**", "<form>", "strong"),
    "html in a table": ("|<b>|b|\n|-|-|\n|<form>|`<i>`|", "<b>\tb\n<form>\t<i>", "table td code"),
    "span": ("`<form>` and `&lt;`", "<form> and &lt;", "code"),
    "wide span": ("``<form> ` &lt;``", "<form> ` &lt;", "code"),
    "lone backtick": ("a ` <form>", "a ` <form>", "p"),
    "uneven backticks": ("`` <form> `", "`` <form> `", "p"),
    "span over a blank line": ("`a\n\n<form> `", "`a\n\n<form> `", "p"),
    "fence": (
        "```\n<form> &lt; $$x$$ \\(y\\) ![a](b)\n```",
        "<form> &lt; $$x$$ \\(y\\) ![a](b)",
        "pre",
    ),
    "open fence": ("Look:\n\n```\n<form>\n\n<script>", "Look:\n\n<form>\n\n<script>", "pre"),
    "tildes": ("~~~\n<form>\n```\n~~~", "<form>\n```", "pre"),
    "long fence": ("````\n```\n<form>\n```\n````", "```\n<form>\n```", "pre"),
    "fence in a list": ("1. x\n\n   ```\n   <form>\n   ```", "x\n\n<form>", "ol li pre"),
    "fence in a quote": ("> ```\n> <form>\n> ```", "<form>", "blockquote pre"),
    "ill-indented fence": ("- ```\n  a\n<form>\n  ```\n<form>", "a\n<form>\n\n\n<form>", "ul"),
    "fence after no definition": ('[a]: b "\n```\n"\n<form>\n```', '[a]: b "\n\n"\n<form>', "pre"),
    "code by indentation": ("x\n\n    <form> &lt;", "x\n\n<form> &lt;", "pre"),
    "tabs": ("```\na:\n\t<b>\n```", "a:\n\t<b>", "pre"),
    "diagram": ("```mermaid\ngraph TD; A[<form>]-->B\n```", "graph TD; A[<form>]-->B", "pre"),
    "info": ("```<form>\nx\n```", "x", "pre"),
    "two dollars in code": ("`echo $$` and <b> `kill $$`", "echo $$ and <b> kill $$", "code"),
    "selectors": ('```js\n$$("a"); $$("<b>")\n```', '$$("a"); $$("<b>")', "pre .token"),
    "code delimiters": ("`\\(` and `\\)`", "\\( and \\)", "code"),
    "colours": (
        "```python\nif a<b and c < d: # &lt;\n```",
        "if a<b and c < d: # &lt;",
        ".token.keyword",
    ),
    "markup colours": ("```html\n<b>x</b>\n```", "<b>x</b>", ".token.tag"),
    "line breaks": ("one\ntwo\n\nthree", "one\ntwo\n\nthree", "p br"),
}

FORMULAS = {
    "dollars": "$$a<b$$",
    "brackets": r"\[ x < y \]",
    "parentheses": r"so \(a<b\) holds",
    "lines": "$$\n\\begin{matrix} a & b \\\\ c & d \\end{matrix}\n$$",
    "html": r"\(\text{<form>} <img\)",
    "quotes": r"\(\text{``a''}\)",
    "next to code": r"`\(` \(x\) `\)`",
}

LANGUAGES = [
    "bash", "c", "clike", "css", "go", "html", "java", "javascript", "js", "json", "latex",
    "markup", "php", "python", "rust", "sql", "svg", "xml", "yaml",
    "cpp", "c++", "typescript", "text", "mermaid", "constructor", "__proto__", "extend",
]  # fmt: skip
# What a text may be put together from to lead one parser of Markdown or HTML astray.
BUILDING_BLOCKS = [
    "<form>", "<img src=https://evil.example/x>", "</form>", "<style>", "<!--", "-->", "<![CDATA[",
    "<script>window.__pwn=1</script>", "<a\nhref='x'>", "![a](https://evil.example/x)", "![a][b]",
    "[b]: https://evil.example/x", "[c](<d e>)", "&lt;form&gt;", "&#60;form>", "```", "````", "~~~",
    "```mermaid\n", "`", "``", "$$", r"\[", r"\]", r"\(", r"\)", "%%%LATEX_BLOCK_0%%%", "\\", "\n",
    "\n\n", "\n- ", "\n1. ", "\n> ", "\n# ", "\n    ", "\n   ", "\n\t", "|a|b|\n|-|-|\n", "\r",
    "<", "!", "/", '"', "\u2062", "\u2028", "\0", "x", " ", "*", "_", "graph TD; A-->B\n",
]  # fmt: skip


def conversation(*texts: str, **last: Any) -> Conversation:
    """A conversation that alternates; `last` is of the last message."""
    made: list[Message] = []
    for number, text in enumerate(texts):
        message = Message(
            id=str(number),
            parent_id=str(number - 1) if number else None,
            role="assistant" if number % 2 else "user",
            content=text,
            created_at=NOW,
            **(last if number == len(texts) - 1 else {}),
        )
        made.append(message)
    return Conversation("c", "", "", NOW, NOW, head_id=made[-1].id, messages=tuple(made))


STOPPED = "Stopped. Press Continue for the rest."


class Chat:
    """A page with nothing but a Chatbot and a box that decides what it shows."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.dialogs: list[str] = []
        self.foreign: list[str] = []
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self._request(request.url))
        page.goto(url)

    def show(self, *texts: str, **last: Any) -> None:
        """Show a conversation; the browser may still be at it afterwards."""
        source = json.dumps([texts, last])
        self.page.get_by_label("Source").fill(source)
        self.page.get_by_label("Source").press("Enter")
        self.page.wait_for_function("want => window.seen === want", arg=source)

    def messages(self, role: str) -> Locator:
        """The messages of "user" or "bot"."""
        return self.page.get_by_test_id(role)

    def wait_for(self, role: str, texts: dict[str, str]) -> None:
        """Wait until the messages read so; the keys say which is which."""
        script = """([role, want]) => {
            const all = [...document.querySelectorAll(`[data-testid=${role}]`)];
            window.found = all.map((one) => one.innerText.trim());
            return JSON.stringify(window.found) === JSON.stringify(want);
        }"""
        try:
            arguments = [role, list(texts.values())]
            self.page.wait_for_function(script, arg=arguments, timeout=10_000)
        except TimeoutError:
            found = self.page.evaluate("window.found")
            assert dict(zip(texts, found, strict=True)) == texts

    def copied(self, role: str) -> list[str]:
        """Press the copy button of each message; what is on the clipboard after each."""
        script = """async (role) => {
            const copied = [];
            for (const row of document.querySelectorAll(`.message-row.${role}-row`)) {
                await navigator.clipboard.writeText("nothing");
                row.nextElementSibling.querySelector("button").click();
                do {
                    await new Promise((done) => setTimeout(done, 5));
                    copied[copied.length] = await navigator.clipboard.readText();
                } while (copied.at(-1) === "nothing" && copied.pop());
            }
            return copied;
        }"""
        texts: list[str] = self.page.evaluate(script, role)
        return texts

    def assert_harmless(self) -> None:
        """No script ran, nothing was fetched, and no element came from the text."""
        assert self.page.evaluate("typeof window.__pwn") == "undefined"
        assert self.dialogs == []
        assert self.foreign == []
        assert self.page.url.startswith(self.url)
        found = self.page.evaluate("""() => {
            const all = [...document.querySelectorAll("[data-testid=user] *, [data-testid=bot] *")];
            const ours = all.filter((one) => !one.closest(".copy_code_button, .katex"));
            return [...new Set(ours.map((one) => one.localName))];
        }""")
        assert set(found) <= TAGS
        attributes = self.page.evaluate("""() => {
            const all = [...document.querySelectorAll(".prose *")];
            const ours = all.filter((one) => !one.closest(".copy_code_button, .katex"));
            return [...new Set(ours.flatMap((one) => one.getAttributeNames()))];
        }""")
        assert set(attributes) <= {"class", "href", "target", "rel", "title", "align", "start"}

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _request(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(url)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Where the page is."""

    def show(source: str) -> tuple[list[dict[str, Any]], str]:
        texts, last = json.loads(source)
        return view.messages(conversation(*texts, **last), window=200), source

    with gr.Blocks() as demo:
        chatbot = gr.Chatbot(latex_delimiters=view.LATEX_DELIMITERS, buttons=["copy", "copy_all"])
        source = gr.Textbox(label="Source")
        seen = gr.Textbox(visible=False)
        source.submit(show, source, [chatbot, seen], queue=False).then(
            None, seen, None, js="(seen) => { window.seen = seen; }"
        )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # It asks itself whether it is up, and would ask a proxy of the environment.
    head = f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>"
    _, url, _ = demo.launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, head=head
    )
    yield url
    demo.close()


@pytest.fixture(scope="module")
def chat(browser: Any, server: str) -> Iterator[Chat]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield Chat(context.new_page(), server)
    context.close()


def test_html_is_shown_and_copied_as_typed(chat: Chat) -> None:
    chat.show(*[text for text in SHOWN_AS_TYPED.values() for _ in ("user", "bot")])
    for role in ("user", "bot"):
        chat.wait_for(role, SHOWN_AS_TYPED)
        assert chat.copied(role) == list(SHOWN_AS_TYPED.values())
    chat.assert_harmless()


def test_markdown_is_rendered(chat: Chat) -> None:
    chat.show(*[part for text, _, _ in RENDERED.values() for part in ("x", text)])
    chat.wait_for("bot", {name: seen for name, (_, seen, _) in RENDERED.items()})
    for number, (name, (_, _, css)) in enumerate(RENDERED.items()):
        expect(chat.messages("bot").nth(number).locator(css), name).not_to_have_count(0)
    assert chat.copied("bot") == [text for text, _, _ in RENDERED.values()]
    chat.assert_harmless()


def test_formulas_are_rendered(chat: Chat) -> None:
    chat.show(*[part for text in FORMULAS.values() for part in ("x", text)])
    for number, name in enumerate(FORMULAS):
        message = chat.messages("bot").nth(number)
        expect(message.locator(".katex"), name).to_have_count(1)
        expect(message.locator(".katex-error"), name).to_have_count(0)
    assert view.MARK not in chat.page.locator(".message-wrap").inner_text()
    assert chat.copied("bot") == list(FORMULAS.values())
    chat.assert_harmless()


def test_a_block_of_code_is_shown_whatever_its_language(chat: Chat) -> None:
    code = 'for (;;) { a<b && "<c>"; }'
    blocks = [f"Before\n\n```{language}\n{code}\n```" for language in LANGUAGES]
    chat.show(*[part for block in blocks for part in ("x", block)])
    chat.wait_for("bot", dict.fromkeys(LANGUAGES, f"Before\n\n{code}"))


def test_no_message_becomes_an_element_however_it_is_put_together(chat: Chat) -> None:
    pick = random.Random(6)
    for turn in range(4):
        texts = ["".join(pick.choices(BUILDING_BLOCKS, k=pick.randint(2, 14))) for _ in range(60)]
        chat.show(*texts, f"The end of turn {turn}")
        chat.page.get_by_text(f"The end of turn {turn}").wait_for()
        chat.assert_harmless()
        assert view.MARK not in chat.page.locator(".message-wrap").inner_text()
        assert chat.copied("bot") == texts[1::2]


@pytest.mark.parametrize(
    ("state", "note"),
    [
        ("stopped", STOPPED),
        ("length", "The answer reached its limit. Press Continue for the rest."),
        ("failed", "The model <b> a_b_c *d* `e` failed."),
    ],
)
def test_a_note_is_below_the_text_and_is_not_copied(chat: Chat, state: str, note: str) -> None:
    text = "One\n```\nnot closed"
    chat.show("x", text, state=state, error=note)
    chat.wait_for("bot", {"text": "One\n\nnot closed", "note": note})
    assert chat.messages("bot").last.locator("em").inner_text() == note
    assert chat.copied("bot") == [text]


def test_a_note_without_a_text_is_copied(chat: Chat) -> None:
    note = "The model <b> a_b_c *d* `e` failed."
    chat.show("x", "", state="failed", error=note)
    chat.wait_for("bot", {"note": note})
    assert chat.copied("bot") == [note]


def test_an_answer_that_has_not_begun_shows_dots(chat: Chat) -> None:
    chat.show("x", "", state="writing")
    chat.wait_for("bot", {"note": "…"})


def test_an_answer_may_grow_letter_by_letter(chat: Chat) -> None:
    text = "A <b>:\n```html\n<form>\n```\n\\(a<b\\)"
    for end in range(1, len(text) + 1):
        chat.show("x", text[:end], state="writing")
        chat.assert_harmless()
    chat.messages("bot").locator(".katex").wait_for()


def test_the_button_of_a_code_block_copies_the_code(chat: Chat) -> None:
    code = "a:\n\t<b> &lt; <c/>"
    chat.show("x", f"```\n{code}\n```")
    chat.wait_for("bot", {"code": code})
    chat.page.evaluate("navigator.clipboard.writeText('')")
    chat.messages("bot").hover()
    chat.messages("bot").locator(".copy_code_button").click()
    chat.page.wait_for_function("async () => await navigator.clipboard.readText() !== ''")
    assert chat.page.evaluate("navigator.clipboard.readText()") == code


def test_the_whole_conversation_is_copied_without_marks_and_notes(chat: Chat) -> None:
    chat.show("<a>", "<b>", "<c>", "<d>", state="stopped")
    chat.wait_for("bot", {"1": "<b>", "2": "<d>", "note": STOPPED})
    chat.page.get_by_label("Copy conversation").click()
    chat.page.wait_for_function("async () => (await navigator.clipboard.readText()).includes('d')")
    copied = chat.page.evaluate("navigator.clipboard.readText()")
    assert copied == "user: <a>\n\nassistant: <b>\n\nuser: <c>\n\nassistant: <d>"


def test_copying_works_where_there_is_no_clipboard_api(chat: Chat) -> None:
    page = chat.page.context.new_page()
    page.add_init_script("delete Navigator.prototype.clipboard")
    other = Chat(page, chat.url)
    other.show("<a>", "&lt; <b>", state="stopped")
    other.wait_for("bot", {"text": "&lt; <b>", "note": STOPPED})
    assert page.evaluate("'clipboard' in navigator") is False
    page.get_by_role("button", name="Copy message").last.click()
    page.close()
    chat.page.bring_to_front()
    assert chat.page.evaluate("navigator.clipboard.readText()") == "&lt; <b>"
