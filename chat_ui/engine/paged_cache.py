"""What of the library's paged cache and scheduler is decided otherwise here.

Prefixes: complete pages of prompts *and answers* stay after their request has ended, under a hash
of all tokens up to there, until their memory is wanted. Then the least recently used leave, no more
than are wanted, and of one conversation the last pages first, because a later page is of no use
without the earlier ones. (The library throws away all of them at once.) A request that a full cache
sent back to the queue leaves its pages in the same way, so that it need not begin again.

The hashes are shared between all users, so that a system prompt is read once. A stranger who has
the very same beginning of a prompt could tell from the time to the first token that somebody used
it lately; nothing else of a conversation can be learned so, because every page's hash covers all
tokens before it.

Models with a sliding window share nothing: their pages are a ring in which new tokens overwrite the
oldest, so what a prefix's end needs is gone once the conversation has grown by a page, and one
kind of layers without the other is of no use. Keeping it would take a copy of the window for each
place to come back to.

Order: each answer that grows gets its token first. What is left of a step's tokens reads prompts:
new ones begin at once, so that a short message, or a long one that is mostly in the cache, does not
wait for a stranger's book; the others go on in the order in which they came.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.requests import (
    FutureRequestState,
    RequestState,
    RequestStatus,
)
from transformers.generation.continuous_batching.scheduler import FIFOScheduler

from chat_ui.engine.loaded import give_back_zeros
from chat_ui.engine.sizing import PAGE_TOKENS


class Cache(PagedAttentionCache):
    """A paged cache that keeps what it can, as long as it can.

    Its memory is taken page by page, as conversations fill it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        give_back_zeros(self.cache_tensor)

    def can_store_request_tokens(
        self, state: RequestState, request_len: int, dry_run: bool = False
    ) -> bool:
        """Make room where there is none, and take it, unless it is only a question."""
        if super().can_store_request_tokens(state, request_len, dry_run):
            return True
        if not self.use_prefix_sharing:
            return False
        (allocator,) = self.cache_allocators.values()  # only full attention shares
        wanted = allocator.needs_new_blocks(state.request_id, state.current_len(), request_len)
        missing = wanted - self._unused_blocks(allocator)
        if missing > len(allocator.ledger.cached_blocks):
            return False
        if dry_run:
            return True
        self._evict(allocator, missing)
        return bool(super().can_store_request_tokens(state, request_len))

    def free_blocks(self, request_id: str, no_cache: bool = False) -> None:
        """A request ended, or was sent back: its complete pages stay, and leave last page first."""
        for allocator in self.cache_allocators.values():
            allocator.block_table.get(request_id, []).reverse()
        super().free_blocks(request_id)

    def discard_blocks(self, request_id: str) -> None:
        """A request failed: what it computed is not to be used again."""
        super().free_blocks(request_id, no_cache=True)

    def forget_kept(self) -> None:
        """Drop all pages that no request has."""
        if self.use_prefix_sharing:
            (allocator,) = self.cache_allocators.values()
            self._evict(allocator, len(allocator.ledger.cached_blocks))

    def evict_cached_blocks(self) -> bool:
        """Nothing: `can_store_request_tokens` evicts what is wanted."""
        return False

    def count_storable_requests(self, list_blocks_needed: list[dict[str, int]]) -> int:
        """How many of these needs could be met one after the other; kept pages count as free."""
        if not self.use_prefix_sharing:
            self.pool.try_to_free_sectors()
            return int(super().count_storable_requests(list_blocks_needed))
        ((name, allocator),) = self.cache_allocators.items()
        room = self._unused_blocks(allocator) + len(allocator.ledger.cached_blocks)
        for number, needed in enumerate(list_blocks_needed):
            room -= needed[name]
            if room < 0:
                return number
        return len(list_blocks_needed)

    def has_room(self, others: list[RequestState], prompt_ids: list[int]) -> bool:
        """Whether a new prompt fits beside what the others have and still have to read.

        A page more for each of them is left free, to grow by.
        """
        needs, reads = [], len(prompt_ids)
        for state in others:
            old, new = state.current_len(), len(state.remaining_prefill_tokens) + PAGE_TOKENS
            needs.append(self._needs(state.request_id, old, new))
            reads += old + new
        shared = self._used_blocks(prompt_ids)
        own = self._needs("", 0, len(prompt_ids) + 1)
        needs.append({kind: count - shared for kind, count in own.items()})
        # The library skips rows that would together read more than its tensors hold.
        fits = reads <= self.max_tokens_read
        return fits and self.count_storable_requests(needs) == len(needs)

    def _needs(self, request_id: str, old_tokens: int, new_tokens: int) -> dict[str, int]:
        return {
            kind: allocator.needs_new_blocks(request_id, old_tokens, new_tokens)
            for kind, allocator in self.cache_allocators.items()
        }

    def _used_blocks(self, prompt_ids: list[int]) -> int:
        """How many pages of a prompt others are using right now, so that they cost nothing."""
        if not self.use_prefix_sharing:
            return 0
        (allocator,) = self.cache_allocators.values()
        kept = allocator.ledger.cached_blocks
        return sum(block not in kept for block in allocator.match_prefix_blocks(prompt_ids))

    def _unused_blocks(self, allocator: Any) -> int:
        whole: int = self.pool.num_free_sectors * allocator.blocks_per_sector
        return whole + int(self.pool.count_free_blocks(allocator.index))

    def _evict(self, allocator: Any, count: int) -> None:
        ledger = allocator.ledger
        evicted = list(islice(ledger.cached_blocks, count))
        for block in evicted:
            del ledger.cached_blocks[block]
            del ledger.hash_to_block[ledger.block_to_hash.pop(block)]
        self.pool.free_blocks(allocator.index, evicted)


class Scheduler(FIFOScheduler):
    """The order of work in a step, and word of each request that begins.

    Args:
        cache: the loop's.
        max_requests_per_batch: rows.
        begin: called once for a request, when its first tokens are scheduled, with its id and how
            many tokens of its prompt the cache held.
    """

    def __init__(
        self, cache: Cache, max_requests_per_batch: int, begin: Callable[[str, int], None]
    ) -> None:
        # Without the library's margin, under which it refuses to read any prompt: `Loop.has_room`
        # decides who may come in.
        super().__init__(cache, 0.0, max_requests_per_batch)
        self._begin = begin
        self.not_begun: dict[str, RequestState] = {}

    def add_new_request(self, state: RequestState) -> None:
        """A request that comes for the first time."""
        self.not_begun[state.request_id] = state
        self.add_waiting_request(state)

    def forget(self, request_id: str) -> None:
        """A request that nobody wants any more; its pages are free."""
        self.not_begun.pop(request_id, None)
        self.set_request_cancellation(request_id)
        self.clear_cancelled_requests()
        # When the cache is full, the library sends a request back to the queue and lets none in
        # until another one finishes. One that is cancelled instead would leave the bar down.
        self.block_new_requests = False

    def schedule_batch(
        self, token_budget: int, cache_budget: int
    ) -> tuple[list[FutureRequestState] | None, bool, int, int]:
        """The next step's work, as the library's own returns it."""
        decoding: list[RequestState] = []
        reading: list[RequestState] = []
        waiting: list[RequestState] = []
        for state in self.active_requests.values():
            (decoding if state.status == RequestStatus.DECODING else reading).append(state)
        if not self.block_new_requests:
            waiting = [self.waiting_requests[name] for name in self.waiting_requests_order]
        gone: set[str] = set()
        scheduled, is_full, fast_path, tokens, reads = self._process_candidates(
            decoding + waiting + reading, token_budget, cache_budget, gone
        )
        self._cleanup_waiting_queue(gone)
        if not scheduled and is_full:
            return None, fast_path, 0, 0
        if self.not_begun:
            for future in scheduled:
                if self.not_begun.pop(future.state.request_id, None) is not None:
                    self._begin(future.state.request_id, future.state.position_offset)
        return scheduled, fast_path, tokens, reads
