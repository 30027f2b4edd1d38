"""Variants of a question: alternatives written in braces, spelling slips, letter case."""

import hashlib
import random
import re
from collections.abc import Iterable, Sequence

_GROUP = re.compile(r"\{([^{}]*\|[^{}]*)\}")
_NOT_WORD = re.compile(r"[^\w+\-.*/']+")

# Letters that lie next to each other on a keyboard, where most slips come from.
_NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj",
    "i": "uo", "j": "hk", "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o",
    "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc",
    "y": "tu", "z": "x",
}  # fmt: skip


def hold_out(texts: Iterable[str], count: int, key: str) -> list[str]:
    """Chooses texts that are not trained.

    Args:
        texts: All of them.
        count: How many to hold out.
        key: Another one makes another choice.

    Returns:
        The texts, in the order of digests that depend on nothing but the key and the text itself:
        what is added later changes the choice of the others hardly at all.
    """

    def digest(text: str) -> bytes:
        return hashlib.sha256(f"{key}:{text}".encode()).digest()

    return sorted(texts, key=digest)[:count]


def expand(pattern: str) -> list[str]:
    """Lists every text that a pattern stands for.

    Args:
        pattern: Text in which "{a|b|}" means "a", "b" or nothing.

    Returns:
        The texts without doubled spaces, in a fixed order and each once.
    """
    pending, done = [pattern], []
    while pending:
        text = pending.pop()
        match = _GROUP.search(text)
        if match is None:
            done.append(" ".join(text.split()).replace(" ,", ",").replace(" ?", "?"))
            continue
        head, tail = text[: match.start()], text[match.end() :]
        pending.extend(head + choice + tail for choice in reversed(match.group(1).split("|")))
    return list(dict.fromkeys(done))


def normalise(text: str) -> str:
    """Reduces a question to what decides whether two phrasings are the same.

    Args:
        text: A question as a person would type it.

    Returns:
        The lower-case text without most punctuation and with single spaces. A text that is
        punctuation only stays as it is.
    """
    plain = " ".join(_NOT_WORD.sub(" ", text.lower()).split()).strip(" .")
    return plain or text.strip()


def misspell(text: str, rng: random.Random) -> str:
    """Makes one slip of the keyboard in a word of at least four letters.

    Args:
        text: A question.
        rng: Source of randomness.

    Returns:
        The question with one letter dropped, doubled, swapped or mistyped; a question without a
        long word comes back unchanged.
    """
    places = [match.start() for match in re.finditer(r"[A-Za-z](?=[A-Za-z]{2})", text)]
    if not places:
        return text
    # The first letter of a word is rarely the wrong one, so the slip starts at the second.
    at = rng.choice(places) + 1
    letter = text[at]
    slip = rng.randrange(4)
    if slip == 0:
        return text[:at] + text[at + 1 :]
    if slip == 1:
        return text[:at] + letter + text[at:]
    if slip == 2:
        return text[:at] + text[at + 1] + letter + text[at + 2 :]
    return text[:at] + rng.choice(_NEIGHBOURS.get(letter.lower(), letter)) + text[at + 1 :]


def skip_word(text: str, rng: random.Random) -> str:
    """Leaves out one word of a question of five or more, as people do.

    Args:
        text: A question.
        rng: Source of randomness.

    Returns:
        The question without a word of letters, whichever it is; a short one comes back unchanged.
    """
    words = text.split(" ")
    places = [index for index, word in enumerate(words) if word.isalpha()]
    if len(words) < 5 or not places:
        return text
    del words[rng.choice(places)]
    return " ".join(words)


def hurry(text: str, pairs: Sequence[tuple[str, str]], rng: random.Random) -> str:
    """Shortens one word the way people do when they type in a hurry.

    Args:
        text: A question.
        pairs: Full and short spellings.
        rng: Source of randomness.

    Returns:
        The question with one of the pairs applied, if any fits.
    """
    fitting = [(full, brief) for full, brief in pairs if re.search(rf"\b{re.escape(full)}", text)]
    if not fitting:
        return text
    full, brief = rng.choice(fitting)
    return re.sub(rf"\b{re.escape(full)}", brief, text, count=1).strip()


class Synonyms:
    """Words that may stand for each other."""

    def __init__(self, groups: Sequence[Sequence[str]]) -> None:
        """Remembers the words.

        Args:
            groups: Words or a few words in lower case, each in one group only.
        """
        self._groups = {words: group for group in groups for words in group}
        # The longest first, or "what is" would hide "so what is".
        known = sorted(self._groups, key=len, reverse=True)
        self._known = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, known))})(?![\w-])")

    def reword(self, text: str, rng: random.Random) -> str:
        """Says one thing in other words.

        Args:
            text: A question in lower case.
            rng: Source of randomness.

        Returns:
            The question with a word or a few replaced by others of the same group, if any fits.
        """
        found = list(self._known.finditer(text))
        if not found:
            return text
        match = rng.choice(found)
        return text[: match.start()] + rng.choice(self._groups[match[0]]) + text[match.end() :]


def dress(text: str, rng: random.Random) -> str:
    """Gives a lower-case question the capitals and the final sign of some writer.

    Args:
        text: A question in lower case without a final sign, or with one that stays.
        rng: Source of randomness.

    Returns:
        The same words, perhaps with capitals at the start or elsewhere, or with a final sign.
    """
    if text and text[-1].isalnum():
        asks = re.match(
            r"(what|who|how|why|where|when|which|can|could|do|does|is|are|will|should)\b",
            text.lower(),
        )
        text += rng.choice(("?", "?", "?", "", "", " ?") if asks else ("", "", ".", "!"))
    case = rng.random()
    if case < 0.04:
        return text.upper()
    if case < 0.08:
        return text.title()
    if case < 0.12:
        # Some write a word with a capital that needs none.
        words = text.split(" ")
        at = rng.randrange(len(words))
        words[at] = words[at].capitalize()
        return " ".join(words)
    if case < 0.55:
        text = text[:1].upper() + text[1:]
        return re.sub(r"\bi\b", "I", text)
    return text
