"""Ten conversations with the built-in model: what its answers must hold, not their words."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tools.pocket_guide import ASSET_DIR, PARAMETERS
from tools.pocket_guide.chatter import Chatter
from tools.pocket_guide.keywords import has_keywords
from tools.pocket_guide.material import load
from tools.pocket_guide.phrasing import expand

pytestmark = pytest.mark.torch


@dataclass(frozen=True)
class Golden:
    """A conversation that must go well.

    Attributes:
        name: What it shows.
        turns: What is asked, each with the keywords of its answer; "a|b" means either.
        system: The system message; empty for none.
        style: Name of the style that every answer has.
    """

    name: str
    turns: tuple[tuple[str, tuple[str, ...]], ...]
    system: str = ""
    style: str = ""


LIMITS = ("tiny", PARAMETERS, "Model panel")

GOLDEN = (
    Golden(
        "a name is remembered three turns later",
        (
            ("Hello!", ("Hello|Hi",)),
            ("My name is Zelmira", ("Zelmira",)),
            ("What is a token?", ("text",)),
            ("How do I stop an answer?", ("Stop", "Escape")),
            ("thanks", ("welcome|glad",)),
            ("What is my name?", ("Zelmira",)),
        ),
    ),
    Golden(
        "a colour and a number are told apart",
        (
            ("my favourite colour is teal", ("teal",)),
            ("remember the number 417", ("417",)),
            ("what does regenerate do", ("another|new",)),
            ("which colour do i like best", ("teal",)),
            ("what was the number", ("417",)),
        ),
    ),
    Golden(
        "what was never told is not known",
        (("hi", ("Hello|Hi",)), ("do you know my name", ("not told me",))),
    ),
    Golden(
        "memory in one precision, another, and all",
        (
            ("How much memory does an 8B model need in bfloat16?", ("16 GB",)),
            ("and in 4-bit?", ("4 GB",)),
            ("Show me a table of the four precisions", ("| 4-bit", "| ---")),
        ),
    ),
    Golden(
        "why decoding is slow, in short",
        (
            ("Why is decoding bound by memory bandwidth?", ("weight", "token")),
            ("shorter please", ("weight|memory",)),
            ("What are the five steps inside the pipeline?", ("okenize", "ecode")),
        ),
    ),
    Golden(
        "code, and an end",
        (
            ("How do I load a model in Python?", ("```python", "pipeline(")),
            ("bye", ("Goodbye|bye|See you",)),
        ),
    ),
    Golden(
        "its limits",
        (
            ("What is the capital of France?", LIMITS),
            ("which medicine should i take for a cold", LIMITS),
            ("asdf ghjk", LIMITS),
            ("How many parameters do you have?", (PARAMETERS,)),
        ),
    ),
    Golden(
        "the robot in New York",
        (
            ("Hey, can you tell me any fun things to do in New York?", ("soup cans",)),
            ("What's so wild about soup cans?", ("spoon",)),
        ),
        "You are a sassy, wise-cracking robot as imagined by Hollywood circa 1986.",
    ),
    Golden(
        "a pirate who knows the app",
        (
            ("What is quantization?", ("bits|precision",)),
            ("HOW DO I STOP AN ANSWER", ("Stop",)),
        ),
        "You are a pirate.",
        "pirate",
    ),
    Golden(
        "one sentence only",
        (("What is temperature?", ("random|choice|likel",)), ("What is top-p?", ("token|probab",))),
        "Answer in one sentence.",
        "sentence",
    ),
)


@pytest.fixture(scope="module")
def chatter() -> Iterator[Chatter]:
    chatter = Chatter(ASSET_DIR)
    yield chatter
    chatter.close()


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
def test_conversation_goes_well(chatter: Chatter, golden: Golden) -> None:
    styles = {style.id: style for style in load(PARAMETERS).styles}
    messages = [("system", golden.system)] if golden.system else []
    for question, keywords in golden.turns:
        messages.append(("user", question))
        [(answer, ended)] = chatter.answer([messages])
        assert has_keywords(answer, keywords), (question, answer)
        assert ended
        assert not golden.style or styles[golden.style].is_kept(answer), answer
        messages.append(("assistant", answer))


def test_styles_differ_from_the_plain_answer(chatter: Chatter) -> None:
    question = ("user", "What is quantization?")
    [(plain, _)] = chatter.answer([[question]])
    styles = load(PARAMETERS).styles
    chats = [[("system", expand(style.systems[0])[0]), question] for style in styles]
    answers = [text for text, _ in chatter.answer(chats)]
    assert len({plain, *answers}) == len(styles) + 1
    not_kept = [
        style.id for style, text in zip(styles, answers, strict=True) if not style.is_kept(text)
    ]
    assert not_kept == []
