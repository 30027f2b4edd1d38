"""Tests of the first weights, which copy, and of what keeps them at it."""

import random
from itertools import islice

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from tools.pocket_guide import ASSET_DIR, VOCAB_SIZE
from tools.pocket_guide.copying import repeats
from tools.pocket_guide.train import new_model

pytestmark = pytest.mark.torch

VOCABULARY = range(3, VOCAB_SIZE)


def _rank_of_the_copy(model: LlamaForCausalLM) -> float:
    """Gives how many tokens the model holds likelier than the right one, as a median."""
    rng = random.Random(2)
    drawn = [rng.sample(VOCABULARY, 20) for _ in range(8)]
    ids = torch.tensor([tokens + tokens for tokens in drawn])
    with torch.no_grad():
        scores = model(ids).logits[:, 20:-1]
    right = scores.gather(2, ids[:, 21:, None])
    return float((scores > right).sum(2).float().median())


def test_an_untrained_model_begins_with_what_came_next_before() -> None:
    torch.manual_seed(1)
    model = new_model(Tokenizer.from_file(str(ASSET_DIR / "tokenizer.json"))).eval()
    without = LlamaForCausalLM(model.config).eval()
    # By chance the right one of 4,096 tokens is in the middle.
    assert _rank_of_the_copy(without) > 400
    assert _rank_of_the_copy(model) < 40


def test_repeats_begin_anew_after_differing_distances() -> None:
    rows = list(islice(repeats(random.Random(1), VOCABULARY, 384), 200))
    distances = set()
    for row in rows:
        assert len(row) <= 384
        distance = next(each for each in range(1, len(row)) if row[each:] == row[: len(row) - each])
        # Half of the row is enough to have seen all of it once.
        assert distance < len(row) // 2
        distances.add(distance)
    assert len(distances) > 20
