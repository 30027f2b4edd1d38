"""The seam to transformers' continuous batching: everything of ours that touches its inner parts is
here.

What is touched, and not documented as a door (transformers is pinned; tests/contract guards it):
`logit_processor` and `output_router` of a manager, replaced or extended before it runs; its
attention, set after it was checked; `_run_generation_loop`, called on our own thread;
`_generation_loop_body`, `_create_batch_processor` and `_handle_critical_error`, which are
overridden. What its parts decide otherwise is in `paged_cache.py` and `paged_inputs.py`, how large
the cache is in `sizing.py`, and a step that checks drafted tokens in `verify.py`.

This module does not know requests of ours, text or sinks.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from math import inf
from typing import Any, Final

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
)
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    ContinuousBatchProcessor,
    OutputRouter,
)
from transformers.generation.continuous_batching.initialization import (
    update_cb_config_after_cache_creation,
)
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState

from chat_ui.engine import ragged, verify
from chat_ui.engine.paged_cache import Cache, Scheduler
from chat_ui.engine.paged_inputs import Inputs
from chat_ui.engine.sizing import MAX_ROWS, PAGE_TOKENS, CacheSize

# It has a handler of its own, warns of what is meant so, and prints the traceback of every death of
# its loop, which `serve` hands to us anyway.
logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)

# Steps of 0.1 s in which requests are open and none is worked on, before the loop is given up.
STALLED_STEPS: Final = 50


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
        begin: given a request's id and how many tokens of its prompt the cache held, once, when its
            first tokens are scheduled.
        choose: given a request's id and its scores, float32, shape (vocabulary,); returns the next
            token, or None where nobody wants it. Must not raise: it would end every request.
        deliver: given the state of a request after each of its tokens, and when it failed.
        before_step: called before each step; the loop ends when it returns False. May block while
            nothing is open, which costs no time at all; the library's own waiting wakes ten times a
            second.
        drafts: around each step of a request that has the loop for itself: given its id and how
            many tokens may be drafted for it, gives the drafts, which may be none.
    """

    def __init__(
        self,
        model: Any,
        size: CacheSize,
        *,
        begin: Callable[[str, int], None],
        choose: Callable[[str, torch.Tensor], int | None],
        deliver: Callable[[GenerationOutput], None],
        before_step: Callable[[], bool],
        drafts: Callable[[str, int], AbstractContextManager[Sequence[int]]],
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
        self._size = size
        self._begin = begin
        self._before_step = before_step
        self._choose = choose
        self._drafts = drafts
        self._in_step = False
        self._dropped: list[tuple[str, bool]] = []  # within a step
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

    def submit(self, request_id: str, prompt_ids: list[int], max_new_tokens: int) -> None:
        """Let a request in, on the loop's own thread between two steps."""
        # It need not know the tokens that end an answer: whoever is delivered to drops it then.
        self._parts[1].add_new_request(
            RequestState(request_id, prompt_ids, streaming=True, max_new_tokens=max_new_tokens)
        )

    def has_room(self, prompt_ids: list[int]) -> bool:
        """Whether a request may come in now; always where there is no other.

        Its prompt has to fit beside what the others still have to read, and a page more for each of
        them to grow by. Those who begin do so a part of a prompt at a time, so that whose turn it
        is can still change for the rest.
        """
        cache, scheduler = self._parts
        others = [*scheduler.active_requests.values(), *scheduler.waiting_requests.values()]
        if not others:
            return True
        if len(others) >= self.continuous_batching_config.max_requests_per_batch:
            return False
        unread = sum(len(state.initial_tokens) for state in scheduler.not_begun.values())
        return unread < self._size.part_tokens and cache.has_room(others, prompt_ids)

    def drop(self, request_id: str, *, is_sound: bool) -> None:
        """Forget a request, on the loop's own thread; unknown ids are no error.

        Its memory is free at once, or at the end of the step that is going on.

        Args:
            request_id: as it was submitted.
            is_sound: others may use again what was computed for it.
        """
        self._dropped.append((request_id, is_sound))
        if not self._in_step:
            self._forget_dropped()

    def forget_kept(self) -> None:
        """Drop the pages that no request has, on the loop's own thread between two steps."""
        if self.batch_processor is not None:
            self._parts[0].forget_kept()

    def _forget_dropped(self) -> None:
        if self.batch_processor is None:
            return
        cache, scheduler = self._parts
        for request_id, is_sound in self._dropped:
            if not is_sound:
                cache.discard_blocks(request_id)
            scheduler.forget(request_id)
        self._dropped.clear()

    @property
    def _parts(self) -> tuple[Cache, Scheduler]:
        if self.batch_processor is None:
            raise RuntimeError("the batching loop is not running")
        cache, scheduler = self.batch_processor.cache, self.batch_processor.scheduler
        return cache, scheduler

    def _create_batch_processor(self) -> ContinuousBatchProcessor:
        """As the library's own, with our cache and scheduler, and on a CPU our inputs."""
        model, config = self.model, self.continuous_batching_config
        cache = Cache(
            config=model.config.get_text_config(),
            continuous_batching_config=config,
            device=model.device,
            distributed_helper=self.distributed_helper,
            dtype=model.dtype,
            model_supports_logits_to_keep=model._supports_logits_to_keep(),
        )
        update_cb_config_after_cache_creation(config, cache.num_blocks, cache.max_batch_tokens)
        # Reading and writing the cache within a kernel: no sliding window has that.
        if not all(each.supports_block_table for each in cache.cache_allocators.values()):
            config.max_blocks_per_request = 0
        processor = ContinuousBatchProcessor(
            cache=cache,
            config=model.config.get_text_config(),
            generation_config=self.generation_config,
            continuous_batching_config=config,
            logit_processor=self.logit_processor,
            input_queue=self.input_queue,
            cancel_queue=self.cancel_queue,
            output_router=self.output_router,
            background_thread_status=self.background_thread_status,
            model_device=model.device,
            model_dtype=model.dtype,
            scheduler=Scheduler(cache, config.max_requests_per_batch, self._begin),
            distributed_helper=self.distributed_helper,
        )
        if model.config._attn_implementation == ragged.NAME:
            inputs = Inputs(
                cache,
                model.config.get_text_config(),
                config,
                model.device,
                model.dtype,
                self.logit_processor,
            )
            processor.inputs_and_outputs = processor.model_runner.inputs_and_outputs = inputs
            # The library's bound is the size of a tensor that ours does not have. Rows that share a
            # prefix read more than the cache holds; those beyond the bound would wait.
            cache.max_tokens_read = MAX_ROWS * max(cache.max_tokens_read, self._size.window_tokens)
        return processor

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
        self._in_step = True
        try:
            return self._step(batch_processor, bootstrapping)
        finally:
            self._in_step = False
            self._forget_dropped()

    def _step(self, batch_processor: Any, bootstrapping: bool) -> bool:
        alone = verify.alone(self)
        if alone is None:
            return bool(super()._generation_loop_body(batch_processor, bootstrapping))
        with self._drafts(alone.request_id, verify.room_tokens(self, alone)) as drafts:
            if not drafts:
                return bool(super()._generation_loop_body(batch_processor, bootstrapping))
            verify.step(self, alone, drafts, self._choose)
        self.current_batch += 1
        return True


def _library_config(size: CacheSize) -> ContinuousBatchingConfig:
    return ContinuousBatchingConfig(
        page_size=PAGE_TOKENS,
        num_blocks=size.blocks,
        max_batch_tokens=size.part_tokens,
        # `sizing` has asked what is free; the library knows only how much there is.
        max_memory_percent=1.0,
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
