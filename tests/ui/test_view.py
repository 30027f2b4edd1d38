"""What the Chatbot is given. How it looks in a browser is tested in tests/e2e/test_rendering.py."""

import gc
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Conversation, Message, MessageState, Numbers
from chat_ui.chat.recipe import Recipe
from chat_ui.ui import view
from chat_ui.ui.view import LATEX_DELIMITERS, MARK, escape, original

NOW = datetime(2026, 1, 1, tzinfo=UTC)

# Said another way than the module does: what the HTML standard lets a browser read as markup.
MARKUP = re.compile(r"<(?!https?:)(?:[A-Za-z!?]|/[A-Za-z])|&(?:#[0-9xX][0-9a-fA-F]*|[A-Za-z0-9]+);")

PIECES = [
    "<b", "</b>", "<!--", "<?", "<https://x>", "&lt;", "&#60;", "![", "[a]: b", "[", "]:", "```",
    "~~~", "```mermaid", "```cpp", "`", "``", "$$", "\\(", "\\)", "\\[", "\\]", "\\", "\n", "\r\n",
    "\t", "    ", "- ", "> ", MARK, "\u2062", "\u2063", "%%%LATEX_BLOCK_0%%%", "x", " ",
    'src="/file', "1. ", "|", "é", "\0",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4)).map("".join)


def message(content: str, state: MessageState = "complete", error: str | None = None) -> Message:
    """A message that has no place in a conversation yet."""
    return Message("", None, "user", content, NOW, state, error)


def conversation(*made: Message) -> Conversation:
    """A conversation of these messages, the person's first."""
    path = [
        replace(
            one,
            id=str(number),
            parent_id=str(number - 1) if number else None,
            role="assistant" if number % 2 else "user",
        )
        for number, one in enumerate(made)
    ]
    head = path[-1].id if path else None
    return Conversation("c", "", "", NOW, NOW, head_id=head, messages=tuple(path))


def marked(text: str) -> str:
    """With a visible mark."""
    return escape(text).replace(MARK, "·")


@given(texts)
def test_the_original_comes_back(text: str) -> None:
    assert original(escape(text)) == text


@given(texts)
def test_nothing_that_could_be_markup_is_left(text: str) -> None:
    shown = escape(text)
    assert not MARKUP.search(shown)
    assert "![" not in shown
    assert "```mermaid" not in shown


@given(texts)
def test_only_marks_are_added(text: str) -> None:
    hidden = str.maketrans("", "", MARK + "\u2062")
    assert escape(text).translate(hidden) == text.translate(hidden)


@given(texts)
def test_delimiters_of_formulas_come_in_pairs(text: str) -> None:
    rest = escape(text)
    for pair in LATEX_DELIMITERS:
        left, right = str(pair["left"]), str(pair["right"])
        # As Gradio takes them out, one kind after the other.
        rest = re.sub(f"{re.escape(left)}(.+?){re.escape(right)}", "", rest, flags=re.DOTALL)
        assert left not in rest
        assert right not in rest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain *text*, a < b, 1<2, x <- y", "plain *text*, a < b, 1<2, x <- y"),
        ("> quote\n- item\n# head\n| a |", "> quote\n- item\n# head\n| a |"),
        ("<b>x</b>", "<·b>x</·b>"),
        ("<!-- --> <?x", "<·!-- --> <·?x"),
        ("<https://x.org/?a=1&b=2>", "<https://x.org/?a=1&b=2>"),
        ("<httpx>", "<·httpx>"),
        ("&lt; & &copy &#x3c;", "&·lt; & &copy &·#x3c;"),
        ("![a](b)", "!·[a](b)"),
        ("[a]: b", "·[a]: b"),
        ("x\n  > - [a\nb]: c", "x\n  > - ·[a\nb]: c"),
        ("for x in a[1]: pass", "for x in a[1]: pass"),
        ("```mermaid", "```·mermaid"),
        ("```` cpp", "````· cpp"),
        ("~~~__proto__ x", "~~~·__proto__ x"),
        ("```\\_\\_proto__", "```·\\_\\_proto__"),
        ("```\xa0\tcpp", "```·\xa0\tcpp"),
        ("```$$x$$```", "```$$x$$```"),
        ("```\u2062x", "```\u2062x"),
        ("```python x", "```python x"),
        ("``` json\n```", "``` json\n```"),
        ("%%%LATEX_BLOCK_1%%%", "%%%·LATEX_BLOCK_1%%%"),
        ('src="/file=a"', 'src="·/file=a"'),
    ],
)
def test_the_spots_that_are_marked(text: str, expected: str) -> None:
    assert marked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$$a$$", "·$$a·$$"),
        (r"\(a\) \[b\]", r"·\(a·\) ·\[b·\]"),
        ("$$\na\n$$", "·$$\na\n·$$"),
        (r"$$a \\[2ex] \(b$$", r"·$$a \\[2ex] \(b·$$"),
        (r"\(\text{``a''}\)", r"·\(\text{``a''}·\)"),
        ("- $$a$$", "- ·$$a·$$"),
        # no formula: alone, empty, escaped, over a blank line, in code
        ("$$a", "$$a"),
        (r"\( \) $$ $$", r"\( \) $$ $$"),
        (r"\\(a\\)", r"\\(a\\)"),
        ("$$a\n\nb$$", "$$a\n\nb$$"),
        ("`$$a$$`", "`$$a$$`"),
        ("``$$`a$$``", "``$$`a$$``"),
        ("$$ or `$$`", "$$ or `$$`"),
        ("```\n$$a$$\n```", "```\n$$a$$\n```"),
        ("~~~\n```\n$$a$$", "~~~\n```\n$$a$$"),
        ("````\n```\n$$a$$\n````\n$$b$$", "````\n```\n$$a$$\n````\n·$$b·$$"),
        ("1. - ```\n     $$a$$\n     ```\n$$b$$", "1. - ```\n     $$a$$\n     ```\n·$$b·$$"),
        ("> ```\n> $$a$$\n> ```\n\n$$b$$", "> ```\n> $$a$$\n> ```\n\n·$$b·$$"),
        # a backtick that opens no code
        ("` $$a$$", "` ·$$a·$$"),
        ("`` ` $$a$$", "`` ` ·$$a·$$"),
        (r"\`$$a$$", r"\`·$$a·$$"),
        (r"\``$$a$$", r"\``·$$a·$$"),
        ("`a\n\n$$b$$ `", "`a\n\n·$$b·$$ `"),
        ("```a``` $$b$$", "```·a``` ·$$b·$$"),
    ],
)
def test_formulas_are_found_outside_code(text: str, expected: str) -> None:
    assert marked(text) == expected


def test_leading_tabs_of_code_are_kept_from_marked() -> None:
    assert marked("```\n\ta\n  \tb\n```\n\tc") == "```\n·\ta\n·  \tb\n```\n\tc"
    assert marked("- ```\n\ta\n  ```") == "- ```\n\ta\n  ```"


UNITS = [
    "[", "`", "<", "<a", "&", "&a", "![", "$$", "$$ ", r"\(", "\\", "\n", "```\n", "  ```a\n",
    "~", "- ", "> ", "1. ", "[a\n", "[a]:\n", " ", "\t", "`` ` ", "```\n\t",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("end", ["", r" ` $$ \) \] ]: x"])
def test_four_times_the_text_is_four_times_the_work(unit: str, end: str) -> None:
    short, long = (seconds(unit * (length // len(unit)) + end) for length in (50_000, 200_000))
    assert long < 8 * short + 0.1


def test_many_lengths_of_backtick_runs_are_no_more_work() -> None:
    runs = "".join("`" * length + " " for length in range(2, 300)) + r"\( " + "` " * 70_000
    assert seconds(runs) < 8 * seconds(runs[: len(runs) // 4]) + 0.1


def seconds(text: str) -> float:
    """CPU time of this thread for escaping a text: other processes do not count."""
    start = time.thread_time()
    escape(text)
    return time.thread_time() - start


def test_each_message_is_one_entry_and_the_window_is_the_end_of_the_path() -> None:
    shown = view.messages(conversation(*[message(f"<b>{n}") for n in range(40)]), window=3)
    assert shown == [
        {"role": "assistant", "content": [{"type": "text", "text": f"<{MARK}b>37"}]},
        {"role": "user", "content": [{"type": "text", "text": f"<{MARK}b>38"}]},
        {"role": "assistant", "content": [{"type": "text", "text": f"<{MARK}b>39"}]},
    ]


def test_thirty_messages_are_shown_unless_told_otherwise() -> None:
    many = [message("x") for _ in range(40)]
    assert len(view.messages(conversation(*many))) == 30
    assert view.messages(conversation()) == []


@pytest.mark.parametrize(
    ("last", "parts"),
    [
        (message("a", "complete"), ["a"]),
        (message("a", "writing"), ["a"]),
        (message("", "writing"), ["…"]),
        (message(" \n", "writing"), ["…"]),
        (message("a", "stopped"), ["a", "*Stopped. Press Continue for the rest.*"]),
        (message("", "stopped"), ["*Stopped. Press Regenerate for another one.*"]),
        (
            message("a", "length"),
            ["a", "*The answer reached its limit. Press Continue for the rest.*"],
        ),
        (
            replace(message("a", "length"), numbers=Numbers(completion_tokens=57)),
            [
                "a",
                "*The answer reached the limit of 57 new tokens. Press Continue for the rest.*",
            ],
        ),
        (
            message("a", "interrupted"),
            ["a", "*The server ended while this was written. Press Continue for the rest.*"],
        ),
        (message("a", "failed"), ["a", "*The answer failed. Press Continue for the rest.*"]),
        (message("a", "failed", error="No\nroom: <b> a_b."), ["a", r"*No room: <b> a\_b.*"]),
        (message("", "complete"), ["*The answer is empty.*"]),
    ],
)
def test_a_note_says_how_an_answer_ended(last: Message, parts: list[str]) -> None:
    content = view.messages(conversation(message("question"), last))[-1]["content"]
    assert [original(part["text"]).removeprefix("\u2063") for part in content] == parts
    notes = [part["text"].startswith(MARK + "\u2063") for part in content]
    assert notes == [part[0] in "*…" for part in parts]


def test_an_answer_that_took_too_long_does_not_say_that_it_has_too_many_tokens() -> None:
    numbers = Numbers(completion_tokens=57, time_limit_s=120)
    last = replace(message("a", "length"), numbers=numbers)
    content = view.messages(conversation(message("question"), last))[-1]["content"]
    sentence = "Stopped after 120 s, the limit of this server. Press Continue for the rest."
    assert sentence in original(content[1]["text"])


def test_the_tokens_of_an_answer_that_went_on_are_not_called_its_limit() -> None:
    last = replace(
        message("a", "length"),
        numbers=Numbers(completion_tokens=57),
        recipe=Recipe("", GenerationConfig(), "Begun"),
    )
    content = view.messages(conversation(message("question"), last))[-1]["content"]
    assert "*The answer reached its limit. Press" in original(content[1]["text"])


def test_the_next_step_is_told_of_the_newest_answer_alone() -> None:
    above = view.messages(conversation(message("?"), message("a", "stopped"), message("??")))[1]
    assert original(above["content"][1]["text"]) == "\u2063*Stopped.*"


def test_a_message_of_the_person_has_no_note() -> None:
    assert view.messages(conversation(message(" ")))[0]["content"] == [
        {"type": "text", "text": " "}
    ]


def test_finished_messages_are_escaped_once() -> None:
    view._escape_finished.cache_clear()
    for text in ("One", "One two", "One two three"):
        view.messages(conversation(message("question"), message(text, "writing")))
    assert view._escape_finished.cache_info().misses == 1
    assert view._escape_finished.cache_info().hits == 2


def shown(last: Message) -> list[dict[str, Any]]:
    return view.messages(conversation(message("?"), last))[1:]


def test_thoughts_are_an_entry_of_their_own_above_the_answer() -> None:
    answer = message("<think>\nIs `<b>` *bold*?\n</think>\n\nYes")
    thought, rest = shown(replace(answer, numbers=Numbers(thought_s=8.2)))
    assert thought["metadata"] == {"title": "Thought for 8 s", "status": "done"}
    assert thought["content"] == [{"type": "text", "text": escape("Is `<b>` *bold*?")}]
    assert rest["content"] == [{"type": "text", "text": "Yes"}]
    assert "metadata" not in rest


def test_a_thought_that_grows_is_open_and_has_nothing_below() -> None:
    (thought,) = shown(message("<think>Hm", "writing"))
    assert thought["metadata"] == {"title": "Thinking…", "status": "pending"}


def test_before_its_first_word_a_thought_is_no_empty_fold() -> None:
    (entry,) = shown(message("<think>\n", "writing"))
    assert "metadata" not in entry
    assert entry["content"][0]["text"].endswith("…")


def test_an_answer_that_ended_in_its_thought_says_how() -> None:
    thought, rest = shown(message("<think>Hm", "stopped"))
    assert thought["metadata"]["title"] == "Thoughts"
    assert "Stopped" in rest["content"][0]["text"]


def test_a_person_s_tags_are_no_thought() -> None:
    (entry,) = view.messages(conversation(message("<think>Hm</think>Hi")))
    assert "metadata" not in entry
    assert original(entry["content"][0]["text"]) == "<think>Hm</think>Hi"


def kept_texts() -> str:
    """What the view keeps of finished messages, as text."""
    caches = (view._escape_finished, view._split_finished)
    return str([gc.get_referents(cache) for cache in caches])


def test_nothing_of_a_conversation_that_is_gone_stays_in_what_the_view_keeps():
    of_two = replace(message("<think>xylophone</think>marimba <b>"), role="assistant")
    view.messages(conversation(message("glockenspiel"), of_two))
    words = ("xylophone", "marimba", "glockenspiel")
    assert all(word in kept_texts() for word in words), "or this test looks in the wrong place"
    view.forget()
    assert not any(word in kept_texts() for word in words)
