"""The authored material: topics, facts, styles and dialogues, read from the TOML files."""

import tomllib
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from tools.pocket_guide import DATA_DIR
from tools.pocket_guide.facts import Fact
from tools.pocket_guide.phrasing import expand
from tools.pocket_guide.styles import Style
from tools.pocket_guide.topics import Topic, memory_rule, memory_topics, off_topic, topic_of


@dataclass(frozen=True)
class Material:
    """Everything that the project wrote for the model.

    Attributes:
        topics: What the guide can answer, the off-topic reply included.
        memory: Topics about the memory of a model of a certain size and precision.
        styles: Manners of answering.
        plain_systems: System messages that change nothing.
        facts: What a person may tell about themselves.
        everything: Patterns that ask for all that was told.
        nothing: Answer to that if nothing was told.
        echoes: Patterns that ask to say words back.
        echoed: The answer to these.
        corrections: Words before something that was told wrongly before.
        dialogues: Whole conversations as pairs of question and answer.
        frames: Words around questions: "before", "after" and "hurried".
        words: Everyday "nouns", "verbs" and "adjectives".
        word_patterns: Off-topic questions made of such words.
        word_systems: System messages made of such words.
        follow_precision: Follow-ups that name another precision.
        follow_size: Follow-ups that name another size.
        precisions: For each precision its spellings.
    """

    topics: tuple[Topic, ...]
    memory: tuple[Topic, ...]
    styles: tuple[Style, ...]
    plain_systems: tuple[str, ...]
    facts: tuple[Fact, ...]
    everything: tuple[str, ...]
    nothing: str
    echoes: tuple[str, ...]
    echoed: str
    corrections: tuple[str, ...]
    dialogues: tuple[tuple[tuple[str, str], ...], ...]
    frames: dict[str, Any]
    words: dict[str, tuple[str, ...]]
    word_patterns: tuple[str, ...]
    word_systems: tuple[str, ...]
    follow_precision: tuple[str, ...]
    follow_size: tuple[str, ...]
    precisions: dict[str, tuple[str, ...]] = field(default_factory=dict)


def _read(folder: Path, name: str) -> dict[str, Any]:
    with (folder / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)


def _styles(data: dict[str, Any], frames: dict[str, Any], params: str) -> tuple[Style, ...]:
    return tuple(
        Style(
            id=entry["id"],
            weight=entry["weight"],
            systems=tuple(entry["systems"]),
            around=tuple((start, end) for start, end in entry.get("pairs", []))
            or tuple(product(entry.get("start", [""]), entry.get("end", [""]))),
            words=tuple((usual, said) for usual, said in entry.get("words", [])),
            form="lines" if "pairs" in entry else entry.get("form", ""),
            topics=tuple(
                topic_of({**topic, "bare": True}, frames, params)
                for topic in entry.get("topic", [])
            ),
        )
        for entry in data["style"]
    )


def _facts(data: dict[str, Any]) -> tuple[Fact, ...]:
    return tuple(
        Fact(
            id=entry["id"],
            clause=entry["clause"],
            noted=(
                *entry.get("noted", []),
                f"Noted: {entry['clause']}.",
                f"I will remember that {entry['clause']}.",
            ),
            unknown=entry["unknown"],
            tells=tuple(entry["tells"]),
            asks=tuple(entry["asks"]),
            values=tuple(entry["values"].split()),
        )
        for entry in data["fact"]
    )


def load(params: str, folder: Path = DATA_DIR) -> Material:
    """Reads the authored material.

    Args:
        params: Number of parameters of the model in words, for example "4.7 million".
        folder: Where the TOML files are.

    Returns:
        The material with the number filled in.
    """
    frames, memory, styles = (_read(folder, name) for name in ("frames", "memory", "styles"))
    unknown, facts = _read(folder, "offtopic"), _read(folder, "facts")
    entries = [
        entry for name in ("smalltalk", "app", "concepts") for entry in _read(folder, name)["topic"]
    ]
    topics = [topic_of(entry, frames, params) for entry in entries]
    topics += [off_topic(unknown, frames), memory_rule(memory)]
    frames["gibberish"] = unknown["gibberish"]
    words = _read(folder, "words")
    return Material(
        topics=tuple(topics),
        memory=tuple(memory_topics(memory)),
        styles=_styles(styles, frames, params),
        plain_systems=tuple(text for line in styles["plain"] for text in expand(line)),
        facts=_facts(facts),
        everything=tuple(facts["everything"]),
        nothing=facts["nothing"],
        echoes=tuple(facts["echoes"]),
        echoed=facts["echoed"],
        corrections=tuple(facts["corrections"]),
        dialogues=tuple(
            tuple((question, answer) for question, answer in entry["turns"])
            for entry in _read(folder, "dialogues")["dialogue"]
        ),
        frames=frames,
        words={kind: tuple(words[kind].split()) for kind in ("nouns", "verbs", "adjectives")},
        word_patterns=tuple(words["patterns"]),
        word_systems=tuple(words["systems"]),
        follow_precision=tuple(memory["follow_prec"]),
        follow_size=tuple(memory["follow_size"]),
        precisions={part["name"]: tuple(part["spellings"]) for part in memory["precision"]},
    )
