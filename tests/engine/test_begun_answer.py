"""A model goes on with its own answer as if it had never stopped."""

from collections.abc import Iterator

import pytest

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine import load
from chat_ui.engine.protocol import Engine, Finished, Request
from chat_ui.models.spec import BUILT_IN_ID, find
from tests.contract.harness import Reader

pytestmark = pytest.mark.torch

QUESTION = PromptMessage("user", "How do I change the system prompt?")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    loaded = load.load_engine(find(BUILT_IN_ID), "full", speedup=lambda model: 1.0)
    yield loaded
    loaded.close()


def answer(engine: Engine, given: str = "") -> str:
    messages = [QUESTION, *([PromptMessage("assistant", given)] if given else [])]
    config = GenerationConfig(temperature=0.0, seed=0, max_new_tokens=120)
    reader = Reader()
    engine.start(Request(engine.encode(messages), config, is_begun=bool(given)), reader)
    assert reader.wait() == Finished("stop")
    return given + reader.text


def test_from_any_word_on_the_rest_is_the_same(engine: Engine) -> None:
    whole = answer(engine)
    words = whole.split(" ")
    assert len(words) > 5
    for count in range(1, len(words) + 1):
        assert answer(engine, " ".join(words[:count])) == whole
