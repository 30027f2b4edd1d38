"""The sampler against transformers' own processors: the same tokens with the same probabilities."""

from collections import Counter
from typing import Any

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from chat_ui.chat.generation import GenerationConfig
from chat_ui.engine.sampler import Sampler, _likeliest

pytestmark = pytest.mark.torch

VOCABULARY = 40
PROMPT = [1, 5, 5, 9]
DRAWS = 800


def scores_of(seed: int, spread: float = 2.0, vocabulary: int = VOCABULARY) -> torch.Tensor:
    return torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed)) * spread


def expected(config: GenerationConfig, scores: torch.Tensor) -> torch.Tensor:
    """What `generate` would draw from: its processors, in its order."""
    processors = LogitsProcessorList()
    if config.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.temperature:
        processors.append(TemperatureLogitsWarper(config.temperature))
    if config.top_k:
        processors.append(TopKLogitsWarper(config.top_k))
    if config.top_p < 1.0:
        processors.append(TopPLogitsWarper(config.top_p))
    if config.min_p:
        processors.append(MinPLogitsWarper(config.min_p))
    processed: torch.Tensor = processors(torch.tensor([PROMPT]), scores[None].clone())
    return processed[0].softmax(-1)


@pytest.fixture
def all_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers become a grid over [0, 1): counting what they draw measures probabilities."""
    grid = iter((number + 0.5) / DRAWS for number in range(DRAWS))
    monkeypatch.setattr(
        torch, "rand", lambda *_, **__: torch.tensor(next(grid), dtype=torch.float64)
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.3},
        {"temperature": 1.7},
        {"top_k": 5},
        {"top_k": 1000},
        {"top_p": 0.5},
        {"top_p": 0.95},
        {"top_p": 0.999},
        {"min_p": 0.1},
        {"top_p": 0.9, "min_p": 0.05, "temperature": 1.3},
        {"top_k": 12, "top_p": 0.8, "temperature": 0.8},
        {"top_k": 12, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.3},
        {"repetition_penalty": 0.7},
    ],
    ids=str,
)
@pytest.mark.usefixtures("all_draws")
def test_probabilities_are_those_of_generate(settings: dict[str, Any], seed: int) -> None:
    config = GenerationConfig(**{"temperature": 1.0, "top_p": 1.0, "seed": 0, **settings})
    scores = scores_of(seed)
    drawn: Counter[int] = Counter()
    for _ in range(DRAWS):
        # A new one each time: it would remember the token for the penalty.
        drawn[Sampler(config, PROMPT)(scores)] += 1
    wanted = expected(config, scores)
    for token in range(VOCABULARY):
        assert drawn[token] / DRAWS == pytest.approx(float(wanted[token]), abs=1.5 / DRAWS), token


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
def test_greedy_is_generates(penalty: float) -> None:
    config = GenerationConfig(temperature=0.0, repetition_penalty=penalty, seed=0)
    sampler = Sampler(config, PROMPT)
    processor = RepetitionPenaltyLogitsProcessor(penalty)
    sequence = list(PROMPT)
    for step in range(30):
        scores = scores_of(step % 3)
        wanted = int(processor(torch.tensor([sequence]), scores[None].clone())[0].argmax())
        assert sampler(scores) == wanted
        sequence.append(wanted)


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.6, 3.0])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.95, 0.999])
def test_what_top_p_keeps_of_a_large_vocabulary_is_found_without_sorting_it(
    spread: float, top_p: float
) -> None:
    probs = scores_of(0, spread=spread, vocabulary=20_000).double().softmax(-1)
    ordered, order = probs.sort(descending=True, stable=True)
    wanted = torch.zeros(20_000, dtype=torch.bool)
    wanted[order[ordered.cumsum(-1) - ordered < top_p]] = True
    kept = _likeliest(probs, top_p)
    # Sums of so many numbers differ in their last bits: one token at the edge may be the other way.
    assert int((kept ^ wanted).sum()) <= 1
    assert kept[probs.argmax()]


def test_the_last_bit_of_a_random_number_draws_no_token_that_was_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(1.0, dtype=torch.float64))
    scores = torch.tensor([0.0, 5.0, 0.1, 0.2])
    assert Sampler(GenerationConfig(temperature=1.0, top_p=0.5, seed=0), PROMPT)(scores) == 1


def test_top_p_on_a_large_flat_vocabulary() -> None:
    """No token can be ruled out beforehand."""
    scores = scores_of(0, spread=0.01, vocabulary=50_000)
    kept = (
        (expected(GenerationConfig(temperature=1.0, top_p=0.5), scores) > 0).nonzero().squeeze(-1)
    )
    allowed = set(kept.tolist())
    sampler = Sampler(GenerationConfig(temperature=1.0, top_p=0.5, seed=3), PROMPT)
    drawn = {sampler(scores) for _ in range(50)}
    # Where float32 rounds, one token at the edge may differ.
    assert len(drawn - allowed) <= 1
    assert len(drawn) > 45


def test_a_seed_gives_the_same_tokens() -> None:
    def tokens(seed: int) -> list[int]:
        sampler = Sampler(GenerationConfig(temperature=1.5, top_p=1.0, seed=seed), PROMPT)
        return [sampler(scores_of(step)) for step in range(20)]

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)


def test_nobody_elses_random_numbers_are_used() -> None:
    config = GenerationConfig(temperature=1.5, seed=1)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    Sampler(config, PROMPT)(scores_of(0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_without_a_seed_answers_differ() -> None:
    def tokens() -> list[int]:
        sampler = Sampler(GenerationConfig(temperature=1.5, seed=None), PROMPT)
        return [sampler(scores_of(step)) for step in range(20)]

    assert tokens() != tokens()


@pytest.mark.parametrize(
    "settings",
    [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-30}, {"temperature": 1e-3}],
    ids=str,
)
def test_settings_that_leave_one_token(settings: dict[str, Any]) -> None:
    config = GenerationConfig(**{"temperature": 1.0, "top_p": 1.0, "seed": 0, **settings})
    sampler = Sampler(config, PROMPT)
    assert [sampler(scores_of(s)) for s in range(9)] == [
        int(scores_of(s).argmax()) for s in range(9)
    ]


def test_the_scores_are_not_changed() -> None:
    scores = scores_of(0)
    config = GenerationConfig(temperature=0.5, top_p=0.9, top_k=5, repetition_penalty=1.5, seed=0)
    Sampler(config, PROMPT)(scores)
    assert torch.equal(scores, scores_of(0))


def test_tokens_that_are_ruled_out_are_never_drawn() -> None:
    scores = torch.full((VOCABULARY,), -torch.inf)
    scores[7], scores[8] = 0.0, 1.0
    filters: list[dict[str, Any]] = [{}, {"top_k": 30}, {"top_p": 0.99}, {"min_p": 0.01}]
    for settings in filters:
        sampler = Sampler(
            GenerationConfig(**{"temperature": 2.0, "top_p": 1.0, "seed": 0, **settings}), PROMPT
        )
        assert {sampler(scores) for _ in range(40)} == {7, 8}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "settings", [{"temperature": 0.0}, {}, {"top_k": 3}, {"top_p": 0.5}], ids=str
)
def test_scores_that_are_no_numbers_raise(value: float, settings: dict[str, Any]) -> None:
    scores = scores_of(0)
    scores[3] = value
    with pytest.raises(FloatingPointError):
        Sampler(GenerationConfig(**{"seed": 0, **settings}), PROMPT)(scores)


def test_no_possible_token_raises() -> None:
    with pytest.raises(FloatingPointError):
        Sampler(GenerationConfig(seed=0), PROMPT)(torch.full((VOCABULARY,), -torch.inf))
