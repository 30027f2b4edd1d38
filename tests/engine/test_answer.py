"""One answer's events: in order, ended once, whatever its reader does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from chat_ui.chat.generation import GenerationConfig
from chat_ui.engine.answer import Answer
from chat_ui.engine.loaded import LoadedModel
from chat_ui.engine.protocol import Delta, EngineFacts, Event, Failed, Finished, Request
from chat_ui.engine.template import ChatTemplate
from chat_ui.errors import EngineError, EngineStoppedError
from tests.engine import random_models

pytestmark = pytest.mark.torch

END = 2  # <|im_end|>


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """All that an answer needs of a model: its tokenizer and the tokens that end."""
    tokenizer = random_models.tokenizer()
    facts = EngineFacts(
        spec=random_models.spec(Path("none")),
        precision="full",
        dtype="float32",
        dtype_reason="",
        device="cpu",
        kind="",
        parameters=0,
        weight_bytes=0,
        window_tokens=2048,
    )
    return LoadedModel(
        None, None, tokenizer, ChatTemplate(tokenizer), (END,), 0, device="cpu", facts=facts
    )


def begin(loaded: LoadedModel, **config: Any) -> tuple[Answer, list[Event]]:
    events: list[Event] = []
    return Answer(Request([1], GenerationConfig(**config)), events.append, loaded), events


def take(answer: Answer, loaded: LoadedModel, text: str) -> None:
    for token in loaded.tokenizer.encode(text, add_special_tokens=False):
        answer.take(token)


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def test_the_end_token_counts_and_shows_nothing(loaded: LoadedModel) -> None:
    answer, events = begin(loaded)
    answer.take(loaded.tokenizer.encode("H")[0])
    assert answer.take(END)
    assert events == [Delta("H", 1), Delta("", 1), Finished("stop")]


def test_an_answer_ends_once(loaded: LoadedModel) -> None:
    answer, events = begin(loaded, max_new_tokens=1)
    assert answer.take(50)
    assert answer.take(51)
    answer.finish("stop")
    answer.fail(EngineStoppedError())
    assert events[-1] == Finished("length")
    assert len(events) == 2


def test_a_stop_string_ends_it(loaded: LoadedModel) -> None:
    answer, events = begin(loaded, stop=("B",))
    take(answer, loaded, "A B C")
    assert text(events) == "A "
    assert events[-1] == Finished("stop")


@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
def test_what_was_held_back_comes_before_the_end(end: str, loaded: LoadedModel) -> None:
    answer, events = begin(loaded, stop=("ABC",))
    take(answer, loaded, "xAB")
    assert text(events) == "x"
    if end == "cancel":
        answer.cancel()
        answer.take(50)
        assert events[-1] == Finished("cancelled")
    elif end == "fail":
        answer.fail(EngineStoppedError())
        assert isinstance(events[-1], Failed)
    else:
        answer.finish("length")
    assert text(events) == "xAB"
    assert events[-2] == Delta("AB", 0)


def test_a_reader_that_breaks_hears_no_more(loaded: LoadedModel) -> None:
    heard: list[Event] = []

    def break_down(event: Event) -> None:
        heard.append(event)
        raise RuntimeError

    answer = Answer(Request([1], GenerationConfig()), break_down, loaded)
    assert answer.take(50)
    answer.finish("stop")
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "The memory is full"),
        (MemoryError(), "The memory is full"),
        (IndexError("list index /home/me"), "The model failed while it answered."),
        (EngineError("This one."), "This one."),
    ],
)
def test_what_went_wrong_is_a_sentence(
    error: Exception, sentence: str, loaded: LoadedModel
) -> None:
    answer, events = begin(loaded)
    answer.fail(error)
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.error.sentence.startswith(sentence)
    assert "/home" not in str(failed.error)


def test_special_tokens_that_mark_thoughts_are_text(loaded: LoadedModel) -> None:
    tokenizer = random_models.tokenizer()
    names = ["[THINK]", "[/THINK]", "[INST]"]
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    thinking = replace(loaded, tokenizer=tokenizer, template=ChatTemplate(tokenizer))
    answer, events = begin(thinking, stop=("EK",))
    take(answer, thinking, "[THINK]Hm…[/THINK][INST] Yes")
    assert text(events) == "[THINK]Hm…[/THINK] Yes"
    answer, events = begin(thinking, stop=("K]n",))
    take(answer, thinking, "[THINK]Hm[/THINK]no")
    assert text(events) == "[THINK]Hm[/THIN"
