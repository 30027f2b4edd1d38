"""The engine for several readers at once: transformers' continuous batching with our sampler.

  any thread --command--> inbox --engine's thread--> Loop.serve() --token--> Answer --event--> sink

One thread owns the model and runs everything here but the public methods. It takes commands (begin,
cancel, stop) between two steps of the library's loop, so that only the door needs a lock. Requests
wait here until the loop has a row and memory for them; then owners take turns. When the loop dies,
everyone in it gets `Failed`, its cache is freed, and those who waited get a new one.

It does not choose tokens (`sampler.py`), make text of them (`answer.py`) or know the library's
inner parts (`paged.py`).
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from transformers.generation.continuous_batching.requests import GenerationOutput

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine import paged, sizing
from chat_ui.engine.answer import Answer
from chat_ui.engine.assist import Assistant, PromptLookup
from chat_ui.engine.draft import DraftModel
from chat_ui.engine.loaded import LoadedModel, end_thread_pool, give_back_memory, release
from chat_ui.engine.protocol import Cancel, Event, Failed, Finished, Request, Sink
from chat_ui.engine.sampler import Sampler
from chat_ui.engine.turns import Turns
from chat_ui.errors import EngineError, EngineStoppedError, PromptTooLongError

# Two tokens: one from reading the prompt, one from a step with a cache.
_PROBE: Final = GenerationConfig(temperature=0.0, max_new_tokens=2, seed=0)


class NotBatchable(Exception):
    """Continuous batching does not take this model.

    Attributes:
        reason: the library's words, for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Row:
    """An open request, what chooses its tokens, and whether the loop has it."""

    answer: Answer
    sampler: Sampler
    limit_tokens: int
    is_inside: bool = False


class BatchedEngine:
    """Runs a loaded model; see `protocol.py` for the contract.

    Args:
        loaded: the model, which the engine owns from now on. It was loaded on a thread that has
            ended.
        draft: drafts tokens for assisted generation, and belongs to the engine, too; None has them
            looked up in the prompt and the answer.

    Attributes:
        facts: see `Engine.facts`. The window may be smaller than the model's, where memory is
            short.

    Raises:
        NotBatchable: the library refuses the architecture. The model is as it was, and the caller's
            again.
        EngineError: the chat template can't be used.
    """

    def __init__(self, loaded: LoadedModel, draft: DraftModel | None = None) -> None:
        probe = loaded.template.encode([PromptMessage("user", "Hi")])
        self._template = loaded.template
        try:
            self._size = sizing.cache_size(loaded.model, loaded.facts.window_tokens)
        except Exception as error:  # a config without attention heads, as a recurrent network's
            raise NotBatchable(str(error)) from error
        self._model_window_tokens = loaded.facts.window_tokens
        label = "prompt lookup" if draft is None else draft.label
        self._assistant = Assistant(label, PromptLookup if draft is None else lambda: draft)
        facts = loaded.facts_as("batched")
        self.facts = replace(
            facts,
            window_tokens=self._size.window_tokens,
            weight_bytes=facts.weight_bytes + (0 if draft is None else draft.weight_bytes),
            drafter=label,
        )
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._door = threading.Lock()  # of the next two, and of the inbox's order
        self._closed = False
        self._last_id = 0
        # Only the engine's thread uses these.
        self._loaded = loaded
        self._draft = draft
        self._loop: paged.Loop | None = None
        self._open: dict[str, _Row] = {}
        self._turns = Turns()  # of the open ones, those that wait to get into the loop
        self._probing = True
        self._stopping = False
        self._free = False
        self._thread = threading.Thread(target=self._run, name="batched-engine", daemon=True)
        self._thread.start()
        self._probe(loaded, probe)
        give_back_memory()  # the probe leaves up to 300 MB to the heap
        loaded.facts = self.facts

    def encode(self, messages: Sequence[PromptMessage], thinking: bool | None = None) -> list[int]:
        """See `Engine.encode`."""
        return self._template.encode(messages, thinking)

    def start(self, request: Request, sink: Sink) -> Cancel:
        """See `Engine.start`."""
        with self._door:
            if not self._closed:
                self._last_id += 1
                return self._enter(str(self._last_id), Answer(request, sink, self._loaded))
        # The engine's thread is gone. Not on the caller's, who may hold a lock that the sink wants.
        threading.Thread(target=sink, args=(Failed(EngineStoppedError()),), daemon=True).start()
        return lambda: None

    def forget(self) -> None:
        """See `Engine.forget`."""
        self._inbox.put(self._forget_kept)

    def close(self) -> None:
        """See `Engine.close`."""
        self._end_thread(free=True)

    def _enter(self, request_id: str, answer: Answer) -> Cancel:
        """Any thread: hand an answer to the engine's."""

        def cancel() -> None:
            answer.cancel()
            self._inbox.put(partial(self._cancel, request_id))

        self._inbox.put(partial(self._begin, request_id, answer))
        return cancel

    def _probe(self, loaded: LoadedModel, prompt_ids: Sequence[int]) -> None:
        """Run two tokens through the model: the only sure way to know whether the library takes it.

        Raises:
            NotBatchable: it doesn't; the thread has ended.
        """
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        # A model that ends at once would not show its second step.
        endless = replace(loaded, eos_token_ids=())
        self._enter("probe", Answer(Request(prompt_ids, _PROBE), events.put, endless))
        event = events.get()
        while not isinstance(event, Finished | Failed):
            event = events.get()
        self._probing = False
        if isinstance(event, Failed):
            self._end_thread(free=False)
            raise NotBatchable(event.error.sentence)

    def _end_thread(self, *, free: bool) -> None:
        with self._door:
            if not self._closed:
                self._closed = True
                self._inbox.put(partial(self._stop, free))
        self._thread.join()

    # What follows runs on the engine's thread.

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._take_commands(wait=not self._open)
                if self._open:
                    self._serve()
            except Exception as error:  # a defect in here; yet nobody waits for ever
                for request_id in list(self._open):
                    self._fail(request_id, error)
        if self._free:
            if self._draft is not None:
                self._draft.release()
            release(self._loaded)

    def _serve(self) -> None:
        """Build a loop and run it, until the engine is stopped or the loop dies."""
        loop: paged.Loop | None = None
        model = self._loaded.model
        try:
            with paged.attention_kept(model):
                self._loop = loop = paged.Loop(
                    model,
                    self._size,
                    begin=self._started,
                    choose=self._choose,
                    deliver=self._deliver,
                    before_step=self._before_step,
                    drafts=self._drafts,
                )
                error = loop.serve()
        except Exception as failure:  # it could not be built
            error = failure
        self._loop = None
        if error is not None:
            # Where not even the loop could be built, waiting for another one is of no use.
            inside = {name for name, row in self._open.items() if row.is_inside}
            for request_id in inside or list(self._open):
                self._fail(request_id, error)
            # Both hold the old cache, which may take a quarter of the memory, in a circle.
            loop = error = None
            give_back_memory()

    def _before_step(self) -> bool:
        self._take_commands(wait=False)
        # With nothing open, wait here: an idle engine takes no time.
        while not (self._open or self._stopping):
            self._take_commands(wait=True)
        self._let_in()
        return not self._stopping

    def _take_commands(self, *, wait: bool) -> None:
        if wait and self._inbox.empty():
            end_thread_pool()
        while wait or not self._inbox.empty():
            self._inbox.get()()
            wait = False

    def _let_in(self) -> None:
        """Hand requests to the loop, as long as it has room for the one whose turn it is."""
        loop = self._loop
        while loop is not None and self._turns:
            row = self._open[self._turns.first()]
            prompt_ids = list(row.answer.request.prompt_ids)
            if not loop.has_room(prompt_ids):
                return
            row.is_inside = True
            # One more than it gets, so that `Answer` ends it: of a request that the library ends,
            # the last step's pages are not kept.
            loop.submit(self._turns.take(), prompt_ids, row.limit_tokens + 1)

    def _begin(self, request_id: str, answer: Answer) -> None:
        try:
            request = answer.request
            limit = self._limit_tokens(request)
            answer.limit(limit)
            sampler = Sampler(request.config, request.prompt_ids)
            if request.config.assisted:
                answer.assistance = self._assistant.open(request.prompt_ids)
            self._turns.add(request.owner, request_id)
            self._open[request_id] = _Row(answer, sampler, limit)
        except Exception as error:
            answer.fail(error)

    def _limit_tokens(self, request: Request) -> int:
        """See `LoadedModel.token_limit`; says so where not the model but the memory is the limit.

        Raises:
            EngineError: the request can never be answered here.
        """
        room, prompt = self._size.window_tokens, len(request.prompt_ids)
        if room <= prompt < self._model_window_tokens:
            raise PromptTooLongError(
                f"The prompt takes {prompt:,} tokens; the memory that is left for conversations "
                f"holds {room:,}.",
                "Start a new chat, shorten the message, or choose a smaller model or 4-bit.",
            )
        return self._loaded.token_limit(request)

    def _started(self, request_id: str, reused_tokens: int) -> None:
        row = self._open.get(request_id)
        if row is not None:
            row.answer.start(reused_tokens)

    def _cancel(self, request_id: str) -> None:
        row = self._drop(request_id)
        if row is not None:
            row.answer.finish("cancelled")

    def _stop(self, free: bool) -> None:
        for request_id in list(self._open):
            self._fail(request_id, EngineStoppedError())
        self._stopping, self._free = True, free

    def _forget_kept(self) -> None:
        if self._loop is not None:
            self._loop.forget_kept()

    def _choose(self, request_id: str, scores: torch.Tensor) -> int | None:
        """The next token of a request; its failure is its own."""
        row = self._open.get(request_id)
        if row is None:
            return None
        try:
            return row.sampler(scores)
        except Exception as error:
            self._fail(request_id, error)
            return None

    @contextmanager
    def _drafts(self, request_id: str, room_tokens: int) -> Iterator[Sequence[int]]:
        """Around a step of a request that is alone: the tokens that are drafted for it."""
        row = self._open.get(request_id)
        if row is None or row.answer.assistance is None:
            yield ()
        else:
            with row.answer.assistance.step(room_tokens) as drafts:
                yield drafts

    def _deliver(self, output: GenerationOutput) -> None:
        row = self._open.get(output.request_id)
        if row is None:  # it ended meanwhile
            return
        if output.error is not None:
            self._fail(output.request_id, RuntimeError(output.error))
        elif row.answer.take(output.generated_tokens[-1]):
            self._drop(output.request_id)

    def _fail(self, request_id: str, error: Exception) -> None:
        row = self._drop(request_id, is_sound=False)
        if row is not None:
            # A refusal is expected, and no affair for the log.
            row.answer.fail(EngineError(str(error)) if self._probing else error)

    def _drop(self, request_id: str, *, is_sound: bool = True) -> _Row | None:
        """Forget a request, here and in the loop, which keeps what is sound for a next turn."""
        row = self._open.pop(request_id, None)
        if row is None:
            return None
        if not row.is_inside:
            self._turns.discard(row.answer.request.owner, request_id)
        elif self._loop is not None:
            self._loop.drop(request_id, is_sound=is_sound)
        return row
