"""Makes the tasks of the evaluation, from what the training never sees."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from tools.pocket_guide.conversations import conversations
from tools.pocket_guide.corpus import Corpus, Question
from tools.pocket_guide.facts import VALUE_MARK, draw_pattern, draw_value
from tools.pocket_guide.keywords import has_keywords
from tools.pocket_guide.phrasing import expand, misspell
from tools.pocket_guide.styles import Style

_PER_TOPIC = 2
_PER_STYLE = 16
_MEMORIES = 160
_NEVER_TOLD = 40
_FOLLOW_UPS = 80
_OFF_TOPIC = 80
_LONG = 60
_PLAIN = 60
_TURNS_BEFORE = 11

Messages = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Task:
    """Something to ask, and how to tell whether the answer is right.

    Attributes:
        suite: What it is a task of.
        name: The topic or the kind.
        chat: The conversation as pairs of role and content, with the question last.
        keywords: What the answer must contain; "a|b" means either.
        style: The style that the answer must have, if any.
    """

    suite: str
    name: str
    chat: Messages
    keywords: tuple[str, ...]
    style: Style | None = None

    def is_right(self, answer: str) -> bool:
        """Says whether the content is right."""
        return has_keywords(answer, self.keywords)


def make_tasks(corpus: Corpus, seed: int) -> list[Task]:
    """Makes the tasks of all suites.

    Args:
        corpus: Has what is held out.
        seed: Decides the draw.

    Returns:
        The tasks, suite by suite.
    """
    rng = random.Random(f"exams:{seed}")
    questions = _sample(corpus, rng)
    off_topic = [asked for asked in corpus.held_out if asked.topic.startswith("off_topic")]
    off_topic = rng.sample(off_topic, min(_OFF_TOPIC, len(off_topic)))
    topics = [Task("topics", asked.topic, (("user", asked.text),), asked.keywords)
              for asked in questions]  # fmt: skip
    tasks = list(topics)
    tasks += [replace(task, suite="topics, with capitals", chat=_careful(corpus, task.chat))
              for task in topics]  # fmt: skip
    tasks += [replace(task, suite="topics, one slip",
                      chat=(("user", misspell(task.chat[0][1], rng)),))
              for task in topics]  # fmt: skip
    before = _conversations_before(corpus, seed, 2)
    tasks += [replace(task, suite="topics, third question", chat=next(before) + task.chat)
              for task in topics]  # fmt: skip
    before = _conversations_before(corpus, seed, _TURNS_BEFORE)
    tasks += [replace(task, suite="topics, twelfth question", chat=next(before) + task.chat)
              for task in rng.sample(topics, min(_LONG, len(topics)))]  # fmt: skip
    tasks += [Task("off topic", asked.topic, (("user", asked.text),), asked.keywords)
              for asked in off_topic]  # fmt: skip
    tasks += _follow_ups(corpus, rng)
    tasks += _memories(corpus, seed, rng)
    tasks += _never_told(corpus, seed, rng)
    tasks += _in_style(corpus, questions, rng)
    return tasks


def _sample(corpus: Corpus, rng: random.Random) -> list[Question]:
    """Draws held-out questions, the same number from every topic; more of the many about memory."""
    groups: dict[str, list[Question]] = {}
    for question in corpus.held_out:
        if not question.topic.startswith("off_topic"):
            key = re.sub(r"_\d+b", "", question.topic)
            key = re.sub(r"memory_(float32|bfloat16|.-bit)", "memory_in", key)
            groups.setdefault(key, []).append(question)
    chosen = []
    for key, group in groups.items():
        count = _PER_TOPIC * (6 if key.startswith("memory") else 1)
        chosen += rng.sample(group, min(count, len(group)))
    return chosen


def _careful(corpus: Corpus, chat: Messages) -> Messages:
    """Writes a question as somebody who cares for capitals and signs."""
    text = corpus.writer.with_capitals(chat[0][1])
    text = re.sub(r"\bi\b", "I", text[:1].upper() + text[1:])
    return (("user", text if text.endswith(("?", "!", ".")) else f"{text}?"),)


def _conversations_before(corpus: Corpus, seed: int, turns: int) -> Iterator[Messages]:
    """Yields trained conversations of a number of turns, without a system message."""
    for made in conversations(corpus, seed + 1000, turns):
        if made.messages[0][0] == "user":
            yield made.messages


def _follow_ups(corpus: Corpus, rng: random.Random) -> list[Task]:
    """Makes tasks that refer to an answer: "why", "shorter please" and so on."""
    nothing = corpus.material.frames["no_more"]
    made = []
    for topic in corpus.topics:
        for kind, texts in corpus.held_out_afterwards.items():
            known = set(corpus.material.frames[kind])
            for part in topic.follow:
                if known.issubset(part.questions) and nothing not in part.answers:
                    asked = rng.choice(corpus.train[topic.id])
                    chat = (
                        ("user", asked),
                        ("assistant", topic.answers[0]),
                        ("user", rng.choice(texts)),
                    )
                    made.append(Task("follow-ups", f"{topic.id}: {kind}", chat, part.keywords))
    return rng.sample(made, min(_FOLLOW_UPS, len(made)))


def _memories(corpus: Corpus, seed: int, rng: random.Random) -> list[Task]:
    """Makes tasks in which something is told, and asked for after one to seven turns."""
    tasks = []
    for index in range(_MEMORIES):
        fact = corpus.held_out_facts[index % len(corpus.held_out_facts)]
        distance = index // len(corpus.held_out_facts) % 7
        value = draw_value(fact, rng, is_held_out=True)
        told = draw_pattern(fact.tells, rng).replace(VALUE_MARK, value)
        chat: Messages = (("user", told), ("assistant", _noted(fact.noted[0], value)))
        if distance:
            chat += next(_small_talk(corpus, seed + index, distance))
        chat += (("user", draw_pattern(fact.asks, rng)),)
        right = fact.clause.replace(VALUE_MARK, value) + "."
        tasks.append(Task("memory", f"{fact.id} after {distance}", chat, (right,)))
    return tasks


def _noted(pattern: str, value: str) -> str:
    return pattern.replace(VALUE_MARK, value)


def _small_talk(corpus: Corpus, seed: int, turns: int) -> Iterator[Messages]:
    """Yields trained conversations in which nothing personal is told."""
    unknown = {fact.clause.split(VALUE_MARK)[0] for fact in corpus.facts}
    for messages in _conversations_before(corpus, seed, turns):
        said = " ".join(content for role, content in messages if role == "assistant")
        if not any(words in said for words in unknown) and "told me" not in said:
            yield messages


def _never_told(corpus: Corpus, seed: int, rng: random.Random) -> list[Task]:
    tasks = []
    for index in range(_NEVER_TOLD):
        fact = corpus.held_out_facts[index % len(corpus.held_out_facts)]
        chat: Messages = ()
        if index % 3:
            chat = next(_small_talk(corpus, seed + index, index % 3))
        chat += (("user", draw_pattern(fact.asks, rng)),)
        tasks.append(Task("never told", fact.id, chat, (fact.unknown,)))
    return tasks


def _in_style(corpus: Corpus, questions: Sequence[Question], rng: random.Random) -> list[Task]:
    """Makes tasks with held-out system messages, and some with ones that ask for no style."""
    tasks = []
    # Code, tables and formulas have no answer in one sentence.
    in_words = {topic.id for topic in corpus.topics if topic.short}
    questions = [asked for asked in questions if asked.topic in in_words]
    for style in corpus.material.styles:
        systems = [
            text for pattern in corpus.held_out_systems[style.id] for text in expand(pattern)
        ]
        for index, asked in enumerate(rng.sample(questions, min(_PER_STYLE, len(questions)))):
            chat = (("system", systems[index % len(systems)]), ("user", asked.text))
            tasks.append(Task("styles", asked.topic, chat, asked.keywords, style))
        for own in corpus.held_out_in_style.get(style.id, []):
            chat = (("system", style.systems[0]), ("user", own.text))
            tasks.append(Task("styles, in character", own.topic, chat, own.keywords))
            off_topic = next(topic for topic in corpus.topics if topic.id == "off_topic")
            tasks.append(Task("off topic", own.topic, chat[1:], off_topic.keywords))
    plain = list(islice(corpus.material.plain_systems, _PLAIN))
    for index, asked in enumerate(rng.sample(questions, min(_PLAIN, len(questions)))):
        chat = (("system", plain[index % len(plain)]), ("user", asked.text))
        tasks.append(Task("plain system message", asked.topic, chat, asked.keywords))
    return tasks
