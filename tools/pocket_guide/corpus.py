"""Generates conversations from the authored material, the same ones for the same seed."""

import random
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tools.pocket_guide.material import ASIDES, Material, Style, Topic
from tools.pocket_guide.phrasing import dress, expand, normalise
from tools.pocket_guide.writer import Writer, fill_words

# Relative frequency of topics: small talk is easy, and long answers cost many tokens.
_WEIGHT_BARE = 0.8
_WEIGHT_LONG = 0.7
_WEIGHT_OFF_TOPIC = 7.0
_WEIGHT_MEMORY = 0.14
_LONG_ANSWER_CHARS = 500


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


@dataclass(frozen=True)
class Conversation:
    """A conversation to learn from.

    Attributes:
        messages: Pairs of role and content.
    """

    messages: tuple[tuple[str, str], ...]


class Corpus:
    """A source of conversations.

    Some patterns of every topic are held out: nothing that they stand for is ever generated.

    Attributes:
        held_out: The questions that no conversation contains.
        train: For each topic the questions that conversations are made of.
    """

    def __init__(self, material: Material, seed: int) -> None:
        """Splits the phrasings.

        Args:
            material: The authored material.
            seed: Decides which patterns are held out.
        """
        self._material = material
        self.held_out: list[Question] = []
        self.train: dict[str, list[str]] = {}
        self._patterns: dict[str, tuple[list[list[str]], list[list[str]]]] = {}
        topics = self._topics = material.topics + material.memory
        split = {topic.id: self._split(topic, seed) for topic in topics}
        # A phrasing of a follow-up or a dialogue is always trained, so it cannot be held out.
        known = {normalise(question) for turns in material.dialogues for question, _ in turns}
        known |= {
            normalise(text) for topic in topics for part in topic.follow for text in part.questions
        }
        known |= {normalise(text) for topic in topics for text in topic.always}
        self._held_norms: set[str] = set()
        for topic in topics:
            for pattern in split[topic.id][1]:
                for text in expand(pattern):
                    if normalise(text) not in known:
                        self.held_out.append(Question(topic.id, text, topic.keywords))
                        self._held_norms.add(normalise(text))
        for topic in topics:
            # As patterns of their own the suggested questions are asked often enough.
            own = self._allowed(topic.own, split[topic.id][0]) + [[text] for text in topic.always]
            framed = self._allowed(topic.framed, split[topic.id][0])
            self._patterns[topic.id] = (own, framed)
            self.train[topic.id] = [text for texts in own + framed for text in texts]
        self._words = self._hold_out_words(seed)
        self._writer = Writer(material, self._words, self._held_norms)
        self._weights = [self._weight(topic) for topic in topics]
        self._nothing = material.frames["no_more"]
        self._lost = next(topic for topic in topics if topic.id == "repeat")
        self._memory = {(topic.size, topic.precision): topic for topic in material.memory}

    @staticmethod
    def _split(topic: Topic, seed: int) -> tuple[set[str], list[str]]:
        rng = random.Random(f"{seed}:{topic.split_key}")
        held: set[str] = set()
        if len(topic.own) >= 4:
            held |= set(rng.sample(topic.own, max(1, round(len(topic.own) / 10))))
        if topic.framed:
            held |= set(rng.sample(topic.framed, max(1, round(len(topic.framed) / 20))))
        return {*topic.own, *topic.framed} - held, sorted(held)

    def _allowed(self, patterns: Sequence[str], kept: Collection[str]) -> list[list[str]]:
        """Expands the patterns that are kept, without anything that is held out."""
        expanded = [
            [text for text in expand(pattern) if normalise(text) not in self._held_norms]
            for pattern in patterns
            if pattern in kept
        ]
        return [texts for texts in expanded if texts]

    def _hold_out_words(self, seed: int) -> dict[str, list[str]]:
        """Keeps a tenth of the everyday words for off-topic questions of the evaluation."""
        rng = random.Random(f"{seed}:words")
        kept, held = {}, {}
        for kind, words in self._material.words.items():
            mixed = rng.sample(words, len(words))
            kept[kind], held[kind] = mixed[len(words) // 10 :], mixed[: len(words) // 10]
        keywords = next(topic.keywords for topic in self._topics if topic.id == "off_topic")
        for pattern in self._material.word_patterns:
            text = fill_words(pattern, held, rng)
            if "{" in pattern and normalise(text) not in self._held_norms:
                self.held_out.append(Question("off_topic_words", text, keywords))
                self._held_norms.add(normalise(text))
        return kept

    @staticmethod
    def _weight(topic: Topic) -> float:
        if topic.id == "off_topic":
            return _WEIGHT_OFF_TOPIC
        if topic.size is not None:
            return _WEIGHT_MEMORY
        if topic.bare:
            return _WEIGHT_BARE
        return _WEIGHT_LONG if len(topic.answers[0]) > _LONG_ANSWER_CHARS else 1.0

    def plain_texts(self) -> Iterator[str]:
        """Yields all trained questions and answers once, for the tokenizer."""
        for topic in self._topics:
            for text in self.train[topic.id]:
                yield text
                yield text[:1].upper() + text[1:]
            for answer in (*topic.answers, topic.short):
                for style in (None, *self._material.styles):
                    # Answers count for more than the many variants of questions.
                    yield from [self._styled(answer, style)] * 8
            for part in topic.follow:
                yield from part.questions
                yield from part.answers * 8
        yield from (f" {word}" for words in self._material.words.values() for word in words)
        for style in self._material.styles:
            yield from style.systems
        yield from self._material.plain_systems

    def conversations(self, seed: int, turns: int = 0) -> Iterator[Conversation]:
        """Yields conversations without end.

        Args:
            seed: Decides all of them.
            turns: Number of questions in each; zero means that it varies.

        Yields:
            Conversations of mostly one to six turns; a few are long.
        """
        rng = random.Random(f"conversations:{seed}:{turns}")
        while True:
            if not turns and rng.random() < 0.04:
                yield self._dialogue(rng)
            else:
                lengths, shares = (1, 2, 3, 4, 5, 6, 14), (20, 22, 22, 16, 10, 8, 1.5)
                yield self._chain(turns or rng.choices(lengths, shares)[0], rng)

    def _dialogue(self, rng: random.Random) -> Conversation:
        turns = rng.choice(self._material.dialogues)
        messages = [("system", rng.choice(self._material.plain_systems))] * (rng.random() < 0.3)
        for question, answer in turns:
            messages += [
                ("user", self._writer.typed(question, rng, bare=True)),
                ("assistant", answer),
            ]
        return Conversation(tuple(messages))

    def _chain(self, turns: int, rng: random.Random) -> Conversation:
        style: Style | None = None
        messages: list[tuple[str, str]] = []
        kind = rng.random()
        if kind < 0.25:
            systems = self._material.plain_systems
            if rng.random() < 0.3:
                systems = self._material.word_systems
            messages.append(("system", fill_words(rng.choice(systems), self._words, rng)))
        elif kind < 0.45:
            styles = self._material.styles
            style = rng.choices(styles, [entry.weight for entry in styles])[0]
            messages.append(("system", rng.choice(style.systems)))
        topic: Topic | None = None
        for _ in range(turns):
            follow = self._follow(topic, style, rng) if rng.random() < 0.3 else None
            if topic is None and rng.random() < 0.015:
                # A follow-up that follows nothing.
                topic, kind_of = self._lost, rng.choice(ASIDES)
                question = self._writer.typed(
                    rng.choice(self._material.frames[kind_of]), rng, bare=True
                )
                answer = self._answer(topic, style, rng)
            elif follow is None:
                topic = rng.choices(self._topics, self._weights)[0]
                question, answer = self._ask(topic, rng), self._answer(topic, style, rng)
            else:
                topic, question, answer = follow
            messages += [("user", question), ("assistant", answer)]
        return Conversation(tuple(messages))

    def _ask(self, topic: Topic, rng: random.Random) -> str:
        own, framed = self._patterns[topic.id]
        if topic.id == "off_topic":
            kind = rng.random()
            if kind < 0.1:
                return self._writer.gibberish(rng)
            if kind < 0.5:
                return self._writer.made(rng)
        # Half of the draws go to the patterns written for the topic, however many frames it has.
        patterns = own if own and (not framed or rng.random() < 0.5) else framed
        return self._writer.typed(rng.choice(rng.choice(patterns)), rng, bare=topic.bare)

    def _answer(self, topic: Topic, style: Style | None, rng: random.Random) -> str:
        answer = topic.short if style is not None and topic.short else rng.choice(topic.answers)
        return self._styled(answer, style)

    def _styled(self, answer: str, style: Style | None) -> str:
        words = self._material.wording
        if style is None or style.id == "short" or "\n" in answer or not answer:
            return answer
        if style.id == "pirate":
            for plain, said in words["pirate_words"]:
                answer = re.sub(rf"\b{plain}\b", said, answer)
        start, end = (words.get(f"{style.id}_{place}", "") for place in ("start", "end"))
        return f"{start}{answer}{end}"

    def _follow(
        self, topic: Topic | None, style: Style | None, rng: random.Random
    ) -> tuple[Topic, str, str] | None:
        """Draws a question that refers to the previous one, or None if there is none."""
        if topic is None:
            return None
        if topic.size is not None:
            if rng.random() < 0.5:
                precision = rng.choice(list(self._material.precisions))
                spelling = rng.choice(self._material.precisions[precision])
                question = rng.choice(self._material.follow_precision).replace("{prec}", spelling)
                topic = self._memory[topic.size, precision]
            else:
                size = rng.choice([size for size, name in self._memory if not name])
                question = rng.choice(self._material.follow_size)
                question = question.replace("{size}", f"{'an' if size == 8 else 'a'} {size}B")
                topic = self._memory[size, topic.precision]
            return topic, dress(question, rng), self._answer(topic, style, rng)
        if not topic.follow:
            return None
        weights = [0.25 if self._nothing in part.answers else 1.0 for part in topic.follow]
        part = rng.choices(topic.follow, weights)[0]
        question = self._writer.typed(rng.choice(part.questions), rng, bare=True)
        return topic, question, self._styled(rng.choice(part.answers), style)
