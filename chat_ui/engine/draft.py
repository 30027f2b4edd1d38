"""A smaller model that drafts tokens for a larger one with the same tokenizer.

It guesses greedily, one token at a time, on the thread that calls it, and keeps one cache: what a
new prompt has in common with the last one is not read again. What becomes of its guesses, and
whether they pay, is `assist.py`'s business; which model drafts for which, `models/drafts.py`'s.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch

from chat_ui.engine.loaded import LoadedModel, release

# Its prompt is read in parts, as the large model's is: the memory that a part takes is bounded.
_PART_TOKENS: Final = 256


class DraftModel:
    """Drafts tokens with a model; see `assist.Drafter`.

    Args:
        loaded: the small model, which the drafter owns from now on.
        vocabulary: how many token ids the large model knows: a model's own count may be rounded up.

    Attributes:
        label: its name.
        weight_bytes: what its weights take.
    """

    def __init__(self, loaded: LoadedModel, vocabulary: int) -> None:
        self.label = loaded.facts.spec.label
        self.weight_bytes = loaded.facts.weight_bytes
        self._loaded = loaded
        self._vocabulary = vocabulary
        self._cache: Any = None
        self._cached: list[int] = []  # the tokens that the cache holds

    @torch.no_grad()
    def propose(self, tokens: Sequence[int], limit: int) -> list[int]:
        """See `assist.Drafter.propose`; fewer where the small model's window ends."""
        limit = min(limit, self._loaded.facts.window_tokens - len(tokens))
        if limit < 1:
            return []
        self._keep(tokens)
        drafts = [self._read(tokens[len(self._cached) :])]
        while len(drafts) < limit:
            drafts.append(self._read(drafts[-1:]))
        return drafts

    def close(self) -> None:
        """Free the cache."""
        self._cache, self._cached = None, []

    def release(self) -> None:
        """Give the model's memory back; it can't be used again."""
        self.close()
        release(self._loaded)

    def _keep(self, tokens: Sequence[int]) -> None:
        """Keep of the cache what these tokens begin with, but the last one: it is to be read."""
        most = min(len(self._cached), len(tokens) - 1)
        common = next((i for i in range(most) if self._cached[i] != tokens[i]), most)
        if self._cache is None or common == 0:
            from transformers import DynamicCache

            # Made without the config, a sliding window's layers keep all, too, and can be cropped.
            self._cache, self._cached = DynamicCache(), []
        elif common < len(self._cached):
            self._cache.crop(common - len(self._cached))  # how many to drop, as a negative number
            del self._cached[common:]

    def _read(self, tokens: Sequence[int]) -> int:
        """Read tokens and return the likeliest next one."""
        model = self._loaded.model
        for begin in range(0, len(tokens), _PART_TOKENS):
            part = tokens[begin : begin + _PART_TOKENS]
            ids = torch.tensor([part], device=self._loaded.device)
            output = model(ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
            self._cached += part
        return int(output.logits[0, -1, : self._vocabulary].argmax())


def same_tokens(tokenizer: Any, other: Any) -> bool:
    """Whether token ids mean the same to both tokenizers, and end an answer in both."""
    one, two = ((each.bos_token_id, each.eos_token_id) for each in (tokenizer, other))
    return bool(one == two and tokenizer.get_vocab() == other.get_vocab())
