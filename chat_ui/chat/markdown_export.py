"""A conversation as Markdown, to be read and passed on, and a file's name for it.

Only the shown path is written, and `exchange.read` can't read it back: that is what JSON is for.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chat_ui.chat.imports import encodable
from chat_ui.chat.messages import Conversation, Message, MessageState

MAX_NAME_CHARS: Final = 60

_ENDINGS: Final[Mapping[MessageState, str]] = {
    "writing": "The answer was still being written.",
    "length": "The answer reached the limit of new tokens.",
    "stopped": "The answer was stopped.",
    "interrupted": "The answer was interrupted.",
    "failed": "The answer failed.",
}
_SPEAKERS: Final = {"user": "You", "assistant": "Assistant", "system": "System"}

# What Windows names devices, whatever follows the first full stop.
# Source: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICES: Final = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [name + digit for name in ("COM", "LPT") for digit in "0123456789¹²³"]
)
_NOT_IN_NAMES: Final = frozenset('<>:"/\\|?*')

# Source for all below: CommonMark 0.31.2, sections 4.5, 4.6 and 5.2.
_LINE_END: Final = re.compile(r"\r\n?|\n")
_LIST_ITEM: Final = re.compile(r" {0,3}(?:[-+*]|\d{1,9}[.)])( +(?=[^ ])|(?= *$))")
# The others can't begin a list right after a line of text.
_INTERRUPTING_ITEM: Final = re.compile(r" {0,3}(?:[-+*]|0{0,8}1[.)]) +[^ ]")
_RULE: Final = re.compile(r" {0,3}([-*])(?: *\1){2,} *$")
_FENCE: Final = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
# How an HTML block begins that blank lines don't end, what ends it, and a whole one.
_HTML: Final = (
    (
        re.compile(r" {0,3}<(script|pre|style|textarea)(?=[ >]|$)", re.IGNORECASE),
        re.compile(r"</(?:script|pre|style|textarea)>", re.IGNORECASE),
        "<pre></pre>",
    ),
    (re.compile(r" {0,3}<!--"), re.compile("-->"), "<!-- -->"),
    (re.compile(r" {0,3}<\?"), re.compile(r"\?>"), "<? ?>"),
    (re.compile(r" {0,3}<!\[CDATA\["), re.compile(r"\]\]>"), "<![CDATA[ ]]>"),
    (re.compile(r" {0,3}<![A-Za-z]"), re.compile(">"), "<!X >"),
)


def to_markdown(conversation: Conversation) -> str:
    """The shown path as Markdown, each message's text as it is.

    A block of code or HTML that a message leaves open, as one does that was cut off, is closed
    after it: all that follows would be part of it.

    Args:
        conversation: its head exists, or is None.

    Returns:
        Text that UTF-8 can encode: U+FFFD stands for each lone surrogate.
    """
    blocks = [f"# {_one_line(conversation.title) or 'Conversation'}"]
    if conversation.system_prompt.strip():
        lines = _LINE_END.split(conversation.system_prompt)
        blocks.append("\n".join(f"> {line}" for line in lines))
    for message in conversation.path():
        blocks.append(f"## {_speaker(message)}")
        if message.content:
            blocks.append(message.content + _closing(message.content))
        if message.state != "complete":
            ending = f"*{_ENDINGS[message.state]}* {_one_line(message.error or '')}"
            blocks.append(ending.rstrip())
    return encodable("\n\n".join(blocks) + "\n")


def markdown_name(conversation: Conversation) -> str:
    """The name of the conversation's Markdown file."""
    return file_name(conversation.title, ".md")


def file_name(title: str, suffix: str) -> str:
    """A name that every system takes as one file's, made of a title.

    Args:
        title: any text.
        suffix: such as ".json".

    Returns:
        At most `MAX_NAME_CHARS` characters, the suffix included.
    """
    # Categories C and Z: control, formatting (which may turn the reading direction), surrogates,
    # private and unassigned characters, and all kinds of blanks.
    shown = (
        " " if char in _NOT_IN_NAMES or unicodedata.category(char)[0] in "CZ" else char
        for char in title
    )
    stem = " ".join("".join(shown).split())
    # A leading full stop hides a file, a leading dash makes it an option.
    stem = stem.lstrip(".- ") or "Conversation"
    if stem.split(".")[0].rstrip().upper() in _DEVICES:
        stem = f"Conversation {stem}"
    # Windows drops full stops and blanks at the end.
    return stem[: MAX_NAME_CHARS - len(suffix)].rstrip(". ") + suffix


def _speaker(message: Message) -> str:
    if message.role == "assistant" and message.numbers.model:
        return _one_line(message.numbers.model) or _SPEAKERS["assistant"]
    return _SPEAKERS[message.role]


def _one_line(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class _OpenBlock:
    """A block that blank lines don't end.

    Attributes:
        ends: matches somewhere in the line that ends it.
        closing: a line that ends it.
    """

    ends: re.Pattern[str]
    closing: str


def _closing(text: str) -> str:
    """What has to follow a text so that no block of it is left open; mostly nothing.

    Lists are followed, because their end ends what is in them, and a line that closed it again
    would open another block. Quotes need no care: the line after them ends them.
    Where HTML or an item's number leaves it unsure what is open, all is closed that may be.
    """
    block: _OpenBlock | None = None
    items: list[int] = []  # the columns where the open list items' texts begin
    is_after_blank, may_be_html, is_unsure = True, False, False
    for line in _LINE_END.split(text):
        line = line.expandtabs(4)
        if not line.strip(" "):
            is_after_blank, may_be_html = True, False
            continue
        indent = len(line) - len(line.lstrip(" "))
        is_outside = False
        while items and indent < items[-1]:
            items.pop()
            block, is_outside = None, True
        if block is None:
            column = items[-1] if items else 0
            if begun := _begun_items(line, column):
                can_begin = is_after_blank or is_outside or _INTERRUPTING_ITEM.match(line, column)
                is_unsure |= may_be_html or not can_begin
                items += begun
                column = begun[-1]
            block = _opened(line[column:], column)
            is_unsure |= block is not None and may_be_html
            may_be_html |= line[column:].lstrip(" ").startswith("<")
        elif block.ends.search(line[items[-1] if items else 0 :]):
            block = None
        is_after_blank = False
    if is_unsure:
        return _closing_whatever(text)
    return f"\n{block.closing}" if block else ""


def _closing_whatever(text: str) -> str:
    """Lines that leave nothing open, whether or not a text did.

    A fence with a word after it opens a block, and closes none; the bare fence after it closes
    either. So in the worst case an empty block is seen. The whole HTML blocks are not seen at all.
    """
    lines = []
    for mark in "`~":
        fence = max(re.findall(mark + "{3,}", text), key=len, default="")
        lines += [f"{fence} text", fence] if fence else []
    lines += [whole for _, _, whole in _HTML] if "<" in text else []
    return "\n".join(["\n", *lines]) if lines else ""


def _begun_items(line: str, column: int) -> list[int]:
    """The columns where the texts of the list items begin that a line begins from a column on."""
    begun: list[int] = []
    if _RULE.match(line, column):
        return begun
    while marker := _LIST_ITEM.match(line, column):
        # After five blanks, the item's text is indented code.
        column = marker.end() if 0 < len(marker[1]) < 5 else marker.start(1) + 1
        begun.append(column)
    return begun


def _opened(line: str, column: int) -> _OpenBlock | None:
    """The block that a line opens and doesn't end, or None.

    Args:
        line: without what makes it part of list items.
        column: where it begins.
    """
    # As far in as its beginning, or it could stand outside of an item that it began in.
    margin = " " * (column + len(line) - len(line.lstrip(" ")))
    if fence := _FENCE.match(line):
        ends = re.compile(rf"^ {{0,3}}{fence[1][0]}{{{len(fence[1])},}} *$")
        return _OpenBlock(ends, margin + fence[1])
    for begins, ends, whole in _HTML:
        if tag := begins.match(line):
            closing = f"</{tag[1]}>" if begins.groups else whole
            return None if ends.search(line) else _OpenBlock(ends, margin + closing)
    return None
