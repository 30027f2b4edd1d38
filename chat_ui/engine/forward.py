"""Reads tokens into a conversation's cache: one call of a model's `forward`, for any architecture.

Architectures differ in what they call their cache, in whether they make one, and in whether a
prompt can be read in parts. The last is tried, not looked up: transformers 5.23 reads on from a
cache as it should in Mamba 2, Qwen3-Next and Granite's hybrids, while in Mamba, Falcon Mamba and
Jamba several tokens at once begin with an empty state, and only single ones go on.
"""

import inspect
import logging
from collections.abc import Sequence
from typing import Any, Final

import torch

from chat_ui.engine.kept_caches import Cached

log = logging.getLogger(__name__)

_CACHE_NAMES: Final = ("past_key_values", "cache_params", "state")
# A prompt read in two parts and at once, as a share of the scores' standard deviation: 1e-6 in
# float32 where it works, and 4e-4 (Jamba) to 0.3 where it doesn't, with random weights. In 16 bits
# rounding alone makes 0.01, in 8 bits 0.05.
_TOLERANCE_FLOAT32: Final = 1e-4
_TOLERANCE: Final = 0.15


class Forward:
    """A model's forward pass over the next tokens of a conversation.

    Args:
        model: a transformers model.

    Attributes:
        in_parts: whether several tokens may be read on top of others; `check` finds out.
    """

    def __init__(self, model: Any) -> None:
        taken = inspect.signature(model.forward).parameters
        self._model = model
        self._cache_name = next((name for name in _CACHE_NAMES if name in taken), "")
        self._keeps_cache = bool(self._cache_name)
        self._takes_positions = "position_ids" in taken
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self.in_parts = self._keeps_cache

    def check(self, sample_ids: Sequence[int]) -> Cached:
        """Try the model with a prompt of two tokens or more; returns the prompt's cache.

        Raises:
            Exception: whatever the model raises. It can't be used.
        """
        read = Cached()
        whole = self(read, sample_ids)
        self._keeps_cache = read.cache is not None
        self.in_parts = self._keeps_cache and self._agrees_in_parts(sample_ids, whole)
        return read

    def __call__(self, cached: Cached, ids: Sequence[int]) -> torch.Tensor:
        """Read tokens; where it raises, the cache is broken.

        Args:
            cached: what was read before; it grows.
            ids: the next tokens, at least one.

        Returns:
            The scores for the token after them, float32, shape (vocabulary,).
        """
        at = len(cached.ids) if self._keeps_cache else 0
        tokens = torch.tensor([[*cached.ids, *ids][at:]], device=self._model.device)
        options: dict[str, Any] = dict(self._options)
        if self._takes_positions:
            # Bamba counts from 0 without them, even with a cache.
            options["position_ids"] = torch.arange(
                at, at + tokens.shape[1], device=self._model.device
            )[None]
        if cached.cache is not None:
            options[self._cache_name] = cached.cache
        output = self._model(input_ids=tokens, use_cache=self._keeps_cache, **options)
        if self._keeps_cache:
            cached.cache = getattr(output, self._cache_name, None)
        cached.ids.extend(ids)
        scores: torch.Tensor = output.logits[0, -1].float()
        return scores

    def _agrees_in_parts(self, ids: Sequence[int], whole: torch.Tensor) -> bool:
        cached = Cached()
        half = len(ids) // 2
        self(cached, ids[:half])
        error = float((self(cached, ids[half:]) - whole).std() / whole.std())
        is_float32 = self._model.dtype == torch.float32
        agrees = error < (_TOLERANCE_FLOAT32 if is_float32 else _TOLERANCE)
        if not agrees:
            log.info("Prompts are read whole: in parts, the scores differ by %.1e.", error)
        return agrees
