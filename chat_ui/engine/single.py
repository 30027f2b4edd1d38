"""Runs one answer at a time, through the pipeline's model: for what continuous batching refuses.

    any thread --start--> queue --engine's thread--> model.generate --token--> Answer --Delta-->
    sink

Answers wait for each other, first come, first served. Works for any architecture that `generate`
runs. It keeps no cache from one answer to the next.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import StoppingCriteria, StoppingCriteriaList

from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.answer import Answer
from chat_ui.engine.loaded import LoadedModel, release
from chat_ui.engine.protocol import Cancel, Request, Sink
from chat_ui.engine.sampler import Sampler
from chat_ui.errors import EngineStoppedError

log = logging.getLogger(__name__)


class SingleEngine:
    """See `protocol.Engine`. It owns the loaded model from now on, and one thread.

    Attributes:
        facts: what is true of the loaded model.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.facts = loaded.facts_as("single")
        self._loaded = loaded
        self._template = loaded.template
        self._open: deque[Answer] = deque()  # the first is being written, the others wait
        self._changed = threading.Condition()
        self._closing = False
        # A daemon: a process that ends without `close` must not hang on a long answer.
        self._thread = threading.Thread(target=self._run, name="engine-single", daemon=True)
        self._thread.start()

    def encode(self, messages: Sequence[PromptMessage]) -> list[int]:
        """Token ids of the messages, ready for the answer to begin."""
        return self._template.encode(messages)

    def start(self, request: Request, sink: Sink) -> Cancel:
        """Begin an answer, or have it wait for those before it."""
        answer = Answer(request, sink, self._loaded)
        with self._changed:
            if not self._closing:
                self._open.append(answer)
                self._changed.notify()
                return lambda: self._cancel(answer)
        # The engine's thread is gone, or about to be. Not on the caller's, who may hold a lock that
        # the sink wants.
        threading.Thread(target=answer.fail, args=(EngineStoppedError(),), daemon=True).start()
        return answer.cancel

    def close(self) -> None:
        """End everything and free the memory."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _cancel(self, answer: Answer) -> None:
        answer.cancel()
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while answer := self._next():
            try:
                self._write(answer)
            except Exception as error:
                # Its traceback holds frames, which hold tensors: it must not outlive this block.
                answer.fail(error)
            self._drop(answer)
        for answer in list(self._open):
            answer.fail(EngineStoppedError())
            self._drop(answer)
        release(self._loaded)

    def _next(self) -> Answer | None:
        """The next answer to write; None once the engine is closing."""
        while True:
            self._end_cancelled()
            with self._changed:
                if self._closing:
                    return None
                if self._open and not self._open[0].cancelled:
                    return self._open[0]
                if not self._open:
                    self._changed.wait()

    def _end_cancelled(self, writing: Answer | None = None) -> None:
        """End the waiting answers that were cancelled: their turn may be minutes away."""
        with self._changed:
            gone = [answer for answer in self._open if answer.cancelled and answer is not writing]
        for answer in gone:
            answer.finish("cancelled")
            self._drop(answer)

    def _drop(self, answer: Answer) -> None:
        with self._changed:
            self._open.remove(answer)

    def _write(self, answer: Answer) -> None:
        loaded, request = self._loaded, answer.request
        limit = loaded.token_limit(request)
        answer.limit(limit)
        prompt = torch.tensor([list(request.prompt_ids)], device=loaded.device)
        sampler = Sampler(request.config, request.prompt_ids)
        loaded.pipeline.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=GenerationConfig(max_new_tokens=limit, do_sample=False),
            logits_processor=LogitsProcessorList([_Sampled(sampler)]),
            stopping_criteria=StoppingCriteriaList([_Told(self, answer)]),
        )
        # Only where `generate` ended by itself, which the answer has to know of.
        answer.finish("length")

    def _goes_on(self, answer: Answer, token_id: int) -> bool:
        """Pass on a token, and look after the others; whether there is to be another token."""
        if self._closing:
            answer.fail(EngineStoppedError())
        self._end_cancelled(writing=answer)
        return not answer.take(token_id)


class _Sampled(LogitsProcessor):
    """Leaves the sampler's token as the only one that the greedy `generate` can take."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (1, vocabulary) in, the same shape out."""
        chosen = self._sampler(scores[0].float())
        only = torch.full_like(scores, -torch.inf)
        only[0, chosen] = 0.0
        return only


class _Told(StoppingCriteria):
    """Tells the engine of every new token, and `generate` whether to go on.

    A streamer would hear of a token only after this was asked, and cost one more token at every
    end.
    """

    def __init__(self, engine: SingleEngine, answer: Answer) -> None:
        self._engine = engine
        self._answer = answer

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Input ids (1, tokens) in, a flag (1,) out."""
        goes_on = self._engine._goes_on(self._answer, int(input_ids[0, -1]))
        return torch.tensor([not goes_on], device=input_ids.device)
