"""What a person tells about themselves, and how it is asked for later.

The values are copied from the conversation: many of them are made up, and those of the evaluation
are never trained.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from tools.pocket_guide.phrasing import expand, hold_out, normalise

VALUE_MARK = "{v}"

_ONSETS = (
    "b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kl", "l", "m", "n", "p",
    "pr", "qu", "r", "s", "sh", "st", "t", "tr", "v", "w", "y", "z", "",
)  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ee", "ia", "oo", "ou", "y")
_CODAS = ("", "", "", "n", "r", "l", "s", "x", "ck", "nd", "m", "th", "sk", "t")
# Most values are ones that no list of values has, so that the model learns to copy them: made-up
# words, half of them spliced, and everyday ones.
_INVENTED_SHARE = 0.5
_NOT_LISTED_SHARE = 0.7
_LOWER_SHARE = 0.3
_HELD_OUT_SHARE = 0.12
# Every seventh number belongs to the evaluation.
_NUMBER_PERIOD = 7


@dataclass(frozen=True)
class Fact:
    """A kind of thing that a person may tell.

    Attributes:
        id: Name of the kind.
        clause: Says it back, with "{v}" for the value, as in "your name is {v}".
        noted: Answers to being told it.
        unknown: Answer to being asked for it without having been told.
        tells: Patterns that tell it.
        asks: Patterns that ask for it.
        values: What it may be; none means numbers.
    """

    id: str
    clause: str
    noted: tuple[str, ...]
    unknown: str
    tells: tuple[str, ...]
    asks: tuple[str, ...]
    values: tuple[str, ...]

    def said(self, value: str) -> tuple[str, ...]:
        """Gives the right answers to the question for a value that was told."""
        clause = self.clause.replace(VALUE_MARK, value)
        return f"{clause[0].upper()}{clause[1:]}.", f"You told me that {clause}."


def invent(rng: random.Random) -> str:
    """Makes up a word of one to three syllables, in lower case."""
    syllables = rng.choices((1, 2, 3), (20, 60, 20))[0]
    parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)]
    return "".join(parts) + rng.choice(_CODAS)


def splice(rng: random.Random, words: Sequence[str]) -> str:
    """Makes up a word from the beginning of one word and the end of another."""
    head, tail = rng.choice(words), rng.choice(words)
    return head[: rng.randint(1, len(head))] + tail[rng.randrange(len(tail)) :]


def split(facts: tuple[Fact, ...], seed: int) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
    """Splits ways to tell, ways to ask and values.

    Args:
        facts: All of everything.
        seed: Decides what is held out.

    Returns:
        What is trained, and what is held out, with the same kinds in the same order.
    """
    halves = [_split(fact, f"{seed}:{fact.id}") for fact in facts]
    return tuple(trained for trained, _ in halves), tuple(held_out for _, held_out in halves)


def _split(fact: Fact, key: str) -> tuple[Fact, Fact]:
    halves = []
    for texts in (fact.tells, fact.asks, fact.values):
        held = set(hold_out(texts, round(len(texts) * _HELD_OUT_SHARE), key))
        # Two patterns may stand for the same text.
        said = {normalise(text) for pattern in held for text in expand(pattern)}
        halves.append(
            (
                tuple(text for text in texts if said.isdisjoint(map(normalise, expand(text)))),
                tuple(text for text in texts if text in held),
            )
        )
    (tells, told), (asks, asked), (values, kept_back) = halves
    return (
        replace(fact, tells=tells, asks=asks, values=values),
        replace(fact, tells=told, asks=asked, values=kept_back),
    )


def draw_value(
    fact: Fact,
    rng: random.Random,
    everyday: Sequence[str] = (),
    kept_back: Collection[str] = (),
    is_held_out: bool = False,
) -> str:
    """Draws a value as a person would type it.

    Args:
        fact: The kind.
        rng: Source of randomness.
        everyday: Words that will do as a value, too.
        kept_back: Values in lower case that are never drawn, whichever list has them and even where
            one is made up by chance.
        is_held_out: Whether to draw what is never trained: one of the values of a held-out kind, or
            one of the numbers that are held out.

    Returns:
        A word or a number; a proper name mostly with a capital.
    """
    if not fact.values:
        digits = rng.choice((1, 2, 2, 3, 4))
        number = rng.randrange(10**digits)
        while (number % _NUMBER_PERIOD == 0) != is_held_out:
            number = rng.randrange(10**digits)
        return str(number)
    value = rng.choice(fact.values) if is_held_out else _draw_word(fact, rng, everyday)
    while value.lower() in kept_back:
        value = _draw_word(fact, rng, everyday)
    if fact.values[0][0].isupper():
        value = value[0].upper() + value[1:]
    return value.lower() if rng.random() < _LOWER_SHARE else value


def _draw_word(fact: Fact, rng: random.Random, everyday: Sequence[str]) -> str:
    kind = rng.random()
    if kind < _INVENTED_SHARE:
        return splice(rng, everyday) if everyday and rng.random() < 0.5 else invent(rng)
    return rng.choice(everyday if everyday and kind < _NOT_LISTED_SHARE else fact.values)


def draw_pattern(patterns: tuple[str, ...], rng: random.Random) -> str:
    """Draws one text that one of the patterns stands for."""
    return rng.choice(expand(rng.choice(patterns)))
