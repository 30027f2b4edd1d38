"""A conversation as the Chatbot's messages: Markdown is rendered, raw HTML is shown as typed.

The Chatbot's Markdown is parsed in the browser (marked 12 in Gradio 6.31), and its sanitising lets
forms, remote images and full-page overlays through. Escaping HTML "outside code" here would need a
second parser that agrees with marked in every corner, and where the two disagree either HTML gets
through or code shows entities. So nothing here depends on what is code: an invisible character, the
mark, breaks every spot that could become HTML or be rewritten by Gradio, and looks like nothing in
text and in code alike. `assets/js/copy.js` takes the marks out of the page before it is painted,
and out of what is copied.

The Chatbot must be given `latex_delimiters=LATEX_DELIMITERS`: Gradio takes formulas out before it
parses Markdown, so with plain delimiters `$$` or `\\(` in code would be torn out as well.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from chat_ui.chat.messages import Conversation, Message, MessageState
from chat_ui.chat.reasoning import Split, split
from chat_ui.ui.quantities import duration, exact_seconds
from chat_ui.ui.status import can_go_on
from chat_ui.ui.texts import ENGLISH, Texts

MARK = "\u2060"  # word joiner: zero width, no letter, no space, no punctuation
_TYPED = "\u2062"  # after a mark: this one was in the text
_NOTE = MARK + "\u2063"  # begins a line that is ours and is not copied

LATEX_DELIMITERS: list[dict[str, str | bool]] = [
    {"left": MARK + "$$", "right": MARK + "$$", "display": True},
    {"left": MARK + r"\[", "right": MARK + r"\]", "display": True},
    {"left": MARK + r"\(", "right": MARK + r"\)", "display": False},
]

# What Gradio 6.31 colours without failing. The language of any other block is hidden from it by a
# mark: it puts the source of `mermaid` into the page as HTML, and of a message with `cpp` (loaded
# without the `c` that it builds on) or `constructor` (found in Object.prototype) it shows nothing.
_LANGUAGES = (
    "bash|c|clike|css|go|html|java|javascript|js|json|latex|markup|php|python|rust|sql|svg|xml|yaml"
)
# What JavaScript trims.
_BLANK = r" \t\v\f\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
# A mark goes behind each of these. `<` before a space or a digit is text to every HTML parser.
_RISKY = re.compile(
    rf"""
      <(?=[A-Za-z!?])(?!https?://)  # a tag, comment or declaration; not <https://…>, a link
    | </(?=[A-Za-z])                # behind the slash: Prism still colours a closing tag
    | &(?=\#?\w+;)                  # an entity
    | !(?=\[)                       # an image, which would be fetched: becomes a link
    | (?:```|~~~)(?=[{_BLANK}]*\\?\w)(?![{_BLANK}]*(?:{_LANGUAGES})(?!\S))  # a language, see above
    | %%%(?=LATEX_BLOCK_)           # Gradio's own placeholder for a formula
    | src="(?=/file)                # Gradio rewrites the first one
    """,
    re.VERBOSE | re.ASCII,
)
# `[label]: …` would be a link definition, of which Markdown shows nothing; some models begin so.
# The mark goes before the label.
_DEFINITION = re.compile(
    r"(?<![^\r\n])[ \t>*+\-0-9.)]*+(?=\[(?:\\.|[^\[\]\\])++\]:)",
    re.DOTALL,
)
_FENCED = re.compile(
    r"^[ \t>]*+(?:(?:[-+*]|\d++[.)])[ \t]++)*+"  # what quotes and lists put before it
    r"(`{3,}+(?!.*`)|~{3,}+).*"
    r"(?:\n(?s:.*?)(?:^[ \t>]*+\1[`~]*[ \t\r]*$|\Z))?",
    re.MULTILINE,
)
_BLANK_LINES = re.compile(r"(\n[ \t\r>]*\n)")
_TABBED = re.compile(r"^(?= *\t)", re.MULTILINE)
_TICKS = re.compile("`+")
_OPENER = re.compile(r"\\.|`+|\$\$", re.DOTALL)
_CLOSERS = {"$$": "$$", r"\[": r"\]", r"\(": r"\)"}
_PUNCTUATION = re.compile(r"[\\`*_\[\]]")
_MARKS = re.compile(f"{MARK}({_TYPED}?)")

_ENDINGS: dict[MessageState, str] = {
    "stopped": "note.stopped",
    "interrupted": "note.interrupted",
    "failed": "note.failed",
}


def messages(
    conversation: Conversation, *, window: int = 30, say: Texts = ENGLISH
) -> list[dict[str, Any]]:
    """The last `window` messages of the shown path, as values for the Chatbot.

    Each gives one entry, and one before it with the model's thoughts, if any, which the Chatbot
    folds. An entry's content is the text, and behind it, as a part of its own, a note on how the
    answer ended: a part of its own because the text may end in an open fence.
    """
    path = conversation.path()[-window:]
    return [
        entry for message in path for entry in entries(message, say, is_newest=message is path[-1])
    ]


def rows(entries: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """How many rows the Chatbot makes of a message's entries, one for each part, and which of them
    has its text: the thoughts are above it.
    """
    return sum(len(entry["content"]) for entry in entries), len(entries) - 1


def escape(text: str) -> str:
    """The text as the Chatbot may have it. `original` undoes it, for every text."""
    safe = _RISKY.sub(rf"\g<0>{MARK}", text.replace(MARK, MARK + _TYPED))
    if "]:" in safe:
        safe = _DEFINITION.sub(rf"\g<0>{MARK}", safe)
    return "".join(_pieces(safe))


def original(shown: str) -> str:
    """What `escape` was given, such as for the value of an edit or a copy event."""
    return _MARKS.sub(lambda match: MARK if match[1] else "", shown)


# A message in flight has another text every tick, and would push out those that stay.
_escape_finished = lru_cache(maxsize=512)(escape)
_split_finished = lru_cache(maxsize=512)(split)


def forget() -> None:
    """Drop the texts that are kept here; they are made anew when they are shown again."""
    _escape_finished.cache_clear()
    _split_finished.cache_clear()


def entries(
    message: Message, say: Texts = ENGLISH, *, is_newest: bool = False
) -> list[dict[str, Any]]:
    """A message as values for the Chatbot: its thoughts, if any, and its text with a note. The note
    of the newest says what to do next: the buttons for it are of that one alone.
    """
    if message.role != "assistant":
        return [_entry(message, [_escape_finished(message.content)])]
    now = _split(message.content, message.state == "writing")
    made = []
    if now.thought:
        title = _thought_title(now.is_thinking, message.numbers.thought_s, say)
        status = "pending" if now.is_thinking else "done"
        fold = {"metadata": {"title": title, "status": status}}
        made.append(_entry(message, [_escaped(now.thought, now.is_thinking)]) | fold)
    parts = []
    if now.answer.strip():
        parts.append(_escaped(now.answer, message.state == "writing"))
    if note := _note(message, now, say, is_newest):
        parts.append(_NOTE + note)
    if parts or not made:
        made.append(_entry(message, parts or [""]))
    return made


def _entry(message: Message, parts: list[str]) -> dict[str, Any]:
    return {
        "role": message.role,
        "content": [{"type": "text", "text": part} for part in parts],
    }


def _split(text: str, is_writing: bool) -> Split:
    return split(text, is_writing=True) if is_writing else _split_finished(text)


def _escaped(text: str, is_growing: bool) -> str:
    return escape(text) if is_growing else _escape_finished(text)


def _thought_title(is_thinking: bool, seconds: float | None, say: Texts) -> str:
    if is_thinking:
        return say("status.thinking")
    if seconds is None:
        return say("note.thoughts")
    return say("note.thought_for", time=duration(seconds, say))


def _note(message: Message, now: Split, say: Texts, is_newest: bool) -> str | None:
    """The line below an answer, in Markdown."""
    if message.state == "writing":
        return None if now.thought or now.answer.strip() else "…"
    sentence = _ending(message, say, is_newest)
    if not sentence and not now.answer.strip():
        sentence = say("note.empty")
    if not sentence:
        return None
    plain = _PUNCTUATION.sub(r"\\\g<0>", sentence)
    return f"*{escape(plain)}*"


def _ending(message: Message, say: Texts, is_newest: bool) -> str:
    """How an answer ended, and what to do about it; empty where it just ended."""
    if message.state in ("complete", "writing"):
        return ""
    if message.state == "failed" and message.error:
        return " ".join(message.error.split())  # it has its own next step
    count, limit_s = message.numbers.completion_tokens, message.numbers.time_limit_s
    if message.state == "length" and limit_s is not None:
        fact = say("note.time_limit", time=exact_seconds(limit_s, say, digits=0))
    elif message.state == "length":
        if message.recipe is not None and message.recipe.given:
            count = None  # of an answer that went on, it is of more than the limit counts
        fact = say("note.limit", count) if count else say("note.limit_unknown")
    else:
        fact = say(_ENDINGS[message.state])
    if not is_newest:
        return fact
    return f"{fact} {say('note.rest' if can_go_on(message) else 'note.again')}"


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces, with marks at the delimiters of formulas that are not in code.

    A wrong guess of what is code costs a formula or shows one too many, never safety.
    """
    done = 0
    for fenced in _FENCED.finditer(text):
        yield from map(_with_formulas, _BLANK_LINES.split(text[done : fenced.start()]))
        # marked makes four spaces of a leading tab, which breaks a Makefile that is copied. Not in
        # lists and quotes, where it has to see the indentation.
        at_margin = fenced[0][0] in "`~"
        yield _TABBED.sub(MARK, fenced[0]) if at_margin else fenced[0]
        done = fenced.end()
    yield from map(_with_formulas, _BLANK_LINES.split(text[done:]))


def _with_formulas(paragraph: str) -> str:
    """Marks both delimiters of each formula; from left to right, so code spans come first."""
    if "$$" not in paragraph and "\\" not in paragraph:
        return paragraph
    spans: dict[int, list[int]] = {}
    for ticks in _TICKS.finditer(paragraph):
        spans.setdefault(len(ticks[0]), []).append(ticks.start())
    # Looking again for a closer that is not there would take quadratic time.
    given_up: set[str] = set()
    marks: list[int] = []
    position = 0
    while opener := _OPENER.search(paragraph, position):
        position = opener.end()
        if opener[0][0] == "`":
            # Not in spans where a backslash took the first backtick of a run.
            starts = spans.get(len(opener[0]), [])
            following = bisect_right(starts, opener.start())
            if following < len(starts):
                position = starts[following] + len(opener[0])
        elif (closer := _CLOSERS.get(opener[0])) and opener[0] not in given_up:
            end = paragraph.find(closer, position)
            formula = paragraph[position:end] if end >= 0 else ""
            # An odd backtick is that of a code span which holds the closer.
            if not formula.strip() or formula.count("`") % 2:
                given_up.add(opener[0])
                continue
            marks += [opener.start(), end]
            position = end + len(closer)
    cuts = [0, *marks, len(paragraph)]
    return MARK.join(paragraph[a:b] for a, b in pairwise(cuts))
