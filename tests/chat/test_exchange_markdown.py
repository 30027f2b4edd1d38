"""Markdown that stays in its place, and names that every system takes."""

import re
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from chat_ui.chat.markdown_export import MAX_NAME_CHARS, file_name, markdown_name, to_markdown
from chat_ui.chat.messages import Conversation, Message, Numbers

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def message(id_, parent_id=None, role="user", content="text", **given_):
    return Message(id_, parent_id, role, content, NOW, **given_)


def conversation(*messages, title="Title", system_prompt=""):
    head_id = messages[-1].id if messages else None
    return Conversation("c", title, system_prompt, NOW, NOW, head_id, messages)


def test_the_shown_path_is_written():
    shown = conversation(
        message("q1", content="Where to?"),
        message("a1", "q1", "assistant", "Not shown."),
        message("a2", "q1", "assistant", "  Rome.\n", numbers=Numbers(model="Llama\n3")),
        message("q2", "a2", content="# When?"),
        message("a3", "q2", "assistant", "In M", state="stopped"),
        title="A\n## trip ",
        system_prompt="Be brief.\n\nBe kind.",
    )
    assert to_markdown(shown) == (
        "# A ## trip\n\n> Be brief.\n> \n> Be kind.\n\n## You\n\nWhere to?\n\n"
        "## Llama 3\n\n  Rome.\n\n\n## You\n\n# When?\n\n"
        "## Assistant\n\nIn M\n\n*The answer was stopped.*\n"
    )


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("length", "*The answer reached the limit of new tokens.*"),
        ("interrupted", "*The answer was interrupted.*"),
        ("writing", "*The answer was still being written.*"),
        ("failed", "*The answer failed.* Out of memory."),
    ],
)
def test_how_an_answer_ended(state, line):
    error = "Out of\nmemory." if state == "failed" else None
    for content in ("", "text"):
        answer = message("a", None, "assistant", content, state=state, error=error)
        assert to_markdown(conversation(answer)).splitlines()[-1] == line
    assert "*" not in to_markdown(conversation(message("a", None, "assistant")))


def test_an_empty_conversation_has_a_title():
    assert to_markdown(conversation(title=" \n")) == "# Conversation\n"


def test_lone_surrogates_do_not_break_the_file():
    broken = conversation(message("q", content="a\ud800"), title="\udfff", system_prompt="\ud801")
    assert to_markdown(broken).encode().count("\ufffd".encode()) == 3


def ends_in_its_place(content):
    """Whether what follows a message is seen as what it is, and the text is as it was."""
    text = to_markdown(
        conversation(message("a", content=content), message("b", "a", "assistant", "END"))
    )
    tokens = MarkdownIt("commonmark").parse(text)[-6:]
    return content in text and [(t.type, t.level, t.content) for t in tokens] == [
        ("heading_open", 0, ""),
        ("inline", 1, "Assistant"),
        ("heading_close", 0, ""),
        ("paragraph_open", 0, ""),
        ("inline", 1, "END"),
        ("paragraph_close", 0, ""),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "```python\nprint(1)", "```\n````", "````\n```", "~~~\n```", "  ```\ncode", "```a`b",
        "    ```\n    code", "```\ncode\n```", "```\ncode\n``` no end", "text\n```js\nx\r\ny",
        "1. one\n   ```sh\n   ls", "1. one\n   ```sh\n   ls\n\nleft", "- ```\n  code\n  ```",
        "- ```\n  code", "- a\n  - b\n    ```\n    c", "10. ten\n\n    ~~~\n    c",
        "- a\n  - b\n    ```\n    c\n\n  back\n\n  ```", "> ```\n> code", "\t```\n",
        "- a\n\n\t```\n", "```\n```\t", "-     ```\n  ~~~\n  x\nleft",
        "lazy\n- a\nb\n  ```\n  c", "-     ```\n", "a\n===", "| a |\n|---|",
        "text\n2. ```", "1. a\n2. ```", "-\n  ```\nleft", "- - -\n  ```\nleft", "***", "[a]: <",
        "<!-- left", "<!-- a -->", "<script>\nx", "<pre>\n\n</pre>", "<STYLE\n", "<textarea>",
        "<?php", "<!DOCTYPE", "<![CDATA[ x", "- <!-- a", "text <!-- in a line", "`open",
        "<div>\n\n```", "<div>\n```\n", "<b>\n~~~\n", "<div>\n- a\n\n  ```\nleft",
        "<div>\n<!-- x\n",
    ],
)  # fmt: skip
def test_nothing_of_a_message_breaks_out(content):
    assert ends_in_its_place(content)


def test_what_was_cut_off_in_a_block_of_code_gets_only_its_end():
    answer = message("a", None, "assistant", "1. Do:\n   ```sh\n   ls", state="length")
    assert "\n   ```sh\n   ls\n   ```\n\n*The" in to_markdown(conversation(answer))
    whole = message("a", None, "assistant", "1. Do:\n   ```sh\n   ls\n   ```\n2. Look.")
    assert to_markdown(conversation(whole)).endswith("2. Look.\n")


PIECES = [
    "```", "````py", "~~~", "```` ", "text", "", "  ", "    ", "- ", "1. ", "10) ", "> ", "<!-- ",
    "-->", "<pre>", "</pre>", "<?", "?>", "`", "\\", "#", "\t", "<div>",
]  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=3).map("".join), max_size=6))
def test_no_mixture_of_blocks_breaks_out(lines):
    assert ends_in_its_place("\n".join(lines))


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Trip to Rome", "Trip to Rome.md"),
        ("Größe: 5/6?", "Größe 5 6.md"),
        ("../../etc/passwd", "etc passwd.md"),
        ("C:\\con", "C con.md"),
        ("con", "Conversation con.md"),
        ("NUL.tar", "Conversation NUL.tar.md"),
        ("Com¹", "Conversation Com¹.md"),
        ("LPT5 .x", "Conversation LPT5 .x.md"),
        ("console", "console.md"),
        (".hidden", "hidden.md"),
        ("-rf", "rf.md"),
        ("end. . ", "end.md"),
        ("a\x00b\nc\u202ed\ud800", "a b c d.md"),
        ("", "Conversation.md"),
        ("...", "Conversation.md"),
        ("x" * 100, "x" * 57 + ".md"),
        ("x" * 56 + ". more", "x" * 56 + ".md"),
    ],
)
def test_names(title, name):
    assert file_name(title, ".md") == name
    assert markdown_name(conversation(title=title)) == name


DEVICE = re.compile(r"(CON|PRN|AUX|NUL|COM\d|LPT\d)(\..*)?", re.IGNORECASE)


@given(
    st.text(max_size=80)
    | st.text("conauxlpt1 ./\\-\u202e\ud800\x00", max_size=80)
    | st.sampled_from(["con", "Aux.", " prn", "./nul"]),
    st.sampled_from([".md", ".json"]),
)
def test_any_title_makes_a_name(title, suffix):
    name = file_name(title, suffix)
    assert len(suffix) < len(name) <= MAX_NAME_CHARS
    assert name.endswith(suffix)
    assert not set(name) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(char)[0] == "C" for char in name)
    assert name[0] not in ".- "
    assert name.removesuffix(suffix)[-1] not in ". "
    assert not DEVICE.fullmatch(name)
    name.encode()
