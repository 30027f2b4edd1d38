"""What a reasoning model thinks and what it answers, told apart in one text.

A thought stands at the beginning, between marks that the model was trained to write. Later on, the
same marks are what somebody writes about. Which marks a model's template writes itself is
`engine/thinking.py`'s business.
"""

import re
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Format:
    """How a family of models marks a thought.

    Attributes:
        opening: before it.
        closing: after it.
        joints: what else may stand before the answer, and is no part of it.
    """

    opening: str
    closing: str
    joints: tuple[str, ...] = ()


# Source: the models' chat templates, and transformers 5.23, `cli/serving/utils.py`.
FORMATS: Final = (
    Format("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM, SmolLM3, Nemotron and most others
    Format("[THINK]", "[/THINK]"),  # Magistral, Ministral 3
    Format(  # gpt-oss
        "<|channel|>analysis<|message|>",
        "<|end|>",
        ("<|start|>assistant", "<|channel|>final<|message|>"),
    ),
    Format("<|channel>thought\n", "<channel|>"),  # Gemma 4
    Format("<seed:think>", "</seed:think>"),  # Seed-OSS
    Format("<thinking>", "</thinking>"),  # models tuned to be asked for it
)

_CLOSINGS: Final = {form.opening: form.closing for form in FORMATS}
_JOINTS: Final = tuple(joint for form in FORMATS for joint in form.joints)
_HEAD_MARKS: Final = (*_CLOSINGS, *_JOINTS)
_HEAD: Final = re.compile(rf"\s*+({'|'.join(map(re.escape, _HEAD_MARKS))})")
_BLANK: Final = re.compile(r"\s*+")
_LONGEST_MARK: Final = max(map(len, _HEAD_MARKS))
# With what every closing mark ends.
_CLOSING_ENDS: Final = frozenset(closing[-1] for closing in _CLOSINGS.values())


@dataclass(frozen=True, slots=True)
class Split:
    """A text in its two parts.

    Attributes:
        thought: without its marks; several thoughts are divided by a blank line.
        answer: what follows; the whole text, where there is no thought.
        is_thinking: the text still grows, and what grows is a thought.
    """

    thought: str
    answer: str
    is_thinking: bool = False


def split(text: str, is_writing: bool = False) -> Split:
    """Tell the thoughts at the beginning of a text from the answer.

    The first closing mark ends a thought, even one that is quoted in it: so it is for the model,
    too. A thought that was never closed is a thought: it was cut off.

    Args:
        text: as the model wrote it.
        is_writing: it still grows. An end that may become a mark is then in neither part, so that
            it doesn't flash, and `answer` only ever grows at its end.
    """
    head = _read_head(text)
    thoughts = [text[start:end] for start, end in head.thoughts]
    if head.closing:
        end = _certain_end(text, head.end, head.closing) if is_writing else None
        return Split(_joined([*thoughts, text[head.end : end]]), "", is_writing)
    start = _after_blank(text, head.end)
    if is_writing and _may_become_mark(text, start):
        return Split(_joined(thoughts), "")
    return Split(_joined(thoughts), text[start:] if head.end else text)


def mark_spans(text: str) -> list[tuple[int, int]]:
    """Where the marks around the thoughts of a text are, each as its start and its end.

    The same marks within a thought or in the answer are what somebody writes about.
    """
    return _read_head(text).marks


def without_thoughts(text: str) -> str:
    """The answer alone, as later turns are shown it.

    Templates of reasoning models drop earlier thoughts themselves, or their authors ask for it;
    none that is used without tools wants them. So this needs to know neither the template nor the
    model, which may have changed since: what the page shows as a thought is not sent, what it shows
    as the answer is.
    """
    return split(text).answer


class ThoughtWatch:
    """Says of a growing text whether a thought grows, and looks at as little of it as it can.

    Attributes:
        is_thinking: a thought grows.
    """

    def __init__(self) -> None:
        self.is_thinking = False
        self._is_settled = False

    def grow(self, text: str, new: str) -> None:
        """Take the whole text, which now ends in `new`."""
        if self._is_settled or (self.is_thinking and _CLOSING_ENDS.isdisjoint(new)):
            return
        now = split(text, is_writing=True)
        self.is_thinking = now.is_thinking
        self._is_settled = bool(now.answer)


@dataclass(slots=True)
class _Head:
    """What a text begins with: the thoughts and the marks around them, as starts and ends.

    Attributes:
        marks: of every kind.
        thoughts: those that were closed.
        closing: the mark that would close the last thought, where it wasn't; else "".
        end: of the last mark; there the answer begins, or the thought that wasn't closed.
    """

    marks: list[tuple[int, int]] = field(default_factory=list)
    thoughts: list[tuple[int, int]] = field(default_factory=list)
    closing: str = ""
    end: int = 0

    def pass_mark(self, start: int, end: int) -> None:
        self.marks.append((start, end))
        self.end = end


def _read_head(text: str) -> _Head:
    head = _Head()
    while (found := _HEAD.match(text, head.end)) is not None:
        mark = found[1]
        head.pass_mark(*found.span(1))
        if mark in _JOINTS:
            continue
        # Some models open it once more where the prompt has opened it.
        while text.startswith(mark, start := _after_blank(text, head.end)):
            head.pass_mark(start, start + len(mark))
        closing = _CLOSINGS[mark]
        end = text.find(closing, head.end)
        if end < 0:
            head.closing = closing
            break
        head.thoughts.append((head.end, end))
        head.pass_mark(end, end + len(closing))
    return head


def _after_blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _certain_end(text: str, at: int, closing: str) -> int:
    """Where a growing thought ends, without what may become its closing mark or opens it again."""
    if _may_become_mark(text, _after_blank(text, at)):
        return at
    return len(text) - _overlap(text, at, closing)


def _overlap(text: str, at: int, mark: str) -> int:
    """Length of the longest end of the text, from `at` on, that is a beginning of a mark."""
    for length in range(min(len(text) - at, len(mark) - 1), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0


def _may_become_mark(text: str, start: int) -> bool:
    """Whether what is left is nothing, or the beginning of a mark that opens something."""
    if len(text) - start >= _LONGEST_MARK:
        return False
    rest = text[start:]
    return any(mark.startswith(rest) for mark in _HEAD_MARKS)


def _joined(thoughts: list[str]) -> str:
    return "\n\n".join(filter(None, (thought.strip() for thought in thoughts)))
