"""How large the key-value cache of the batching loop is made: from the model's config, the free
memory and the context window, before anything is allocated.

What a conversation takes is counted as the library lays it out: pages of some tokens for one layer,
blocks of a page for each layer of one kind of attention, and sectors, in which all kinds' blocks
fit. A layer with a sliding window keeps no more than its window. What the library allocates beside
the cache (indices, masks, the keys that a layer reads back) is counted by its own formula.
"""

from dataclasses import dataclass
from math import ceil, lcm
from typing import Any, Final

import torch
from transformers import ContinuousBatchingConfig
from transformers.generation.continuous_batching.cache import (
    PagedAttentionMemoryHandler,
    group_layers_by_attn_type,
)
from transformers.generation.continuous_batching.cache_allocators import (
    SLIDING_ATTENTION,
    FullAttentionCacheAllocator,
)
from transformers.generation.continuous_batching.utils import (
    find_head_dim,
    find_num_key_value_heads,
)

from chat_ui.models import memory

# Small pages waste less at a conversation's end and reuse more of it. Pages of 16, 32, 64 and 256
# tokens took the same time.
PAGE_TOKENS: Final = 32
# Answers that grow at the same time; others wait. The library reserves memory for this many rows of
# logits: its default of 1,024 takes 1 GB for Gemma 3's vocabulary, and made it refuse the model.
MAX_ROWS: Final = 32
# A prompt is read in parts of this many tokens. While one is read, nobody else's answer grows, and
# no cancel is heard. CPU seconds for a prompt of 1,000 tokens (10 layers of 576, one thread) in
# parts of 64, 128, 256, 512 and 1,024: 2.0, 1.6, 1.4, 1.3, 1.5.
CPU_PART_TOKENS: Final = 256
# 512 of a model up to this size hold the others up no longer (0.25 s at 135M) than 256 of one of
# 0.6B do (0.5 s). Its first token after a prompt of 512, beside `pipeline`: 0.75 to 1.1 times as
# late, in parts of 256 1.1 to 1.5 (a CPU with AMX, which multiplies more rows at less cost each).
SMALL_PARAMETERS: Final = 250_000_000
SMALL_CPU_PART_TOKENS: Final = 512
GPU_PART_TOKENS: Final = 1024

# What is wanted, where memory allows it: full windows, or this much for each row.
_WINDOWS: Final = 4
_ROW_TOKENS: Final = 512
# The least that is worth starting with.
_FEWEST_TOKENS: Final = 8 * PAGE_TOKENS
# Parts of the free memory. The CPU's, which MPS shares, is everybody's.
_CPU_SHARE: Final = 0.25
_CUDA_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class CacheSize:
    """How large the key-value cache is made.

    Attributes:
        window_tokens: what one conversation may hold, and the cache for sure: the model's own
            window where memory allows it.
        blocks: the cache, counted in pages of all layers.
        part_tokens: how much of a prompt is read at a time.
    """

    window_tokens: int
    blocks: int
    part_tokens: int


def cache_size(model: Any, window_tokens: int, free_bytes: int | None = None) -> CacheSize:
    """Room for some full windows, or many short conversations, in a share of the free memory.

    Where the share does not hold one window, the window becomes what it holds.

    Args:
        model: a transformers model, on its device. One whose layers have heads of different sizes
            is refused by the library when it runs.
        window_tokens: the model's context window.
        free_bytes: of the device's memory; None asks it.
    """
    kind = model.device.type
    config = model.config.get_text_config()
    part = _part_tokens(model, kind)
    free = _free_bytes(model.device) if free_bytes is None else free_bytes
    layout = _Layout(config, model.dtype)
    budget = int(free * (_CUDA_SHARE if kind == "cuda" else _CPU_SHARE))
    wanted = max(_WINDOWS * layout.sectors(window_tokens), MAX_ROWS * layout.sectors(_ROW_TOKENS))
    affordable = layout.affordable_sectors(budget, part, model)
    sectors = max(min(wanted, affordable), layout.sectors(min(_FEWEST_TOKENS, window_tokens)))
    window = layout.longest(sectors, window_tokens)
    # Rounded up: the library turns it into sectors again.
    blocks = ceil(sectors * layout.sector_bytes / layout.block_bytes)
    return CacheSize(window, blocks, min(part, window))


def _part_tokens(model: Any, kind: str) -> int:
    if kind != "cpu":
        return GPU_PART_TOKENS
    is_small = model.num_parameters() <= SMALL_PARAMETERS
    return SMALL_CPU_PART_TOKENS if is_small else CPU_PART_TOKENS


class _Layout:
    """What the library's cache of a model is made of; see `PagedAttentionCache`.

    Attributes:
        sector_bytes: the unit that is handed to one kind of attention.
        block_bytes: a page of all layers.
    """

    def __init__(self, config: Any, dtype: torch.dtype) -> None:
        self._config = config
        self._dtype = dtype
        page_bytes = FullAttentionCacheAllocator.get_bytes_per_page(
            find_num_key_value_heads(config), find_head_dim(config), dtype, PAGE_TOKENS
        )
        layers = {kind: len(own) for kind, own in group_layers_by_attn_type(config).items()}
        self.sector_bytes = lcm(*(count * page_bytes for count in layers.values()), 128)
        self.block_bytes = sum(layers.values()) * page_bytes
        self._blocks_per_sector = {
            kind: self.sector_bytes // (count * page_bytes) for kind, count in layers.items()
        }

    def sectors(self, tokens: int) -> int:
        """What a conversation of this length takes."""
        total = 0
        for kind, blocks in self._blocks_per_sector.items():
            kept = min(tokens, self._config.sliding_window) if kind == SLIDING_ATTENTION else tokens
            total += ceil(ceil(kept / PAGE_TOKENS) / blocks)
        return total

    def longest(self, sectors: int, limit: int) -> int:
        """The longest conversation that fits, in whole pages below the limit."""
        low, high = 0, ceil(limit / PAGE_TOKENS)
        while low < high:
            middle = (low + high + 1) // 2
            if self.sectors(middle * PAGE_TOKENS) <= sectors:
                low = middle
            else:
                high = middle - 1
        return min(low * PAGE_TOKENS, limit)

    def affordable_sectors(self, budget_bytes: int, part_tokens: int, model: Any) -> int:
        """How many the budget pays for, with all that the library allocates beside them."""

        class Budget(PagedAttentionMemoryHandler):
            def get_available_memory(self) -> int:
                return budget_bytes

        handler = Budget(
            config=self._config,
            cb_config=ContinuousBatchingConfig(
                page_size=PAGE_TOKENS,
                max_batch_tokens=part_tokens,
                max_requests_per_batch=MAX_ROWS,
                use_async_batching=False,
            ),
            dtype=self._dtype,
            bytes_per_sector=self.sector_bytes,
            tokens_per_sector=PAGE_TOKENS * max(self._blocks_per_sector.values()),
            bytes_per_block=self.block_bytes,
            attn_types=list(self._blocks_per_sector),
            model_supports_logits_to_keep=model._supports_logits_to_keep(),
        )
        try:
            return int(handler.infer_max_batch_tokens_and_num_sectors()[1])
        except (MemoryError, ValueError):  # not even one
            return 0


def _free_bytes(device: torch.device) -> int:
    """Bytes that a cache on this device may be cut from."""
    if device.type == "cuda":
        # torch keeps what was freed, and gives it out again.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    free = memory.free_bytes("cpu")
    if device.type == "mps":
        # Apple's GPU uses the same memory, up to a limit of its own.
        room = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return max(min(free, room), 0)
    return free
