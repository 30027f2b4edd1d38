"""The tensors of a step, made new each time: for a CPU, where nothing has to stay in its place.

The library fills tensors of the largest possible size, wipes them before each step and lists every
place of the whole history in Python; a recorded CUDA graph needs that, a CPU does not. Microseconds
of a step outside the model's forward, with theirs and with ours: one row of 300 tokens 360 and 260,
one of 2,000 750 and 250, eight of 600 1,600 and 570.

It is not for attention that wants a mask, nor for padding.
"""

from typing import Any, Final

import numpy as np
import torch
from transformers.generation.continuous_batching.cache_allocators import SLIDING_ATTENTION
from transformers.generation.continuous_batching.input_outputs import (
    ContinuousBatchingIOs,
    PagedAttentionArgs,
)
from transformers.generation.continuous_batching.requests import TMP_TOKEN_ID, FutureRequestState

from chat_ui.engine.sizing import PAGE_TOKENS

_WITHIN_PAGE: Final = np.arange(PAGE_TOKENS)


class Inputs(ContinuousBatchingIOs):
    """One step's inputs and outputs; see the library's class for what each of them is."""

    def _setup_static_tensors(self, logit_processor: Any) -> None:
        rows = self.max_requests_per_batch
        self.attention_mask = None
        self.output_ids = torch.zeros((1, rows + 1), dtype=torch.int32)
        self.carry_over_ids = torch.zeros(0, dtype=torch.int32)
        self._processor_args = torch.zeros(
            (logit_processor.tensors_required, rows), dtype=torch.int32
        )
        self._kwargs: dict[str, Any] = {}

    def _reset_static_tensors(self, full_reset: bool = False) -> None:
        pass

    def prepare_batch_tensors(
        self,
        requests_in_batch: list[FutureRequestState],
        logits_processors: Any,
        use_decode_fast_path: bool,
        num_q_tokens: int,
        max_kv_read: int,
        use_padding: bool,
    ) -> None:
        """Make the tensors, and move each request on by what it computes in this step."""
        allocators = self.cache.cache_allocators
        ids: list[int] = []
        positions: list[int] = []
        ends, wanted = [0], []
        key_ends = {kind: [0] for kind in allocators}
        max_keys = dict.fromkeys(allocators, 0)
        spans: list[tuple[str, int, int]] = []
        for future in requests_in_batch:
            state, new = future.state, future.query_length
            past = state.position_offset
            spans.append((state.request_id, past, new))
            state.position_offset += new
            ids += state.tokens_to_process
            positions += range(past, past + new)
            ends.append(ends[-1] + new)
            for kind, allocator in allocators.items():
                keys = allocator.get_seqlen_k(past, new)
                key_ends[kind].append(key_ends[kind][-1] + keys)
                max_keys[kind] = max(max_keys[kind], keys)
            if future.has_new_token:
                wanted.append(ends[-1] - 1)
                state.tokens_to_process = [TMP_TOKEN_ID]
        self.requests_in_batch = requests_in_batch
        self.num_q_tokens, self.num_request_in_batch = ends[-1], len(requests_in_batch)
        logits_processors.prepare_tensor_args(requests_in_batch, arg_storage=self._processor_args)
        # A batch of prompts without a past reads nothing back: see the allocators' `update`.
        is_fresh = not any(past for _, past, _ in spans)
        places = [_places(allocator, spans, is_fresh) for allocator in allocators.values()]
        # The library scores a token of every row; nobody reads the scores of a part of a prompt.
        # One is kept where there is no other, because not every kernel takes none.
        tensors = _int32(ids, positions, ends, wanted or [0], *key_ends.values())
        self._kwargs = {
            "input_ids": tensors[0].unsqueeze(0),
            "position_ids": tensors[1].unsqueeze(0),
            "cu_seq_lens_q": tensors[2],
            "logits_indices": tensors[3],
            "cu_seq_lens_k": dict(zip(allocators, tensors[4:], strict=True)),
            "max_length_q": max(new for _, _, new in spans),
            "max_length_k": max_keys,
            "logits_processor_args": self._processor_args[:, : len(spans)],
            "read_index": [read for read, _ in places],
            "write_index": [write for _, write in places],
        }

    def get_model_kwargs(self, use_padding: bool = False) -> PagedAttentionArgs:
        """What the model's forward takes."""
        return PagedAttentionArgs(
            **self._kwargs,
            attention_mask=None,
            cache=self.cache,
            block_table=None,
            use_cache=False,
            is_causal=True,
        )


def _int32(*lists: list[int]) -> list[torch.Tensor]:
    """A tensor for each list. Made as one: making a tensor costs 5 µs, cutting one 1."""
    joined = torch.from_numpy(np.array([number for each in lists for number in each], np.int32))
    return list(joined.split_with_sizes([len(each) for each in lists]))


def _places(
    allocator: Any, spans: list[tuple[str, int, int]], is_fresh: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where one kind of layers reads and writes: the same as the allocator's own lists.

    Args:
        allocator: of full attention, or of a sliding window.
        spans: for each row its request's id, and how many tokens are old and new.
        is_fresh: nothing is read.
    """
    reads, writes = [], []
    for request_id, past, new in spans:
        slots = _slots(allocator, request_id)
        if allocator.layer_type == SLIDING_ATTENTION:
            window = allocator.sliding_window
            if not is_fresh:
                reads.append(_ring_reads(slots, past, window))
                reads.append(torch.full((new,), allocator.sentinel_index))
            if new == 1:
                at = past % window
                writes.append(slots[at : at + 1])
            else:
                writes.append(torch.tensor(allocator.get_write_indices(request_id, past, new)))
        else:
            writes.append(slots[past : past + new])
            if not is_fresh:
                reads.append(slots[: past + new])
    return _joined(reads), _joined(writes)


def _slots(allocator: Any, request_id: str) -> torch.Tensor:
    """The places of a request's tokens, in order, page after page."""
    first = np.array(allocator.block_table[request_id]) * allocator.block_physical_stride
    return torch.from_numpy((first[:, None] + _WITHIN_PAGE).ravel())


def _ring_reads(slots: torch.Tensor, past: int, window: int) -> torch.Tensor:
    """The last window less one of the old tokens, oldest first."""
    if past < window:
        return slots[:past]
    start = (past + 1) % window
    if start == 0:
        return slots[: window - 1]
    return torch.cat([slots[start:window], slots[: start - 1]])


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)
