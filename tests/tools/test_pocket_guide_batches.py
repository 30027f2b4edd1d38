"""Tests of the rows and batches that the built-in model is trained on."""

import random
from itertools import islice

import pytest
from tokenizers import Tokenizer

from tools.pocket_guide import ASSET_DIR, END_OF_TEXT, PARAMETERS
from tools.pocket_guide.batches import batches, question_rows, whole_rows
from tools.pocket_guide.conversations import Conversation, conversations
from tools.pocket_guide.corpus import Corpus
from tools.pocket_guide.material import load

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(load(PARAMETERS), seed=1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(ASSET_DIR / "tokenizer.json"))


def _hidden(tokenizer: Tokenizer, conversation: Conversation) -> int:
    """Counts the tokens that are hidden in a hundred rows of a conversation."""
    rows = question_rows(iter([conversation] * 100), tokenizer, random.Random(1))
    [hidden] = tokenizer.encode(END_OF_TEXT).ids
    return sum(ids.count(hidden) for ids, _ in rows)


def test_some_tokens_of_a_question_are_hidden_but_none_that_is_said_back(
    tokenizer: Tokenizer,
) -> None:
    asked = ("user", "what does the temperature change in an answer")
    told = ("user", "my favourite colour is something like turquoise")
    answer = ("assistant", "Noted.")
    assert _hidden(tokenizer, Conversation((asked, answer))) > 20
    assert _hidden(tokenizer, Conversation((told, answer), says_back=True)) == 0


def test_what_is_told_in_a_conversation_is_marked(corpus: Corpus) -> None:
    told = list(islice(conversations(corpus, 8, turns=1, only_facts=True), 50))
    assert all(each.says_back for each in told)
    asked = list(islice(conversations(corpus, 8, turns=1), 400))
    assert 0.04 < sum(each.says_back for each in asked) / len(asked) < 0.2


def test_batches_hold_whole_rows_and_no_more_tokens_than_asked_for(
    corpus: Corpus, tokenizer: Tokenizer
) -> None:
    rows = list(islice(whole_rows(conversations(corpus, 9), tokenizer), 640))
    made = islice(batches(iter(rows * 9), 0, random.Random(1), 768), 300)
    known = {tuple(ids) for ids, _ in rows}
    for ids, learn in made:
        assert ids.shape == learn.shape
        assert ids.numel() <= 768 or len(ids) == 1
        for row, marks in zip(ids.tolist(), learn.tolist(), strict=True):
            # The padding of 0 comes last, and nothing of it is learned.
            width = max(place for place, mark in enumerate(marks) if mark) + 1
            assert any(tuple(row[:end]) in known for end in range(width, len(row) + 1))
