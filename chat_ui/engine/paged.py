"""The seam to transformers' continuous batching: everything of ours that touches its inner parts is
here.

What is touched, and not documented as a door (transformers is pinned; tests/contract guards it):
`logit_processor` and `output_router` of a manager, replaced or extended before it runs; its
attention, set after it was checked; `_run_generation_loop`, called on our own thread;
`_generation_loop_body` and `_handle_critical_error`, which are overridden; the scheduler's
`block_new_requests`.

This module does not know requests of ours, text or sinks.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, inf
from typing import Any, Final

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching import cache_allocators
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
)
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    OutputRouter,
)
from transformers.generation.continuous_batching.requests import GenerationOutput
from transformers.generation.continuous_batching.utils import (
    find_head_dim,
    find_num_key_value_heads,
)

from chat_ui.engine import ragged
from chat_ui.models import memory

# It has a handler of its own, warns of what is meant so, and prints the traceback of every death of
# its loop, which `serve` hands to us anyway.
logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)

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
GPU_PART_TOKENS: Final = 1024
# Steps of 0.1 s in which requests are open and none is worked on, before the loop is given up.
STALLED_STEPS: Final = 50


@dataclass(frozen=True, slots=True)
class CacheSize:
    """How large the key-value cache is made.

    Attributes:
        window_tokens: what one conversation may hold: the model's own window where memory allows
            it.
        cache_tokens: what all conversations may hold together.
        part_tokens: how much of a prompt is read at a time.
    """

    window_tokens: int
    cache_tokens: int
    part_tokens: int


def cache_size(model: Any, window_tokens: int, free_bytes: int | None = None) -> CacheSize:
    """Room for four full windows, in a quarter of the free memory at most.

    Where a quarter does not hold one window, the window becomes what it holds. Above the four
    windows of a small model stand eight parts of a prompt: the scheduler reads no new prompt while
    less than 15 % of the cache is free, and an eighth is less than that.

    Args:
        model: a transformers model, on its device.
        window_tokens: the model's context window.
        free_bytes: of the device's memory; None asks it.
    """
    part = CPU_PART_TOKENS if model.device.type == "cpu" else GPU_PART_TOKENS
    config = model.config.get_text_config()
    page_bytes = cache_allocators.FullAttentionCacheAllocator.get_bytes_per_page(
        find_num_key_value_heads(config), find_head_dim(config), model.dtype, PAGE_TOKENS
    )
    free = _free_bytes(model.device) if free_bytes is None else free_bytes
    affordable = free // 4 // (page_bytes * config.num_hidden_layers) * PAGE_TOKENS
    tokens = min(max(4 * window_tokens, 8 * part), max(affordable, 8 * PAGE_TOKENS))
    return CacheSize(min(window_tokens, tokens), tokens, min(part, tokens))


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory.free_bytes("cpu")


@contextmanager
def attention_kept(model: Any) -> Iterator[None]:
    """Give the model its own attention back, which a loop changes.

    The library does so in `stop`, which a loop that could not be built never reaches: a model that
    it refused was left with an attention that no other engine can use.
    """
    own = model.config._attn_implementation
    try:
        yield
    finally:
        if model.config._attn_implementation != own:
            model.set_attn_implementation(own)


class Loop(ContinuousBatchingManager):
    """The library's manager, run on the caller's thread, with our choice of tokens and our way out.

    Args:
        model: a transformers model.
        size: of its cache.
        choose: given a request's id and its scores, float32, shape (vocabulary,); returns the next
            token, or None where nobody wants it. Must not raise: it would end every request.
        deliver: given the state of a request after each of its tokens, and when it failed.
        before_step: called before each step; the loop ends when it returns False. May block while
            nothing is open, which costs no time at all; the library's own waiting wakes ten times a
            second.
    """

    def __init__(
        self,
        model: Any,
        size: CacheSize,
        *,
        choose: Callable[[str, torch.Tensor], int | None],
        deliver: Callable[[GenerationOutput], None],
        before_step: Callable[[], bool],
    ) -> None:
        super().__init__(
            model=model,
            # Not the model's own: its repetition penalty would be applied beside ours.
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),
            continuous_batching_config=_library_config(size),
        )
        if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
            model.set_attn_implementation(ragged.NAME)
        self.current_batch = 0
        self._before_step = before_step
        self._last_batch = -1
        self._stalled_steps = 0
        self._error: Exception | None = None
        self.output_router = _Router(deliver)
        self._add_processor(_ChosenRows(choose))

    def _add_processor(self, processor: ContinuousBatchingLogitsProcessor) -> None:
        """Hook a processor of ours into the library's list, as its own constructor would do."""
        listed = self.logit_processor
        listed.logits_processor.append(processor)
        listed.tensors_required += 1
        listed._retrieve_processors_kwargs()
        listed.do_processing = True

    def serve(self) -> Exception | None:
        """Run until `before_step` returns False; returns the exception that ended it earlier, if
        one did.

        The library's `start` makes a thread that is no daemon, so that a process that forgets it
        never ends.
        """
        self._generation_thread = threading.current_thread()
        try:
            self._run_generation_loop()
        finally:
            self.stop(block=False)  # frees the cache
        return self._error

    def cancel_request(self, request_id: str) -> None:
        """Forget a request, on the loop's own thread; unknown ids are no error."""
        super().cancel_request(request_id)
        # When the cache is full, the scheduler sends a request back to the queue and lets none in
        # until another one finishes. One that is cancelled instead would leave the bar down.
        if self.batch_processor is not None:
            self.batch_processor.scheduler.block_new_requests = False

    def _handle_critical_error(self, error: Exception, batch_processor: Any) -> None:
        # The library's own would hand every request's failure to `deliver`, as text.
        self._error = error

    def _generation_loop_body(self, batch_processor: Any, bootstrapping: bool) -> bool:
        if not self._before_step():
            return False
        scheduler = batch_processor.scheduler
        self._stalled_steps = (
            self._stalled_steps + 1 if self.current_batch == self._last_batch else 0
        )
        if self._stalled_steps > STALLED_STEPS and scheduler.has_pending_requests():
            raise RuntimeError("the scheduler works on none of the open requests")
        self._last_batch = self.current_batch
        return bool(super()._generation_loop_body(batch_processor, bootstrapping))


def _library_config(size: CacheSize) -> ContinuousBatchingConfig:
    return ContinuousBatchingConfig(
        page_size=PAGE_TOKENS,
        # One more, for a model with two kinds of attention: each rounds its share up.
        num_blocks=ceil(size.cache_tokens / PAGE_TOKENS) + 1,
        max_batch_tokens=size.part_tokens,
        max_requests_per_batch=min(MAX_ROWS, size.part_tokens),
        allow_block_sharing=True,
        # Our sampler is Python, which is not run when a recorded graph is replayed.
        use_cuda_graph=False,
        use_async_batching=False,
        # It would fetch kernels (code) from the Hub.
        auto_switch_to_flash=False,
    )


class _ChosenRows(ContinuousBatchingLogitsProcessor):
    """Lets `choose` pick each row's token: the manager's argmax then finds infinity there."""

    supported_kwargs: Final[dict[str, type]] = {}
    ignored_kwargs: Final[tuple[str, ...]] = ()

    def __init__(self, choose: Callable[[str, torch.Tensor], int | None]) -> None:
        self._choose = choose
        self._request_ids: list[str] = []

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Nothing is passed through the tensor."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """Note whose rows come; called before the model runs."""
        self._request_ids = [request.state.request_id for request in requests_with_new_token]
        return torch.zeros(len(self._request_ids), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        """Mark the chosen tokens in scores, shape (rows, vocabulary).

        There may be more rows than requests: those of prompts that are not read to their end.
        Nobody looks at them.
        """
        for row, request_id in enumerate(self._request_ids):
            token = self._choose(request_id, scores[row])
            if token is not None:
                scores[row, token] = inf
        return scores


class _Router(OutputRouter):
    """Hands outputs over on the thread that made them, without a queue."""

    def __init__(self, deliver: Callable[[GenerationOutput], None]) -> None:
        super().__init__()
        self._deliver = deliver

    def deliver(self, output: GenerationOutput) -> None:
        """One request failed."""
        self._deliver(output)

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        """A step's outputs."""
        for output in outputs:
            self._deliver(output)
