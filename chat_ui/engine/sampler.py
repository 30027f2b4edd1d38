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


class Sampler:
    """Chooses the tokens of one answer, one call each, on any one thread.

    Cost of a call on one CPU core: at 49k / 152k tokens of vocabulary greedy takes 0.1 / 0.3 ms,
    top-k 0.2 / 0.4 ms, no filter 0.2 / 0.5 ms, top-p or min-p 0.2 / 0.6 ms where a model is sure of
    itself (up to 4 / 13 ms where it has no idea, because the candidates are sorted). Sorting the
    whole vocabulary, as the library does for top-p, takes 4 / 13 ms always; `torch.multinomial` 1.5
    / 4 ms.

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
            kept = (log_probs >= floor).nonzero().squeeze(-1)
            log_probs = log_probs[kept]
            ids = kept if ids is None else ids[kept]
        # Few are left, as a rule; a model on a GPU hands over only those.
        probs = log_probs.to("cpu").exp().double()
        if config.top_p < 1.0:
            probs, order = probs.sort(descending=True, stable=True)
            # A token is kept while those before it sum to less than p; the first one always.
            count = int((probs.cumsum(-1) - probs < config.top_p).sum())
            probs = probs[: max(count, 1)]
            ids = order if ids is None else ids.to("cpu")[order]
        cumulative = probs.cumsum(-1)
        drawn = torch.rand((), generator=self._generator, dtype=torch.float64) * cumulative[-1]
        place = min(int(torch.searchsorted(cumulative, drawn, right=True)), probs.numel() - 1)
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


def _check(best: torch.Tensor) -> None:
    """Raises FloatingPointError where the largest score is NaN or infinite (max() keeps both)."""
    if not math.isfinite(best):
        raise FloatingPointError("the model's scores are not numbers")
