"""The authored material: topics, follow-ups, styles and dialogues, read from the TOML files."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.pocket_guide import DATA_DIR
from tools.pocket_guide.phrasing import expand

PARAMS_MARK = "@PARAMS@"

# Questions that may follow any topic; a topic's entry may hold the answer under these names.
ASIDES = ("more", "why", "example")


@dataclass(frozen=True)
class FollowUp:
    """A question that makes sense only right after a topic.

    Attributes:
        questions: Ways to ask it.
        answers: Answers, any of which will do.
        keywords: What an answer must contain; "a|b" means either.
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Topic:
    """Something the guide can answer.

    Attributes:
        id: Name of the topic.
        always: Questions that are never held out, such as those that the page suggests.
        own: Patterns written for this topic alone.
        framed: Patterns made from shared frames and the names of the topic.
        answers: Full answers, any of which will do.
        short: Answer in one sentence, or an empty text if only a full answer makes sense.
        keywords: What every answer must contain; "a|b" means either.
        follow: Follow-up questions.
        bare: True for small talk, which takes no words around it.
        split_key: Topics with the same key hold out the same patterns.
        size: Billions of parameters asked about, or None.
        precision: Name of the precision asked about, or an empty text.
    """

    id: str
    always: tuple[str, ...]
    own: tuple[str, ...]
    framed: tuple[str, ...]
    answers: tuple[str, ...]
    short: str
    keywords: tuple[str, ...]
    follow: tuple[FollowUp, ...] = ()
    bare: bool = False
    split_key: str = ""
    size: int | None = None
    precision: str = ""


@dataclass(frozen=True)
class Style:
    """A manner of answering that a system message asks for.

    Attributes:
        id: Name of the style.
        weight: How often the style is drawn, relative to the others.
        systems: System messages that ask for it.
    """

    id: str
    weight: int
    systems: tuple[str, ...]


@dataclass(frozen=True)
class Material:
    """Everything that the project wrote for the model.

    Attributes:
        topics: What the guide can answer, the off-topic reply included.
        memory: Topics about the memory of a model of a certain size and precision.
        styles: Manners of answering.
        plain_systems: System messages that change nothing.
        wording: Words of the styles, as in `styles.toml`.
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
    wording: dict[str, Any]
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


def _asides(said: dict[str, str], frames: dict[str, Any]) -> list[FollowUp]:
    """Builds the follow-ups that may come after any topic."""
    # A topic that has nothing to add says so, instead of beginning something else.
    answers = {kind: said.get(kind) or frames["no_more"] for kind in ASIDES}
    return [
        FollowUp(tuple(frames[kind]), (answer,), (answer[:24],)) for kind, answer in answers.items()
    ]


def _topic(entry: dict[str, Any], frames: dict[str, Any], params: str) -> Topic:
    def fill(text: str) -> str:
        return text.replace(PARAMS_MARK, params)

    follow = [
        FollowUp(tuple(part["q"]), tuple(fill(text) for text in part["a"]), tuple(part["keywords"]))
        for part in entry.get("follow", [])
    ]
    if not entry.get("bare", False):
        follow += _asides({kind: fill(entry.get(kind, "")) for kind in ASIDES}, frames)
    framed = [
        frame.replace("{s}", name)
        for kind in entry.get("ask", ["define"] if "names" in entry else [])
        for frame in frames[kind]
        for name in entry["names"]
    ]
    return Topic(
        id=entry["id"],
        always=tuple(entry.get("always", [])),
        own=tuple(entry.get("phrasings", [])),
        framed=tuple(framed),
        answers=tuple(fill(text) for text in entry["answers"]),
        short=fill(entry.get("short", "")),
        keywords=tuple(fill(text) for text in entry["keywords"]),
        follow=tuple(follow),
        bare=entry.get("bare", False),
        split_key=entry["id"],
    )


def _gigabytes(size: int, bytes_each: float) -> str:
    return f"{size * bytes_each:g} GB"


def _memory_topics(data: dict[str, Any]) -> list[Topic]:
    """Builds a topic for every size, alone and with every precision."""
    topics = []
    for size in data["sizes"]:
        article = "an" if size == 8 else "a"
        names = "{" + f"{article} {size}B|{article} {size} billion parameter|the {size}B" + "}"
        name = f"{article} {size}B model".capitalize().replace(f"{size}b", f"{size}B")
        full = {part["name"]: _gigabytes(size, part["bytes"]) for part in data["precision"]}
        all_of_them = (
            f"{name} needs about {full['float32']} in float32, {full['bfloat16']} in bfloat16, "
            f"{full['8-bit']} in 8-bit and {full['4-bit']} in 4-bit, for the weights alone."
        )
        topics.append(
            Topic(
                id=f"memory_{size}b",
                always=(),
                own=tuple(text.replace("{size}", names) for text in data["plain"]),
                framed=(),
                answers=(all_of_them,),
                short=all_of_them,
                keywords=tuple(full.values()),
                split_key="memory_plain",
                size=size,
            )
        )
        for part in data["precision"]:
            spellings = "{" + "|".join(part["spellings"]) + "}"
            need = full[part["name"]]
            said = "1 billion weight" if size == 1 else f"{size} billion weight"
            answer = (
                f"{name} needs about {need} in {part['name']}: {said}s times {part['words']} each."
            )
            topics.append(
                Topic(
                    id=f"memory_{size}b_{part['name']}",
                    always=(),
                    own=tuple(
                        text.replace("{size}", names).replace("{prec}", spellings)
                        for text in data["phrasings"]
                    ),
                    framed=(),
                    answers=(answer,),
                    short=answer,
                    keywords=(f" {need}",),
                    split_key="memory_precise",
                    size=size,
                    precision=part["name"],
                )
            )
    return topics


def _memory_rule(data: dict[str, Any]) -> Topic:
    """Builds the topic for sizes whose product the model does not know by heart."""
    sizes = "{" + "|".join(f"a {size}B" for size in data["unknown_sizes"]) + "}"
    own = list(data["rule_phrasings"])
    own += [text.replace("{size}", sizes) for text in data["plain"]]
    return Topic(
        id="memory_rule",
        always=(),
        own=tuple(own),
        framed=(),
        answers=(data["rule"],),
        short=data["rule"],
        keywords=("Multiply", "by 4"),
        split_key="memory_rule",
    )


def _off_topic(data: dict[str, Any], frames: dict[str, Any]) -> Topic:
    framed = [frame.replace("{s}", name) for frame in frames["define"] for name in data["subjects"]]
    return Topic(
        id="off_topic",
        always=(),
        own=tuple(data["questions"]),
        framed=tuple(framed),
        answers=tuple(data["answers"]),
        short=data["short"],
        keywords=tuple(data["keywords"]),
        follow=tuple(_asides({"why": data["why"]}, frames)),
        split_key="off_topic",
    )


def load(params: str, folder: Path = DATA_DIR) -> Material:
    """Reads the authored material.

    Args:
        params: Number of parameters of the model in words, for example "4.6 million".
        folder: Where the TOML files are.

    Returns:
        The material with the number filled in.
    """
    frames, memory, styles = (_read(folder, name) for name in ("frames", "memory", "styles"))
    off_topic = _read(folder, "offtopic")
    entries = [
        entry for name in ("smalltalk", "app", "concepts") for entry in _read(folder, name)["topic"]
    ]
    topics = [_topic(entry, frames, params) for entry in entries]
    topics += [_off_topic(off_topic, frames), _memory_rule(memory)]
    frames["gibberish"] = off_topic["gibberish"]
    words = _read(folder, "words")
    return Material(
        topics=tuple(topics),
        memory=tuple(_memory_topics(memory)),
        styles=tuple(
            Style(entry["id"], entry["weight"], tuple(entry["systems"]))
            for entry in styles["style"]
        ),
        plain_systems=tuple(text for line in styles["plain"] for text in expand(line)),
        wording=styles["wording"],
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
