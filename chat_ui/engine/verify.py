"""Checks drafted tokens in one step of the batching loop: the scores of all of them at once.

The library decodes one token of a request in a step. Here, the only request there is gets its
newest token and the drafts to process, as if they were a part of a prompt; the scores of all of
them are read, and its state is then moved on token by token, as the library's own update does, up
to the first draft that was not chosen. What the others left in the cache is overwritten by what
comes next, and no hash is registered for it, so that no other prompt can find it.

A sliding window's cache is a ring: there, a draft overwrites a token that is still in the window if
the draft is not chosen. What it overwrites is kept and put back.

What is touched, and not documented as a door (transformers is pinned; tests/engine/test_assist.py
guards it), besides what `paged.py` lists: the state of a request (`tokens_to_process`,
`position_offset`, `_new_tokens_limit`), the batch's tensors (`get_model_kwargs`), the scheduler's
`active_requests`, `waiting_requests` and `finish_request`, the cache's `can_store_request_tokens`,
`count_new_complete_blocks`, `mark_complete_blocks`, `cache_allocators` and their
`_kv_token_views`.

It does not draft, choose tokens or know answers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.generation.continuous_batching.cache_allocators import (
    SlidingAttentionCacheAllocator,
)
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager
from transformers.generation.continuous_batching.requests import RequestState, RequestStatus
from transformers.generation.continuous_batching.utils import stream_context

Choose = Callable[[str, torch.Tensor], int | None]


def alone(manager: ContinuousBatchingManager) -> RequestState | None:
    """The only request there is, if its next step is to make one token; to be asked between steps.

    Also None while a request or a cancel is on its way, and where the next step belongs to both.
    """
    processor = manager.batch_processor
    if processor is None or not (manager.input_queue.empty() and manager.cancel_queue.empty()):
        return None
    scheduler = processor.scheduler
    if scheduler.waiting_requests or len(scheduler.active_requests) != 1:
        return None
    (state,) = scheduler.active_requests.values()
    is_decoding = state.status == RequestStatus.DECODING and not state.remaining_prefill_tokens
    return state if is_decoding and len(state.tokens_to_process) == 1 else None


def room_tokens(manager: ContinuousBatchingManager, state: RequestState) -> int:
    """How many drafts one step can check; 0 where only a plain one is possible.

    Bounded by the tokens that the request may still get (one more than the drafts is chosen), the
    batch, a sliding window, and the blocks that are free at once.
    """
    cache = _processor(manager).cache
    room: int = min(
        state._new_tokens_limit - state.generated_len() - 1,
        cache.max_batch_tokens - 1,
        *(allocator.sliding_window - 1 for allocator in _sliding(cache)),
    )
    while room > 0 and not cache.can_store_request_tokens(state, room + 1, dry_run=True):
        room //= 2
    return max(room, 0)


@torch.no_grad()
def step(
    manager: ContinuousBatchingManager, state: RequestState, drafts: Sequence[int], choose: Choose
) -> None:
    """Run the newest token and the drafts through the model, and take what is chosen.

    Args:
        manager: with no other request than this.
        state: as `alone` returned it.
        drafts: at least one and at most `room_tokens` token ids.
        choose: see `paged.Loop`. Asked for one place after the other, until the answer differs from
            the draft or is None; each token is delivered before the next place is asked for.

    Raises:
        RuntimeError: the library scheduled something else.
    """
    processor = _processor(manager)
    past_tokens, newest = state.position_offset, state.tokens_to_process
    count = len(drafts) + 1
    state.tokens_to_process = [*newest, *drafts]
    is_ready = processor.prepare_next_batch()
    batch = processor.inputs_and_outputs
    if not is_ready or [future.query_length for future in batch.requests_in_batch] != [count]:
        raise RuntimeError("the scheduler did not take the drafted tokens")
    state.position_offset, state.tokens_to_process = past_tokens, newest
    with stream_context(batch.compute_stream):
        restore = _window_kept(processor.cache, state.request_id, past_tokens, count)
        kwargs = batch.get_model_kwargs(use_padding=processor.model_runner.pad_inputs)
        scores = manager.model(**kwargs).logits[0, :count].float()
    batch.retrieve_device_outputs()
    taken = _take(processor, state, drafts, scores, choose)
    with stream_context(batch.compute_stream):
        restore(taken)


def _take(
    processor: Any, state: RequestState, drafts: Sequence[int], scores: torch.Tensor, choose: Choose
) -> int:
    """Choose, move the state on and deliver, token by token; how many there were."""
    for place in range(len(drafts) + 1):
        token = choose(state.request_id, scores[place])
        if token is None:  # nobody wants any more
            return place
        # As the library's `update_batch` does for its one token.
        complete = processor.cache.count_new_complete_blocks(state, 1)
        state.position_offset += 1
        is_finished = state.update_and_check_completion(token, None)
        processor.cache.mark_complete_blocks(state, complete)
        if is_finished:
            processor.scheduler.finish_request(state.request_id)
            processor.scheduler.block_new_requests = False
        processor.output_router.deliver_batch([state.to_generation_output()])
        if is_finished or place == len(drafts) or token != drafts[place]:
            break
    return place + 1


def _window_kept(
    cache: Any, request_id: str, past_tokens: int, count: int
) -> Callable[[int], None]:
    """Keep what `count` new tokens will overwrite in sliding windows.

    Returns:
        A function that puts it back, but for what the first tokens overwrote, whose number it
        takes.
    """
    kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for allocator in _sliding(cache):
        if past_tokens + count <= allocator.sliding_window:
            continue  # the ring has not come round
        places = allocator.get_write_indices(request_id, past_tokens, count)
        index = torch.tensor(places, device=cache.cache_tensor.device)
        for layer in allocator.layer_indices:
            kept += [(view, index, view[index]) for view in allocator._kv_token_views[layer]]

    def restore(taken: int) -> None:
        for view, index, rows in kept:
            view.index_copy_(0, index[taken:], rows[taken:])

    return restore


def _sliding(cache: Any) -> list[SlidingAttentionCacheAllocator]:
    allocators = cache.cache_allocators.values()
    return [a for a in allocators if isinstance(a, SlidingAttentionCacheAllocator)]


def _processor(manager: ContinuousBatchingManager) -> Any:
    if manager.batch_processor is None:
        raise RuntimeError("the batching loop is not running")
    return manager.batch_processor
