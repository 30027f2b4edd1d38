"""The caches of conversations: what can be reused of one, what it takes, and which are kept.

A cache holds a model's work on the tokens it has read, so the next turn reads only what is new.
*Appending* to it works in every architecture. *Going back* to a shorter beginning works where the
layers allow it: full attention is cropped, and a sliding window, too, until it has forgotten
something. Other layers (linear attention, convolutions, state spaces) hold one state for all
tokens: there, a snapshot is taken while the prompt is read, of those layers alone, and going back
means to crop the others and to put the snapshot in.

All of it is used by the engine's thread alone. What the model computes is not known here, nor when.
"""

import bisect
import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from transformers.cache_utils import (
    DummyLayer,
    DynamicCache,
    DynamicIndexedLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

# For Regenerate, or the next turn, and for an edit of the question before it.
SNAPSHOTS: Final = 2

# Layers whose tensors are replaced and never written to, so that a copy may share them. Their
# subclasses hold more.
_SHARED: Final = (DummyLayer, DynamicLayer, DynamicIndexedLayer, DynamicSlidingWindowLayer)


@dataclass(frozen=True, slots=True)
class CacheCost:
    """What one conversation's cache takes, snapshots included.

    Attributes:
        fixed_bytes: whatever its length.
        growth: pairs of bytes per token, and of the length in tokens from which they grow no more.
    """

    fixed_bytes: int
    growth: tuple[tuple[float, float], ...]

    def bytes(self, tokens: int) -> int:
        """Of a cache that holds this many tokens."""
        grown = sum(each * min(tokens, limit) for each, limit in self.growth)
        return self.fixed_bytes + math.ceil(grown)

    def affordable_tokens(self, budget_bytes: int, most: int) -> int:
        """The length, up to `most`, that a budget holds."""
        return bisect.bisect_right(range(1, most + 1), budget_bytes, key=self.bytes)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The layers that can't be cropped, as they were after so many tokens."""

    tokens: int
    layers: dict[int, Any]


@dataclass(slots=True, eq=False)
class Cached:
    """A conversation's cache.

    Attributes:
        cache: the library's object; None where no token was read, or where the model keeps none.
        ids: the tokens that it holds.
    """

    cache: Any = None
    ids: list[int] = field(default_factory=list)
    _snapshots: list[_Snapshot] = field(default_factory=list)

    @property
    def wants_snapshots(self) -> bool:
        """Whether it may be unable to go back without; once tokens were read."""
        return any(not _is_full_attention(layer) for layer in self._layers)

    def reusable(self, common_tokens: int) -> int:
        """How many tokens of a prompt can be had from it, which begins with so many of its own."""
        if common_tokens == len(self.ids) or (self._layers and all(map(_can_crop, self._layers))):
            return common_tokens
        taken = (each.tokens for each in self._snapshots if each.tokens <= common_tokens)
        return max(taken, default=0)

    def snapshot(self) -> None:
        """Note the present state, where going back to it would be impossible without."""
        tokens = len(self.ids)
        layers = {
            place: _copy(layer)
            for place, layer in enumerate(self._layers)
            if not _is_full_attention(layer)
        }
        if layers and all(each.tokens != tokens for each in self._snapshots):
            self._snapshots = [*self._snapshots, _Snapshot(tokens, layers)][-SNAPSHOTS:]

    def go_back(self, tokens: int) -> None:
        """Forget all but the first tokens; `reusable` said that it can."""
        surplus = len(self.ids) - tokens
        if surplus == 0:
            return
        self._snapshots = [each for each in self._snapshots if each.tokens <= tokens]
        at = next((each for each in self._snapshots if each.tokens == tokens), None)
        for place, layer in enumerate(self._layers):
            if at is not None and place in at.layers:
                self.cache.layers[place] = _copy(at.layers[place])
            else:
                layer.crop(-surplus)
        del self.ids[tokens:]

    def copy(self, tokens: int) -> "Cached":
        """Another cache of the first tokens; `reusable` said that it can."""
        if not self._layers:
            other = copy.deepcopy(self.cache)
        else:
            other = copy.copy(self.cache)
            other.layers = [_copy(layer) for layer in self._layers]
        twin = Cached(other, list(self.ids), list(self._snapshots))
        twin.go_back(tokens)
        return twin

    def cost(self) -> CacheCost:
        """What a cache of this kind takes, found from this one."""
        growth = []
        fixed = self.bytes()
        for layer in self._layers:
            if isinstance(layer, DynamicLayer):
                named = (getattr(layer, name, None) for name in ("keys", "values", "indexer_keys"))
                grows = sum(tensor.nbytes for tensor in named if tensor is not None)
                fixed -= grows
                is_windowed = isinstance(layer, DynamicSlidingWindowLayer)
                copies = 1 if _is_full_attention(layer) else 1 + SNAPSHOTS
                limit = float(layer.sliding_window) if is_windowed else math.inf
                growth.append((copies * grows / len(self.ids), limit))
        return CacheCost((1 + SNAPSHOTS) * fixed, tuple(growth))

    def bytes(self) -> int:
        """What it takes, snapshots included."""
        layers = [each.layers for each in self._snapshots]
        storages = (tensor.untyped_storage() for tensor in _tensors(self.cache, layers))
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    @property
    def _layers(self) -> list[Any]:
        """Of the library's usual cache; of others nothing is known, and one can only append."""
        return self.cache.layers if type(self.cache) is DynamicCache else []


class KeptCaches:
    """The caches of finished answers, the least recently used first."""

    def __init__(self) -> None:
        self._kept: dict[Cached, int] = {}  # with their bytes: nothing changes them here

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """What they take. What two of them share counts twice, for simplicity."""
        return sum(self._kept.values())

    def keep(self, cached: Cached) -> None:
        """Keep one, until memory is wanted."""
        if cached.cache is not None:
            self._kept[cached] = cached.bytes()

    def shrink(self, to_bytes: int) -> None:
        """Forget the least recently used ones, until the rest takes no more than this."""
        while self.bytes > to_bytes and self._kept:
            del self._kept[next(iter(self._kept))]

    def take(
        self, prompt_ids: Sequence[int], others: Iterable[Cached], least: int = 1
    ) -> tuple[Cached, int]:
        """The longest beginning of a prompt that a cache holds.

        A kept cache leaves where all of it is used, as in a conversation's next turn. Otherwise its
        beginning is copied, which costs no memory for full attention until the next token: it may
        be another conversation with the same system prompt, and the answer before Regenerate may
        be returned to. At least one token of the prompt is left to read, for its scores.

        Args:
            prompt_ids: at least one.
            others: caches that are in use, to copy from.
            least: fewer tokens are not worth it.

        Returns:
            The cache, perhaps empty; and how many tokens it would hold, if every cache could go
            back to any beginning.
        """
        best, most, shared = Cached(), 0, 0
        for cached in itertools.chain(others, self._kept):
            common = _common(cached.ids, prompt_ids)
            reusable = cached.reusable(common)
            shared = max(shared, common)
            if reusable and reusable >= max(least, most):
                best, most = cached, reusable
        if not most:
            return best, shared
        if most == len(best.ids) and self._kept.pop(best, None) is not None:
            return best, shared
        if best in self._kept and 2 * most > len(best.ids):
            # The same conversation with another end, most likely: the first to leave.
            self._kept = {best: self._kept.pop(best), **self._kept}
        return best.copy(most), shared


def _tensors(*holders: Any) -> Iterator[torch.Tensor]:
    """All tensors in objects of any kind."""
    left, seen = list(holders), set()
    while left:
        holder = left.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        if isinstance(holder, torch.Tensor):
            yield holder
        elif isinstance(holder, list | tuple):
            left += holder
        elif isinstance(holder, dict):
            left += holder.values()
        elif hasattr(holder, "__dict__"):
            left += vars(holder).values()


def _common(ids: Sequence[int], prompt_ids: Sequence[int]) -> int:
    """The length of the beginning that both have, but for the prompt's last token."""
    most = min(len(ids), len(prompt_ids) - 1)
    if ids[:most] == prompt_ids[:most]:
        return most
    # Slices are compared in C: 100,000 tokens take under a millisecond.
    return bisect.bisect_left(
        range(most), True, key=lambda at: ids[: at + 1] != prompt_ids[: at + 1]
    )


def _is_full_attention(layer: Any) -> bool:
    return type(layer) in _SHARED and type(layer) is not DynamicSlidingWindowLayer


def _can_crop(layer: Any) -> bool:
    if type(layer) is DynamicSlidingWindowLayer:
        return bool(layer.cumulative_length < layer.sliding_window)  # it has forgotten nothing
    return _is_full_attention(layer)


def _copy(layer: Any) -> Any:
    return copy.copy(layer) if type(layer) in _SHARED else copy.deepcopy(layer)
