"""The engine for what continuous batching refuses: a plain decode loop, a token of each in turn.

    any thread --command--> inbox --engine's thread--> Forward, Sampler --token--> Answer --event-->
    sink

One thread owns the model and runs everything here but the public methods. In each round it makes
one token of every answer that is being written and reads one part of one prompt, so that every
text grows and a long prompt stops nobody; between two passes through the model it takes commands
(begin, cancel, stop). All of them together make as many tokens per second as one alone.

What a conversation's cache is and which are kept is in `kept_caches.py`; how a model is called, in
`forward.py`.
"""

import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import torch

from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.answer import Answer, is_out_of_memory
from chat_ui.engine.forward import Forward
from chat_ui.engine.kept_caches import Cached, KeptCaches
from chat_ui.engine.loaded import LoadedModel, end_thread_pool, give_back_memory, release
from chat_ui.engine.protocol import Cancel, EngineFacts, Request, Sink
from chat_ui.engine.sampler import Sampler
from chat_ui.errors import EngineStoppedError
from chat_ui.models import memory

# While a part of a prompt is read, no other answer grows and no cancel is heard; smaller parts take
# longer in all (measured for `paged.py`: 1.4 s for 1,000 tokens in parts of 256, 2.0 s in 64).
CPU_PART_TOKENS: Final = 256
GPU_PART_TOKENS: Final = 1024
# A snapshot is taken so far before a prompt's end. What a template writes last, to open an answer,
# it may write differently once that answer is history: thoughts, for one, are left out.
OPENING_TOKENS: Final = 16
# A beginning that other conversations share is worth a snapshot from this length on.
SHARED_TOKENS: Final = 64
# An answer is counted with so many tokens, or with those that it has: few come near their limit.
RESERVED_TOKENS: Final = 1024
# Where memory is short, a window is at least this long.
LEAST_WINDOW_TOKENS: Final = 256


@dataclass(slots=True, eq=False)
class _Row:
    """A request, waiting or running.

    Attributes:
        prompt: its token ids.
        limit_tokens: what the answer may have.
        sampler: None while it waits.
        cached: what was read of it.
        next_ids: tokens to read before the answer's next one can be chosen.
        marks: lengths at which a snapshot is taken.
        is_reading: its prompt was not read to the end.
    """

    answer: Answer
    prompt: list[int]
    limit_tokens: int
    sampler: Sampler | None = None
    cached: Cached = field(default_factory=Cached)
    next_ids: list[int] = field(default_factory=list)
    marks: set[int] = field(default_factory=set)
    is_reading: bool = True


class SingleEngine:
    """Runs a loaded model; see `protocol.py` for the contract.

    Args:
        loaded: the model, which the engine owns from now on. It was loaded on a thread that has
            ended.

    Attributes:
        facts: see `Engine.facts`. The window may be smaller than the model's, where memory is
            short.

    Raises:
        Exception: the model can't be run; it is the caller's again.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._template = loaded.template
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._door = threading.Lock()  # of the next, and of the inbox's order
        self._closed = False
        # Only the engine's thread uses these.
        self._loaded = loaded
        self._kept = KeptCaches()
        self._rows: deque[_Row] = deque()
        self._waiting: dict[str, deque[_Row]] = {}  # by owner, the one whose turn it is first
        self._stopping = False
        sample = loaded.template.encode([PromptMessage("user", "Hi")])
        ready: Future[EngineFacts] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(sample, ready), name="single-engine", daemon=True
        )
        self._thread.start()
        self.facts = ready.result()

    def encode(self, messages: Sequence[PromptMessage], thinking: bool | None = None) -> list[int]:
        """See `Engine.encode`."""
        return self._template.encode(messages, thinking)

    def start(self, request: Request, sink: Sink) -> Cancel:
        """See `Engine.start`."""
        answer = Answer(request, sink, self._loaded)

        def cancel() -> None:
            answer.cancel()
            self._inbox.put(partial(self._cancel, answer))

        with self._door:
            if not self._closed:
                self._inbox.put(partial(self._arrive, answer))
                return cancel
        # The engine's thread is gone, or about to be. Not on the caller's, who may hold a lock that
        # the sink wants.
        threading.Thread(target=answer.fail, args=(EngineStoppedError(),), daemon=True).start()
        return answer.cancel

    def forget(self) -> None:
        """See `Engine.forget`."""
        self._inbox.put(partial(self._kept.shrink, 0))

    def close(self) -> None:
        """See `Engine.close`."""
        with self._door:
            if not self._closed:
                self._closed = True
                self._inbox.put(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # What follows runs on the engine's thread.

    def _run(self, sample: Sequence[int], ready: "Future[EngineFacts]") -> None:
        with torch.inference_mode():
            try:
                ready.set_result(self._prepare(sample))
            except Exception as error:
                traceback.clear_frames(error.__traceback__)  # they hold the model
                ready.set_exception(error)
                return
            while not self._stopping:
                try:
                    self._round()
                except Exception as error:  # a fault of ours: nobody waits for ever
                    self._fail_all(error)
        del self._forward
        release(self._loaded)

    def _prepare(self, sample: Sequence[int]) -> EngineFacts:
        """Try the model, and find out how long a conversation memory allows."""
        device = self._loaded.model.device
        forward = Forward(self._loaded.model)
        read = forward.check(sample)
        self._forward = forward
        self._cost, self._wants_snapshots = read.cost(), read.wants_snapshots
        self._part_tokens = CPU_PART_TOKENS if device.type == "cpu" else GPU_PART_TOKENS
        # A quarter of what is free, as for `paged.cache_size`; but it is taken as it is needed.
        self._budget_bytes = _free_bytes(device) // 4
        window = self._loaded.facts.window_tokens
        affordable = self._cost.affordable_tokens(self._budget_bytes, window)
        window = min(window, max(affordable, LEAST_WINDOW_TOKENS))
        self._loaded.facts = replace(self._loaded.facts_as("single"), window_tokens=window)
        return self._loaded.facts

    def _round(self) -> None:
        """A token of each answer, and a part of a prompt."""
        # With nothing open, wait here: an idle engine takes no time.
        self._take_commands(wait=not self._rows and not self._waiting)
        self._admit()
        for row in [row for row in self._rows if not row.is_reading]:
            self._advance(row)
        reading = next((row for row in self._rows if row.is_reading), None)
        if reading is not None:
            # To the end of the line: a short prompt does not wait for a long one.
            self._rows.remove(reading)
            self._rows.append(reading)
            self._advance(reading)

    def _take_commands(self, *, wait: bool = False) -> None:
        if wait and self._inbox.empty():
            end_thread_pool()
        while wait or not self._inbox.empty():
            self._inbox.get()()
            wait = False

    def _arrive(self, answer: Answer) -> None:
        try:
            limit = self._loaded.token_limit(answer.request)
        except Exception as error:
            answer.fail(error)
            return
        answer.limit(limit)
        prompt = list(answer.request.prompt_ids)
        self._waiting.setdefault(answer.request.owner, deque()).append(_Row(answer, prompt, limit))

    def _cancel(self, answer: Answer) -> None:
        if answer.ended:
            return
        answer.finish("cancelled")
        for row in [row for row in self._rows if row.answer is answer]:
            self._end(row)
        owner = answer.request.owner
        left = deque(row for row in self._waiting.get(owner, ()) if row.answer is not answer)
        if left:
            self._waiting[owner] = left  # in its old place
        else:
            self._waiting.pop(owner, None)

    def _stop(self) -> None:
        self._fail_all(EngineStoppedError())
        self._kept.shrink(0)
        self._stopping = True

    def _fail_all(self, error: Exception) -> None:
        waiting = [row for rows in self._waiting.values() for row in rows]
        for row in [*self._rows, *waiting]:
            row.answer.fail(error)
        self._rows.clear()
        self._waiting.clear()

    def _admit(self) -> None:
        """Let in who waits, as far as memory goes; one at least."""
        while self._waiting:
            owner, rows = next(iter(self._waiting.items()))
            if self._rows and self._reserved_bytes(*self._rows, rows[0]) > self._budget_bytes:
                return
            del self._waiting[owner]
            row = rows.popleft()
            if rows:
                self._waiting[owner] = rows  # last again: owners take turns
            self._begin(row)

    def _reserved_bytes(self, *rows: _Row) -> int:
        """What the caches of rows take, or soon will."""
        lengths = (
            max(len(row.cached.ids), len(row.prompt) + min(row.limit_tokens, RESERVED_TOKENS))
            for row in rows
        )
        return sum(map(self._cost.bytes, lengths))

    def _make_room(self) -> None:
        self._kept.shrink(self._budget_bytes - self._reserved_bytes(*self._rows))

    def _begin(self, row: _Row) -> None:
        try:
            row.sampler = Sampler(row.answer.request.config, row.prompt)
            # Where tokens are read one by one, a new prompt is read about 8 times as fast.
            least = 1 if self._forward.in_parts else len(row.prompt) * 7 // 8
            others = [other.cached for other in self._rows]
            row.cached, shared = self._kept.take(row.prompt, others, least)
            reused = len(row.cached.ids)
            row.next_ids = row.prompt[reused:]
            if self._wants_snapshots:
                before_opening = max(len(row.prompt) - OPENING_TOKENS, reused)
                row.marks = {before_opening}
                if max(SHARED_TOKENS, reused + 1) <= shared < before_opening:
                    row.marks.add(shared)
            if reused in row.marks:
                row.cached.snapshot()
            self._rows.append(row)
            self._make_room()
            row.answer.start(reused)
        except Exception as error:
            self._fail(row, error)

    def _advance(self, row: _Row) -> None:
        """One pass through the model, and what it gives."""
        self._take_commands()
        if row.answer.ended or row.sampler is None:
            if row in self._rows:  # its reader is broken
                self._end(row)
            return
        try:
            scores = self._forward(row.cached, self._part(row))
            if len(row.cached.ids) in row.marks:
                row.cached.snapshot()
            if row.next_ids:
                return
            row.is_reading = False
            token = row.sampler(scores)
            row.next_ids = [token]
            if row.answer.take(token):
                self._end(row)
        except Exception as error:
            self._fail(row, error)

    def _part(self, row: _Row) -> list[int]:
        """The tokens to read next, which leave `next_ids`."""
        read = len(row.cached.ids)
        if self._forward.in_parts:
            ends = [read + self._part_tokens, *(mark for mark in row.marks if mark > read)]
        else:
            ends = [read + (1 if read else len(row.next_ids))]
        length = min(ends) - read
        part, row.next_ids = row.next_ids[:length], row.next_ids[length:]
        return part

    def _end(self, row: _Row) -> None:
        """Forget a row, and keep what it read."""
        self._rows.remove(row)
        self._kept.keep(row.cached)
        row.cached = Cached()
        self._make_room()

    def _fail(self, row: _Row, error: Exception) -> None:
        """End a row; its cache may be broken."""
        if row in self._rows:
            self._rows.remove(row)
        row.cached = Cached()
        row.answer.fail(error)
        if is_out_of_memory(error):
            traceback.clear_frames(error.__traceback__)  # they hold tensors
            self._kept.shrink(0)
            give_back_memory()


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory.free_bytes("cpu")
