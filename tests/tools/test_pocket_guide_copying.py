"""Tests of the first weights, which copy, and of what keeps them at it."""

import random
from itertools import islice

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tools.pocket_guide.copying import add_copying_heads, repeats

pytestmark = pytest.mark.torch

VOCABULARY = range(3, 4096)


def _untrained(copies: bool) -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    if copies:
        add_copying_heads(model)
    return model.eval()


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
    # By chance the right one of 4,096 tokens is in the middle.
    assert _rank_of_the_copy(_untrained(copies=False)) > 400
    assert _rank_of_the_copy(_untrained(copies=True)) < 40


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
