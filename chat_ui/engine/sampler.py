"""Chooses the next token from a model's scores: one sampler for every engine.

It knows one request and nothing of batches, so that a request's answer depends on its own seed
alone. The order is that of transformers' `generate`: repetition penalty, temperature, top-k, top-p,
min-p.
Source: transformers 5.23, `GenerationMixin._get_logits_processor`.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch

from chat_ui.chat.generation import GenerationConfig

# Colder than this, a score that is larger by 0.1 is e^100 times likelier, and a division overflows.
_GREEDY_BELOW: Final = 1e-3
# What top-p's buckets leave of float32: values in one differ by less than 1/1,024.
_BUCKET_BITS: Final = 13


class Sampler:
    """Chooses the tokens of one answer, one call each, on any one thread.

    Hardly anything is sorted. Cost of a call on one CPU core: at 49k / 152k tokens of vocabulary
    greedy takes 0.1 / 0.2 ms, top-k 0.2 / 0.4 ms, no filter 0.2 / 0.5 ms, top-p or min-p 0.3 / 0.6
    ms where a model is sure of itself, and up to 0.9 / 3 ms where it has no idea. Sorting the
    candidates took 4 / 13 ms there; sorting the whole vocabulary, as the library does for top-p,
    takes that always.

    Args:
        config: how to sample. Its limits, such as max_new_tokens and stop, are the engine's
            business.
        prompt_ids: the prompt's token ids, for the repetition penalty.
    """

    def __init__(self, config: GenerationConfig, prompt_ids: Sequence[int]) -> None:
        self._config = config
        # On the CPU, whatever the model's device: a seed means the same everywhere.
        self._generator = torch.Generator()
        if config.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(config.seed)
        self._seen = dict.fromkeys(prompt_ids) if config.repetition_penalty != 1.0 else {}
        self._seen_ids = torch.tensor(list(self._seen), dtype=torch.int64)

    def __call__(self, scores: torch.Tensor) -> int:
        """Choose a token and remember it.

        Args:
            scores: logits, float32, shape (vocabulary,), on any device. They are not changed.

        Returns:
            The token's id.

        Raises:
            FloatingPointError: the scores hold NaN, or no finite number.
        """
        if self._config.repetition_penalty != 1.0:
            scores = self._penalized(scores)
        if self._config.temperature < _GREEDY_BELOW:
            best, token = scores.max(-1)
            _check(best)
            chosen = int(token)
        else:
            chosen = self._sampled(scores / self._config.temperature)
        if self._config.repetition_penalty != 1.0 and chosen not in self._seen:
            self._seen[chosen] = None
            self._seen_ids = torch.cat([self._seen_ids, torch.tensor([chosen])])
        return chosen

    def _penalized(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores with seen tokens made less likely. Source: Keskar et al., CTRL (2019)."""
        penalty = self._config.repetition_penalty
        seen = self._seen_ids.to(scores.device)
        old = scores[seen]
        return scores.scatter(0, seen, torch.where(old < 0, old * penalty, old / penalty))

    def _sampled(self, scores: torch.Tensor) -> int:
        """Draw by inverting the cumulative distribution: one random number, whatever is kept."""
        config = self._config
        ids = None
        if 0 < config.top_k < scores.numel():
            # Of tokens that share the k-th place, the library keeps all and this only k in all.
            scores, ids = torch.topk(scores, config.top_k)
        log_probs = torch.log_softmax(scores, -1)
        likeliest = log_probs.max()
        _check(likeliest)
        if config.top_p < 1.0 or config.min_p > 0.0:
            floor = self._floor(float(likeliest), scores.numel())
            is_high = log_probs >= floor
            if int(is_high.sum()) * 2 < is_high.numel():  # else parting them takes longer
                kept = is_high.nonzero().squeeze(-1)
                log_probs = log_probs[kept]
                ids = kept if ids is None else ids[kept]
            else:
                log_probs = log_probs.masked_fill(~is_high, -math.inf)
        # Few are left, as a rule; a model on a GPU hands over only those.
        probs = log_probs.to("cpu").exp().double()
        if config.top_p < 1.0:
            probs = probs.masked_fill(~_likeliest(probs, config.top_p), 0.0)
        cumulative = probs.cumsum(-1)
        total = float(cumulative[-1])
        drawn = float(torch.rand((), generator=self._generator, dtype=torch.float64)) * total
        # Below the total, so that what is found there has a probability.
        drawn = min(drawn, math.nextafter(total, 0.0))
        place = int(torch.searchsorted(cumulative, drawn, right=True))
        return place if ids is None else int(ids[place])

    def _floor(self, likeliest: float, candidates: int) -> float:
        """The log probability below which no token can be kept, found without sorting.

        Tokens less likely than (1 - p) / n sum to less than 1 - p, so all of them are in the tail
        that top-p cuts. min-p is relative to the likeliest token, which top-p keeps, so it may come
        before it.
        """
        floor = -math.inf
        if self._config.top_p < 1.0:
            # A hair lower: the probabilities are float32.
            floor = math.log((1.0 - self._config.top_p) / candidates) - 1e-4
        if self._config.min_p > 0.0:
            floor = max(floor, likeliest + math.log(self._config.min_p))
        return floor


def _likeliest(probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """Which tokens top-p keeps: those before which less than p lies, and always the likeliest.

    Only those near the cut are sorted. The others fall into buckets by the upper bits of float32,
    which, of positive numbers, have the order of the values.

    Args:
        probs: float64, shape (candidates,); what is missing from 1 is less likely than all of them.
        top_p: p, above 0 and below 1.

    Returns:
        bool, shape (candidates,).
    """
    buckets = probs.float().view(torch.int32) >> _BUCKET_BITS
    buckets -= buckets.min()
    # Of each bucket and all those above it, the highest first.
    masses = torch.bincount(buckets, weights=probs).flip(0).cumsum(0)
    at_cut = int(torch.searchsorted(masses, top_p))
    before = float(masses[at_cut - 1]) if at_cut else 0.0
    cut = masses.numel() - 1 - at_cut
    kept = buckets > cut
    near = (buckets == cut).nonzero().squeeze(-1)
    values, order = probs[near].sort(descending=True, stable=True)
    count = int((before + values.cumsum(-1) - values < top_p).sum())
    kept[near[order[:count]]] = True
    return kept


def _check(best: torch.Tensor) -> None:
    """Raises FloatingPointError where the largest score is NaN or infinite (max() keeps both)."""
    if not math.isfinite(best):
        raise FloatingPointError("the model's scores are not numbers")
