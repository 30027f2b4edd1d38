"""Splits the authored material into what is trained and what is held out."""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tools.pocket_guide import facts
from tools.pocket_guide.material import Material
from tools.pocket_guide.phrasing import expand, hold_out, normalise
from tools.pocket_guide.styles import Saying
from tools.pocket_guide.topics import ASKED_AFTERWARDS, FollowUp, Topic
from tools.pocket_guide.writer import Writer, fill_words

_HELD_OUT_SYSTEMS = 0.2
_HELD_OUT_AFTERWARDS = 0.12


@dataclass(frozen=True)
class Question:
    """A phrasing together with what a right answer contains.

    Attributes:
        topic: Name of the topic.
        text: The question in lower case.
        keywords: What the answer must contain; "a|b" means either.
    """

    topic: str
    text: str
    keywords: tuple[str, ...]


class Corpus:
    """What conversations are made of, and what the evaluation asks.

    Some patterns of every topic are held out: nothing that they stand for is ever generated. The
    same goes for system messages, follow-ups, and ways to tell and to ask for facts.

    Attributes:
        material: All of the authored material.
        topics: All topics but those of a style.
        held_out: The questions that no conversation contains.
        held_out_in_style: For each style those of its own topics.
        patterns: For each topic the texts of each trained pattern: first of those that were written
            for it, then of those made from shared frames.
        systems: For each style the trained patterns of system messages.
        held_out_systems: For each style the held-out ones.
        facts: What may be told, with the trained ways to tell and ask, and the trained values.
        held_out_facts: The same kinds, with what is held out.
        kept_back: All of their values in lower case.
        held_out_afterwards: For each kind of follow-up that any topic has, held-out ways to ask it.
        words: Everyday words that are trained, of each kind.
        everyday: All of these that are no held-out value of a fact.
        writer: Writes questions the way people type them.
    """

    def __init__(self, material: Material, seed: int) -> None:
        """Splits the phrasings.

        Args:
            material: The authored material.
            seed: Decides what is held out.
        """
        self.material = material
        self.topics = material.topics + material.memory
        self.held_out: list[Question] = []
        self.held_out_in_style: dict[str, list[Question]] = {}
        self.patterns: dict[str, tuple[list[list[str]], list[list[str]]]] = {}
        self.facts, self.held_out_facts = facts.split(material.facts, seed)
        self._split_systems(seed)
        self._split_afterwards(seed)
        # Ways to ask for what was told belong to the facts alone.
        self._avoid = {
            normalise(text) for fact in material.facts for ask in fact.asks for text in expand(ask)
        } | {normalise(text) for ask in material.everything for text in expand(ask)}
        held = {
            normalise(text)
            for fact in self.held_out_facts
            for ask in fact.asks
            for text in expand(ask)
        }
        held |= {normalise(text) for texts in self.held_out_afterwards.values() for text in texts}
        style_topics = [(style.id, topic) for style in material.styles for topic in style.topics]
        everything = [*(("", topic) for topic in self.topics), *style_topics]
        split = {topic.id: self._split(topic, seed) for _, topic in everything}
        known = self._always_trained()
        for style, topic in everything:
            found = self.held_out
            if style:
                found = self.held_out_in_style.setdefault(style, [])
            for pattern in split[topic.id][1]:
                for text in expand(pattern):
                    if normalise(text) not in known | self._avoid:
                        found.append(Question(topic.id, text, topic.keywords))
                        held.add(normalise(text))
        self.words = self._hold_out_words(seed, held)
        self.kept_back = {value.lower() for fact in self.held_out_facts for value in fact.values}
        self.everyday = tuple(
            word for words in self.words.values() for word in words if word not in self.kept_back
        )
        self._avoid |= held
        for _, topic in everything:
            # As patterns of their own the suggested questions are asked often enough.
            own = self._allowed(topic.own, split[topic.id][0]) + [[text] for text in topic.always]
            self.patterns[topic.id] = (own, self._allowed(topic.framed, split[topic.id][0]))
        self.writer = Writer(material, self.words, held)

    @property
    def train(self) -> dict[str, list[str]]:
        """For each topic the questions that conversations are made of."""
        return {
            name: [text for texts in own + framed for text in texts]
            for name, (own, framed) in self.patterns.items()
        }

    def follow_ups(self, topic: Topic) -> list[tuple[FollowUp, list[str]]]:
        """Lists the follow-ups of a topic, each with the ways to ask it that are trained."""
        held = {text for texts in self.held_out_afterwards.values() for text in texts}
        found = [
            (part, [text for text in part.questions if text not in held]) for part in topic.follow
        ]
        return [(part, texts) for part, texts in found if texts]

    def plain_texts(self) -> Iterator[str]:
        """Yields all trained questions and answers once, for the tokenizer.

        What the model reads begins with a space, as in the chat template.
        """
        # So the three roles become one token each.
        yield from ["system", "user", "assistant"] * 2000
        for text in self._read_texts():
            yield f" {text}"
            yield f" {text[:1].upper()}{text[1:]}"
        rng = random.Random("plain texts")
        styles = self.material.styles
        for topic in (*self.topics, *(topic for style in styles for topic in style.topics)):
            for answer in topic.answers:
                # Answers count for more than the many variants of questions.
                yield from [answer] * 8
                saying = Saying(answer, topic.short, topic.keywords)
                yield from (style.dress(saying, rng)[0] for style in styles)
            yield from [topic.short] * 8
            for part in topic.follow:
                yield from part.answers * 8
        for fact in self.facts:
            yield from fact.noted * 4
            yield from [fact.unknown, *fact.said("")] * 8

    def _read_texts(self) -> Iterator[str]:
        """Yields what the model reads and never writes."""
        for own, framed in self.patterns.values():
            yield from (text for texts in (*own, *framed) for text in texts)
        for topic in self.topics:
            yield from (text for part in topic.follow for text in part.questions)
        for fact in self.facts:
            yield from (*fact.tells, *fact.asks)
        yield from (word for words in self.words.values() for word in words)
        yield from (text for patterns in self.systems.values() for text in patterns)
        yield from self.material.plain_systems

    @staticmethod
    def _split(topic: Topic, seed: int) -> tuple[set[str], list[str]]:
        key = f"{seed}:{topic.split_key}"
        held: set[str] = set()
        if len(topic.own) >= 4:
            held |= set(hold_out(topic.own, max(1, round(len(topic.own) / 10)), key))
        if topic.framed:
            held |= set(hold_out(topic.framed, max(1, round(len(topic.framed) / 20)), key))
        return {*topic.own, *topic.framed} - held, sorted(held)

    def _split_systems(self, seed: int) -> None:
        self.systems: dict[str, list[str]] = {}
        self.held_out_systems: dict[str, list[str]] = {}
        for style in self.material.styles:
            # The first is the plainest one, and shows what the style is about.
            rest = style.systems[1:]
            count = max(1, round(len(rest) * _HELD_OUT_SYSTEMS))
            held = hold_out(rest, count, f"{seed}:{style.id}")
            self.held_out_systems[style.id] = held
            self.systems[style.id] = [text for text in style.systems if text not in held]

    def _split_afterwards(self, seed: int) -> None:
        said = {question for turns in self.material.dialogues for question, _ in turns}
        self.held_out_afterwards: dict[str, list[str]] = {}
        for kind in ASKED_AFTERWARDS:
            texts = [text for text in self.material.frames[kind] if text not in said]
            held = hold_out(texts, round(len(texts) * _HELD_OUT_AFTERWARDS), f"{seed}:{kind}")
            self.held_out_afterwards[kind] = held

    def _always_trained(self) -> set[str]:
        """Normalises what cannot be held out, because follow-ups or dialogues say it."""
        held = {text for texts in self.held_out_afterwards.values() for text in texts}
        known = {question for turns in self.material.dialogues for question, _ in turns}
        for topic in self.topics:
            known |= {text for part in topic.follow for text in part.questions}
            known |= set(topic.always)
        return {normalise(text) for text in known - held}

    def _allowed(self, patterns: Sequence[str], kept: Collection[str]) -> list[list[str]]:
        """Expands the patterns that are kept, without anything that is held out."""
        expanded = [
            [text for text in expand(pattern) if normalise(text) not in self._avoid]
            for pattern in patterns
            if pattern in kept
        ]
        return [texts for texts in expanded if texts]

    def _hold_out_words(self, seed: int, avoid: set[str]) -> dict[str, list[str]]:
        """Keeps a tenth of the everyday words for off-topic questions of the evaluation."""
        rng = random.Random(f"{seed}:words")
        kept, held = {}, {}
        for kind, words in self.material.words.items():
            mixed = rng.sample(words, len(words))
            kept[kind], held[kind] = mixed[len(words) // 10 :], mixed[: len(words) // 10]
        keywords = next(topic.keywords for topic in self.topics if topic.id == "off_topic")
        for pattern in self.material.word_patterns:
            text = fill_words(pattern, held, rng)
            if "{" in pattern and normalise(text) not in avoid:
                self.held_out.append(Question("off_topic_words", text, keywords))
                avoid.add(normalise(text))
        return kept
