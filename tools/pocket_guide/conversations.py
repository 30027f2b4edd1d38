"""Generates conversations to learn from, the same ones for the same seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tools.pocket_guide.corpus import Corpus
from tools.pocket_guide.facts import VALUE_MARK, Fact, draw_pattern, draw_value, invent
from tools.pocket_guide.phrasing import dress
from tools.pocket_guide.styles import Saying, Style
from tools.pocket_guide.topics import ASKED_AFTERWARDS, Topic
from tools.pocket_guide.writer import fill_words

# Relative frequency of topics: small talk is easy, and long answers cost many tokens.
_WEIGHT_BARE = 0.8
_WEIGHT_LONG = 0.7
_WEIGHT_OFF_TOPIC = 24.0
_WEIGHT_MEMORY = 0.14
_LONG_ANSWER_CHARS = 500

_LENGTHS = (1, 2, 3, 4, 5, 6, 12, 26)
_LENGTH_SHARES = (18, 22, 22, 16, 10, 8, 2, 0.4)
_FACT_LENGTHS = (1, 2, 3, 4, 6)
_FACT_LENGTH_SHARES = (1, 3, 3, 2, 1)
_PLAIN_SYSTEM_SHARE = 0.2
_STYLE_SHARE = 0.35
_JOINT_SYSTEM_SHARE = 0.15
# Of single questions fewer have a system message: so more are asked in the same time.
_SYSTEM_SHARE_SINGLE = 0.6
_PERSONAL_SHARE = 0.3
_PERSONAL_SHARE_SINGLE = 0.1
_ECHO_SHARE = 0.35
_FOLLOW_SHARE = 0.42
# However many frames a topic has: the patterns that were written for it alone differ more.
_OWN_SHARE = 0.75

# A mark that no slip and no letter case changes.
_HOLE = "\u0001"


@dataclass(frozen=True)
class Conversation:
    """A conversation to learn from.

    Attributes:
        messages: Pairs of role and content.
        lead: The words before what counts in the first answer, such as a style's opening.
        says_back: Whether answers may say back what the person said.
    """

    messages: tuple[tuple[str, str], ...]
    lead: str = ""
    says_back: bool = False


def conversations(
    corpus: Corpus, seed: int, turns: int = 0, only_facts: bool = False
) -> Iterator[Conversation]:
    """Yields conversations without end.

    Args:
        corpus: What they are made of.
        seed: Decides all of them.
        turns: Number of questions in each; zero means that it varies.
        only_facts: Whether facts are all that is talked about. From these copying is learned
            soonest, since hardly anything else is to be written.

    Yields:
        Conversations of mostly one to six turns; a few are long.
    """
    rng = random.Random(f"conversations:{seed}:{turns}:{only_facts}")
    maker = _Maker(corpus, rng)
    while True:
        if only_facts:
            yield maker.chain(turns or rng.choices(_FACT_LENGTHS, _FACT_LENGTH_SHARES)[0], True)
            continue
        if not turns and rng.random() < 0.04:
            yield maker.dialogue()
        else:
            yield maker.chain(turns or rng.choices(_LENGTHS, _LENGTH_SHARES)[0])


def _weight(topic: Topic) -> float:
    if topic.id == "off_topic":
        return _WEIGHT_OFF_TOPIC
    if topic.size is not None:
        return _WEIGHT_MEMORY
    if topic.bare:
        return _WEIGHT_BARE
    return _WEIGHT_LONG if len(topic.answers[0]) > _LONG_ANSWER_CHARS else 1.0


class _Maker:
    """Makes one conversation after the other from one source of randomness."""

    def __init__(self, corpus: Corpus, rng: random.Random) -> None:
        self.corpus, self.rng = corpus, rng
        self.material, self.writer = corpus.material, corpus.writer
        self.weights = [_weight(topic) for topic in corpus.topics]
        self.small_talk = [topic for topic in corpus.topics if topic.bare]
        self.lost = next(topic for topic in corpus.topics if topic.id == "repeat")
        self.off_topic = next(topic for topic in corpus.topics if topic.id == "off_topic")
        self.nothing = self.material.frames["no_more"]
        self.memory = {(topic.size, topic.precision): topic for topic in self.material.memory}
        self.style_topics = [topic for style in self.material.styles for topic in style.topics]
        self.follow_ups = {topic.id: corpus.follow_ups(topic) for topic in corpus.topics}

    def dialogue(self) -> Conversation:
        rng = self.rng
        turns = rng.choice(self.material.dialogues)
        messages = [("system", rng.choice(self.material.plain_systems))] * (rng.random() < 0.3)
        for question, answer in turns:
            # A slip could change a name that is said back later.
            messages += [("user", dress(question, rng)), ("assistant", answer)]
        return Conversation(tuple(messages))

    def chain(self, turns: int, only_facts: bool = False) -> Conversation:
        rng, kind = self.rng, self.rng.random()
        if turns == 1:
            kind /= _SYSTEM_SHARE_SINGLE
        style: Style | None = None
        system = ""
        if kind < _PLAIN_SYSTEM_SHARE:
            systems = self.material.plain_systems
            if rng.random() < 0.3:
                systems = self.material.word_systems
            system = fill_words(rng.choice(systems), self.corpus.words, rng)
        elif kind < _PLAIN_SYSTEM_SHARE + _STYLE_SHARE:
            styles = self.material.styles
            style = rng.choices(styles, [entry.weight for entry in styles])[0]
            system = draw_pattern(tuple(self.corpus.systems[style.id]), rng)
            if rng.random() < _JOINT_SYSTEM_SHARE:
                # What asks for the style may stand among other things.
                both = [system, rng.choice(self.material.plain_systems)]
                system = " ".join(rng.sample(both, 2))
            if rng.random() < 0.15:
                system = system.rstrip(".!")
            if rng.random() < 0.1:
                system = system.lower()
        chain = _Chain(self, style, system)
        return chain.make_of_facts(turns) if only_facts else chain.make(turns)


class _Chain:
    """One conversation while it is being made."""

    def __init__(self, maker: _Maker, style: Style | None, system: str) -> None:
        self._maker, self._style = maker, style
        self._rng, self._corpus, self._writer = maker.rng, maker.corpus, maker.writer
        self._messages = [("system", system)] if system else []
        self._lead = ""
        self._topic: Topic | None = None
        self._known: dict[str, tuple[Fact, str]] = {}

    def make(self, turns: int) -> Conversation:
        is_personal = self._rng.random() < (
            _PERSONAL_SHARE_SINGLE if turns == 1 else _PERSONAL_SHARE
        )
        for turn in range(turns):
            if is_personal and self._fact_turn(turn, turns):
                continue
            if self._style_turn() or self._follow_turn():
                continue
            self._topic_turn(is_personal)
        # A size and a precision that are asked about stand in the answer, too.
        is_sized = self._topic is not None and self._topic.size is not None
        return Conversation(tuple(self._messages), self._lead, is_personal or is_sized)

    def make_of_facts(self, turns: int) -> Conversation:
        for _ in range(turns):
            if self._rng.random() < _ECHO_SHARE:
                self._echo()
            elif self._rng.random() < (0.35 if self._known else 0.85):
                self._tell()
            else:
                self._ask()
        return Conversation(tuple(self._messages), self._lead, says_back=True)

    def _say(self, question: str, saying: Saying) -> None:
        answer, lead = saying.answer, ""
        if self._style is not None:
            answer, lead = self._style.dress(saying, self._rng)
        if not any(role == "assistant" for role, _ in self._messages):
            self._lead = lead
        self._messages += [("user", question), ("assistant", answer)]

    # What the person told.

    def _fact_turn(self, turn: int, turns: int) -> bool:
        """Tells a fact or asks for one; says whether it did."""
        rng, chance = self._rng, self._rng.random()
        if turns == 1:
            tells = chance < 0.6
        elif not self._known:
            # Sometimes nothing is ever told.
            tells = chance < (0.75 if turn == 0 else 0.3)
            if not tells and chance < 0.85:
                return False
        elif turn == turns - 1:
            tells = chance < 0.1
        else:
            tells = chance < 0.15
            if not tells and chance > 0.45:
                return False
        self._topic = None
        if rng.random() < 0.04:
            self._echo()
        elif tells:
            self._tell()
        elif rng.random() < 0.08:
            self._ask_everything()
        else:
            self._ask()
        return True

    def _tell(self) -> None:
        rng = self._rng
        told = rng.sample(self._corpus.facts, 2 if rng.random() < 0.15 else 1)
        if len(told) == 1 and self._known and rng.random() < 0.25:
            told = [rng.choice(list(self._known.values()))[0]]
        texts, noted, clauses = [], "", []
        for fact in told:
            value = draw_value(fact, rng, self._corpus.everyday, self._corpus.kept_back)
            text = draw_pattern(fact.tells, rng).replace(VALUE_MARK, _HOLE)
            if fact.id in self._known and rng.random() < 0.7:
                text = rng.choice(self._corpus.material.corrections) + text
            text = self._writer.typed(text, rng, bare=len(told) > 1 or rng.random() < 0.7)
            if text.isupper():
                value = value.upper()
            texts.append(text.replace(_HOLE, value))
            clauses.append(fact.clause.replace(VALUE_MARK, value))
            noted = rng.choice(fact.noted).replace(VALUE_MARK, value)
            # The last thing told is the one that counts, in the order of telling.
            self._known.pop(fact.id, None)
            self._known[fact.id] = fact, value
        if len(told) > 1:
            noted = f"Noted: {' and '.join(clauses)}."
        joint = rng.choice((" and ", ", and ", ", ")) if len(told) > 1 else ""
        question = joint.join((texts[0].rstrip(".!"), *texts[1:]))
        if question[-1].isalnum() and rng.random() < 0.3:
            question += rng.choice((".", "!"))
        is_first = not any(role == "assistant" for role, _ in self._messages)
        self._say(question, Saying(noted))
        if is_first:
            # What counts in this answer is the value.
            self._lead = self._messages[-1][1].split(value)[0]

    def _echo(self) -> None:
        rng, material = self._rng, self._corpus.material
        everyday = self._corpus.everyday
        words = " ".join(
            rng.choices((rng.choice(everyday), invent(rng), str(rng.randrange(999))), (5, 4, 1))[0]
            for _ in range(rng.choice((1, 2, 3, 5, 8, 12)))
        )
        question = rng.choice(material.echoes).replace(VALUE_MARK, words)
        if rng.random() < 0.5:
            question = question[0].upper() + question[1:]
        self._say(question, Saying(material.echoed.replace(VALUE_MARK, words)))

    def _ask(self) -> None:
        rng = self._rng
        fact = rng.choice(self._corpus.facts)
        if self._known and rng.random() < 0.85:
            fact = rng.choice(list(self._known.values()))[0]
        question = self._writer.typed(draw_pattern(fact.asks, rng), rng, bare=rng.random() < 0.6)
        answer = fact.unknown
        if fact.id in self._known:
            answer = rng.choice(fact.said(self._known[fact.id][1]))
        self._say(question, Saying(answer, answer))

    def _ask_everything(self) -> None:
        material = self._corpus.material
        question = self._writer.typed(draw_pattern(material.everything, self._rng), self._rng, True)
        clauses = [fact.clause.replace(VALUE_MARK, value) for fact, value in self._known.values()]
        answer = f"You told me that {' and '.join(clauses)}." if clauses else material.nothing
        self._say(question, Saying(answer, answer))

    # What the guide knows.

    def _style_turn(self) -> bool:
        """Asks what only a style answers; says whether it did."""
        rng, style = self._rng, self._style
        if style is None or not style.topics or rng.random() >= 0.22:
            return False
        first = rng.randrange(len(style.topics))
        # The next one may refer to what the first one says.
        for topic in style.topics[first : first + (2 if rng.random() < 0.5 else 1)]:
            # The answers are in character as they are.
            self._messages += [
                ("user", self._question(topic)),
                ("assistant", rng.choice(topic.answers)),
            ]
        self._topic = None
        return True

    def _follow_turn(self) -> bool:
        """Asks a question that refers to the answer before; says whether it did."""
        rng, topic = self._rng, self._topic
        if topic is None:
            if rng.random() >= 0.015 or self._known:
                return False
            # A follow-up that follows nothing.
            kind = rng.choice(ASKED_AFTERWARDS)
            held = self._corpus.held_out_afterwards[kind]
            texts = [text for text in self._corpus.material.frames[kind] if text not in held]
            self._topic = self._maker.lost
            self._say(self._writer.typed(rng.choice(texts), rng, True), _saying(self._topic, rng))
            return True
        if rng.random() >= _FOLLOW_SHARE:
            return False
        if topic.size is not None:
            self._follow_memory(topic)
            return True
        parts = self._maker.follow_ups[topic.id]
        if not parts:
            return False
        nothing = self._maker.nothing
        weights = [0.2 if nothing in part.answers else 1.0 for part, _ in parts]
        part, texts = rng.choices(parts, weights)[0]
        question = self._writer.typed(rng.choice(texts), rng, bare=True)
        self._say(question, Saying(rng.choice(part.answers), keywords=part.keywords))
        return True

    def _follow_memory(self, topic: Topic) -> None:
        """Asks for the same in another precision, or of another size."""
        rng, material = self._rng, self._corpus.material
        if rng.random() < 0.5:
            precision = rng.choice(list(material.precisions))
            spelling = rng.choice(material.precisions[precision])
            question = rng.choice(material.follow_precision).replace("{prec}", spelling)
            topic = self._maker.memory[topic.size, precision]
        else:
            size = rng.choice([size for size, name in self._maker.memory if not name])
            question = rng.choice(material.follow_size)
            question = question.replace("{size}", f"{'an' if size == 8 else 'a'} {size}B")
            topic = self._maker.memory[size, topic.precision]
        self._topic = topic
        self._say(dress(question, rng), _saying(topic, rng))

    def _topic_turn(self, is_personal: bool) -> None:
        rng, maker = self._rng, self._maker
        if self._style is None and rng.random() < 0.02:
            # What a style would play along with is off topic to the others.
            self._topic = maker.off_topic
            self._say(self._question(rng.choice(maker.style_topics)), _saying(self._topic, rng))
            return
        if is_personal and rng.random() < 0.4:
            topic = rng.choice(maker.small_talk)
        else:
            topic = rng.choices(self._corpus.topics, maker.weights)[0]
        self._topic = topic
        self._say(self._question(topic), _saying(topic, rng))

    def _question(self, topic: Topic) -> str:
        rng = self._rng
        own, framed = self._corpus.patterns[topic.id]
        if topic.id == "off_topic":
            kind = rng.random()
            if kind < 0.1:
                return self._writer.gibberish(rng)
            if kind < 0.5:
                return self._writer.made(rng)
        patterns = own if own and (not framed or rng.random() < _OWN_SHARE) else framed
        return self._writer.typed(rng.choice(rng.choice(patterns)), rng, bare=topic.bare)


def _saying(topic: Topic, rng: random.Random) -> Saying:
    return Saying(rng.choice(topic.answers), topic.short, topic.keywords)
