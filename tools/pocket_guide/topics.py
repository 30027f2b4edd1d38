"""Topics: what the guide can answer, and how they are made from the entries of the TOML files."""

from dataclasses import dataclass
from typing import Any

PARAMS_MARK = "@PARAMS@"

# Questions that may follow any topic; a topic's entry may hold the answer under these names.
ASIDES = ("more", "why", "example")
# These and the one that asks for the same in one sentence have entries in `frames.toml`.
ASKED_AFTERWARDS = (*ASIDES, "shorter")


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


def _asides(said: dict[str, str], frames: dict[str, Any]) -> list[FollowUp]:
    """Builds the follow-ups that may come after any topic."""
    # A topic that has nothing to add says so, instead of beginning something else.
    answers = {kind: said.get(kind) or frames["no_more"] for kind in ASIDES}
    return [
        FollowUp(tuple(frames[kind]), (answer,), (answer[:24],)) for kind, answer in answers.items()
    ]


def _shorter(
    answers: list[str], frames: dict[str, Any], short: str, keywords: tuple[str, ...]
) -> list[FollowUp]:
    """Builds the follow-up that asks for less, where there is less to say."""
    if not short or short in answers:
        return []
    return [FollowUp(tuple(frames["shorter"]), (short,), keywords)]


def topic_of(entry: dict[str, Any], frames: dict[str, Any], params: str) -> Topic:
    """Builds a topic.

    Args:
        entry: What a TOML file says of it.
        frames: Ways to ask that topics share.
        params: Number of parameters of the model in words.

    Returns:
        The topic, with the follow-ups that any topic has unless it is small talk.
    """

    def fill(text: str) -> str:
        return text.replace(PARAMS_MARK, params)

    short = fill(entry.get("short", ""))
    keywords = tuple(fill(text) for text in entry["keywords"])
    follow = [
        FollowUp(tuple(part["q"]), tuple(fill(text) for text in part["a"]), tuple(part["keywords"]))
        for part in entry.get("follow", [])
    ]
    if not entry.get("bare", False):
        follow += _asides({kind: fill(entry.get(kind, "")) for kind in ASIDES}, frames)
        follow += _shorter(entry["answers"], frames, short, keywords)
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
        short=short,
        keywords=keywords,
        follow=tuple(follow),
        bare=entry.get("bare", False),
        split_key=entry["id"],
    )


def _gigabytes(size: int, bytes_each: float) -> str:
    return f"{size * bytes_each:g} GB"


def memory_topics(data: dict[str, Any]) -> list[Topic]:
    """Builds topics about the memory that models need.

    Args:
        data: What `memory.toml` says.

    Returns:
        A topic for every size, alone and with every precision.
    """
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


def memory_rule(data: dict[str, Any]) -> Topic:
    """Builds the topic for sizes whose product the model does not know by heart.

    Args:
        data: What `memory.toml` says.

    Returns:
        The topic, whose answer is the rule.
    """
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
        # The formula answers it as well.
        keywords=("Multiply|\\text{memory} =", "by 4|bytes"),
        split_key="memory_rule",
    )


def off_topic(data: dict[str, Any], frames: dict[str, Any]) -> Topic:
    """Builds the topic for everything that the guide does not know.

    Args:
        data: What `offtopic.toml` says.
        frames: Ways to ask that topics share.

    Returns:
        The topic; more questions for it are made of everyday words.
    """
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
