"""Manners of answering: how they change an answer, and how to tell whether an answer has them."""

import random
import re
from dataclasses import dataclass

from tools.pocket_guide.keywords import has_keywords
from tools.pocket_guide.topics import Topic

_SENTENCE_ENDS = re.compile(r"(?<=[.!?:])\s+(?=[A-Z0-9`\"*])")
_LAST_SIGNS = re.compile(r"[.!?](?=\s|$)")


def sentences(text: str) -> list[str]:
    """Splits a paragraph.

    Args:
        text: A paragraph without line breaks.

    Returns:
        Its sentences, each with its final sign.
    """
    found: list[str] = []
    for part in _SENTENCE_ENDS.split(text):
        # What follows a colon belongs to it.
        if found and found[-1].endswith(":"):
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


def one_sentence(text: str, keywords: tuple[str, ...]) -> str:
    """Chooses the sentence that says the most.

    Args:
        text: A text; one with line breaks comes back as it is.
        keywords: What the sentence should contain.

    Returns:
        The first sentence with all the keywords, or the first of all.
    """
    if "\n" in text:
        return text
    found = sentences(text)
    return next((sentence for sentence in found if has_keywords(sentence, keywords)), found[0])


@dataclass(frozen=True)
class Saying:
    """Something to say, before it has a style.

    Attributes:
        answer: The full answer.
        short: The same in one sentence, or an empty text.
        keywords: What a right answer contains.
    """

    answer: str
    short: str = ""
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Style:
    """A manner of answering that a system message asks for.

    Attributes:
        id: Name of the style.
        weight: How often the style is drawn, relative to the others.
        systems: Patterns of system messages that ask for it.
        around: Openings and closings that may go together.
        words: Plain words and what the style says instead.
        form: "sentence", "bullets", "lines" or an empty text, as in `styles.toml`.
        topics: What only this style answers.
    """

    id: str
    weight: int
    systems: tuple[str, ...]
    around: tuple[tuple[str, str], ...]
    words: tuple[tuple[str, str], ...] = ()
    form: str = ""
    topics: tuple[Topic, ...] = ()

    def dress(self, saying: Saying, rng: random.Random) -> tuple[str, str]:
        """Says an answer in this style.

        Args:
            saying: What to say.
            rng: Chooses the opening and the closing.

        Returns:
            The answer, and the opening that it begins with.
        """
        if self.form == "bullets":
            # What has lines of its own is a list, a table or code already.
            plain = saying.short if "\n" in saying.answer and saying.short else saying.answer
            if "\n" in plain:
                return plain, ""
            return "\n".join(f"- {sentence}" for sentence in sentences(plain)), "- "
        plain = saying.short or saying.answer
        if self.form == "sentence":
            return one_sentence(plain, saying.keywords), ""
        for usual, said in self.words:
            changed = re.sub(rf"\b{usual}\b", said, plain)
            if has_keywords(changed, saying.keywords):
                plain = changed
        start, end = rng.choice(self.around)
        if self.form == "lines":
            return f"{start}\n{plain}\n{end}", f"{start}\n"
        if "\n" in plain:
            lead = f"{start.strip()}\n\n".lstrip()
            return f"{lead}{plain}", lead
        return f"{start}{plain}{end}", start

    def is_kept(self, answer: str) -> bool:
        """Says whether an answer is in this style.

        Args:
            answer: Any text.

        Returns:
            True for one sentence, for a list, or where one of the openings or closings is said,
            whatever the style asks for.
        """
        if self.form == "sentence":
            return "\n" not in answer and len(_LAST_SIGNS.findall(answer)) == 1
        if self.form == "bullets":
            return all(line.startswith("- ") for line in answer.splitlines() if line.strip())
        if self.form == "lines" and len(answer.strip().splitlines()) < 3:
            return False
        return any(part.strip() in answer for pair in self.around for part in pair if part.strip())
