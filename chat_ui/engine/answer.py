"""One open request: turns its tokens into the events of the contract, and ends it exactly once.

Both engines use it on their own thread; only `cancel` and `cancelled` may be used from another.
What runs the model, and when, is not its business.
"""

import logging
import threading
from typing import Final, Literal

import torch

from chat_ui.engine.assist import Assistance
from chat_ui.engine.loaded import LoadedModel
from chat_ui.engine.protocol import Delta, Event, Failed, Finished, Request, Sink, Started
from chat_ui.engine.text import TextStream
from chat_ui.errors import ChatUIError, EngineError
from chat_ui.models.quantization import Precision

logger = logging.getLogger(__name__)

# torch's CPU allocator; MPS and CUDA's runtime; CUDA's matrix products.
_OUT_OF_MEMORY: Final = ("can't allocate memory", "out of memory", "alloc_failed")


class Answer:
    """An answer while it grows.

    Attributes:
        request: what was asked for.
        ended: its last event was sent.
        assistance: what drafts tokens for it, if anything does.
    """

    def __init__(self, request: Request, sink: Sink, loaded: LoadedModel) -> None:
        self.request = request
        self.ended = False
        self.assistance: Assistance | None = None
        self._sink = sink
        before = request.prompt_ids if request.is_begun else ()
        self._text = TextStream(
            loaded.tokenizer, request.config.stop, before, loaded.template.thought_marks
        )
        self._eos_token_ids = loaded.eos_token_ids
        self._precision = loaded.facts.precision
        self._tokens_left = request.config.max_new_tokens
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask for its end, from any thread; the engine's own sends the event."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether its end was asked for."""
        return self._cancelled.is_set()

    def limit(self, tokens: int) -> None:
        """End it after this many tokens at most."""
        self._tokens_left = min(self._tokens_left, tokens)

    def start(self, reused_tokens: int) -> None:
        """The model begins with its prompt, of which a cache holds the first tokens."""
        self._send(Started(reused_tokens))

    def take(self, token_id: int) -> bool:
        """Pass on a generated token; True once the answer has ended. Later tokens are ignored."""
        if self.ended:
            return True
        if self.cancelled:
            self.finish("cancelled")
            return True
        if self.assistance is not None:
            self.assistance.push(token_id)
        is_end = token_id in self._eos_token_ids
        self._tokens_left -= 1
        self._send(Delta("" if is_end else self._text.push(token_id), 1))
        if is_end or self._text.stopped:
            self.finish("stop")
        elif self._tokens_left <= 0:
            self.finish("length")
        return self.ended

    def finish(self, reason: Literal["stop", "length", "cancelled"]) -> None:
        """End it well, unless it has ended."""
        drafts = self.assistance
        if drafts is None:
            self._end(Finished(reason))
        else:
            counts = drafts.drafted_tokens, drafts.accepted_tokens
            self._end(Finished(reason, *counts, drafts.speedup))

    def fail(self, error: BaseException) -> None:
        """End it with a sentence about `error`, unless it has ended."""
        self._end(Failed(as_shown_error(error, self._precision)))

    def _end(self, event: Finished | Failed) -> None:
        if self.ended:
            return
        held_back = self._text.finish()
        if held_back:
            self._send(Delta(held_back, 0))
        self._send(event)
        self.ended = True

    def _send(self, event: Event) -> None:
        if self.ended:
            return
        try:
            self._sink(event)
        except Exception:
            # A reader that breaks is its own affair; the model and the other readers go on.
            logger.exception("A reader of an answer failed; its answer ends here.")
            self.ended = True


def as_shown_error(error: BaseException, precision: Precision) -> ChatUIError:
    """What a person is told of an error while a model answers; the log gets the error itself."""
    if isinstance(error, ChatUIError):
        return error
    if is_out_of_memory(error):
        logger.error("Out of memory while answering: %s", error)
        lever = (
            "choose a smaller model" if precision == "4bit" else "choose 4-bit or a smaller model"
        )
        return EngineError(
            "The memory is full: the model had no room left for this answer.",
            f"Shorten the context (a new chat, a lower Max new tokens), or {lever}.",
        )
    logger.error("An answer failed.", exc_info=error)
    return EngineError(
        "The model failed while it answered.", "Press Regenerate; the server's log has the details."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on a CPU and on Apple's GPU only the words of the error say so."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in words for sign in _OUT_OF_MEMORY)
