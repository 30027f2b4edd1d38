"""Writes questions the way people type them, and texts that mean nothing to the guide."""

import random
import re
import string
from collections.abc import Collection

from tools.pocket_guide.material import Material
from tools.pocket_guide.phrasing import Synonyms, dress, hurry, misspell, normalise, skip_word


def fill_words(pattern: str, words: dict[str, list[str]], rng: random.Random) -> str:
    """Puts everyday words in a pattern.

    Args:
        pattern: Text with "{noun}", "{verb}" or "{adjective}".
        words: Lists of "nouns", "verbs" and "adjectives".
        rng: Source of randomness.

    Returns:
        The text with a word for each of the marks.
    """
    return re.sub(r"\{(\w+)\}", lambda mark: rng.choice(words[f"{mark.group(1)}s"]), pattern)


class Writer:
    """Somebody at the keyboard."""

    def __init__(
        self, material: Material, words: dict[str, list[str]], avoid: Collection[str]
    ) -> None:
        """Remembers what to write with.

        Args:
            material: The authored material.
            words: Everyday "nouns", "verbs" and "adjectives".
            avoid: Normalised questions that must never be written.
        """
        self._material = material
        self._words = words
        self._avoid = avoid
        self._synonyms = Synonyms(material.frames["alike"])
        names = {name.lower(): name for name in material.frames["capitals"]}
        self._names = names
        self._name = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")

    def made(self, rng: random.Random) -> str:
        """Makes an off-topic text of everyday words: mostly a question, at times a few lines.

        Args:
            rng: Source of randomness.

        Returns:
            The text as typed.
        """
        sentences = rng.choices((1, 2, 4), (88, 8, 4))[0]
        made = [
            fill_words(rng.choice(self._material.word_patterns), self._words, rng)
            for _ in range(sentences)
        ]
        if sentences == 1:
            return self.typed(made[0], rng, bare=rng.random() < 0.5)
        return " ".join(dress(f"{text}.", rng) for text in made)

    def gibberish(self, rng: random.Random) -> str:
        """Makes a text without meaning.

        Args:
            rng: Source of randomness.

        Returns:
            A few signs or made-up words.
        """
        if rng.random() < 0.5:
            return str(rng.choice(self._material.frames["gibberish"]))
        words = rng.randint(1, 4)
        return " ".join(
            "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(words)
        )

    def with_capitals(self, text: str) -> str:
        """Writes names such as that of a button with their capitals.

        Args:
            text: A question in lower case.

        Returns:
            The question with each known name as it is spelled.
        """
        return self._name.sub(lambda found: self._names[found.group()], text)

    def typed(self, text: str, rng: random.Random, bare: bool) -> str:
        """Writes a question the way some person would, but never a held-out one.

        Args:
            text: The question in lower case without a final sign.
            rng: Source of randomness.
            bare: Whether its words stay as they are, with none around them.

        Returns:
            The question with words around it, slips, capitals and signs, or none of these.
        """
        frames = self._material.frames
        for _ in range(8):
            typed = text
            while not bare and rng.random() < 0.3:
                typed = self._synonyms.reword(typed, rng)
            if not bare and rng.random() < 0.15:
                # No single word must decide, or an unknown one in its place would lead astray.
                typed = skip_word(typed, rng)
            if normalise(typed) in self._avoid:
                # With words around it would be hard to tell from the held-out question.
                continue
            if not bare and rng.random() < 0.2:
                typed = rng.choice(frames["before"]) + typed
            if not bare and typed[-1:].isalnum() and rng.random() < 0.12:
                typed += rng.choice(frames["after"])
            if rng.random() < 0.12:
                typed = hurry(typed, frames["hurried"], rng)
            if rng.random() < 0.3:
                typed = typed.replace("'", "")
            if rng.random() < 0.4:
                typed = self.with_capitals(typed)
            for _ in range(rng.choices((0, 1, 2), (72, 21, 7))[0]):
                typed = misspell(typed, rng)
            typed = dress(typed, rng)
            if normalise(typed) not in self._avoid:
                return typed
        return text
