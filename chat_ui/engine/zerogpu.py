"""The engine for ZeroGPU Spaces: a GPU is lent for one answer, to a process that ends with it.

    start --thread with the visitor's context--> spaces.GPU --fork--> worker: Forward, Sampler
    sink <--event-- Answer <--token ids-- pipe <-------------------------'

Import it on the main thread, before the page is built, and call `load_at_start` there: `spaces`
stands in for CUDA on the thread that imported it alone, and looks through what was put on "cuda"
when the page is served. A worker finds the model as it was then. What goes into it and comes out is
pickled (ids, a config, an error), and nothing that it does outlives it: no cache is kept.

Whose share of the GPU an answer uses up, `spaces` reads from Gradio's context, which is why each
answer's thread runs in a copy of its starter's.
"""

import itertools
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Final

import spaces
import torch

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.answer import Answer, as_shown_error
from chat_ui.engine.forward import Forward
from chat_ui.engine.kept_caches import Cached
from chat_ui.engine.load import load_model
from chat_ui.engine.loaded import LoadedModel, release, run_on_own_thread
from chat_ui.engine.protocol import Cancel, Engine, LoadEngine, Request, Sink
from chat_ui.engine.sampler import Sampler
from chat_ui.errors import ChatUIError, EngineError, EngineStoppedError, ModelError
from chat_ui.models import memory
from chat_ui.models.progress import LoadProgress, Progress, ignore
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec

# Until an answer was measured: a small model in a plain loop on an H200, which Python holds up.
_TOKENS_PER_S: Final = 25.0
_PROMPT_TOKENS_PER_S: Final = 2000.0
# A worker begins, and reads the weights from disk or memory.
_START_S: Final = 4.0
_WEIGHT_BYTES_PER_S: Final = 2e9
# A visitor with less left than is asked for gets nothing, and one who asked for too little is cut.
_MARGIN: Final = 1.3
_MOST_S: Final = 120


@dataclass(slots=True)
class _Placed:
    """A model that workers find after their fork.

    Attributes:
        loaded: the model.
        forward: its forward pass, tried on the CPU.
        tokens_per_s: how fast the last answers were written.
    """

    loaded: LoadedModel
    forward: Forward
    tokens_per_s: float = _TOKENS_PER_S


_placed: dict[int, _Placed] = {}
_numbers: Iterator[int] = itertools.count()

# What a worker sends: None once it has the GPU, then token ids, and perhaps why there are no more.
_Item = int | ChatUIError | None


def _duration_s(
    number: int, prompt_ids: list[int], config: GenerationConfig, limit_tokens: int
) -> int:
    """Seconds of a GPU to ask for; the arguments are those of `_generate`."""
    placed = _placed[number]
    start_s = _START_S + placed.loaded.facts.weight_bytes / _WEIGHT_BYTES_PER_S
    prompt_s = len(prompt_ids) / _PROMPT_TOKENS_PER_S
    seconds = start_s + _MARGIN * (prompt_s + limit_tokens / placed.tokens_per_s)
    return min(round(seconds), _MOST_S)


def _generate(
    number: int, prompt_ids: list[int], config: GenerationConfig, limit_tokens: int
) -> Generator[_Item, None, None]:
    """Write an answer, in the worker; it is closed where nobody wants the rest."""
    placed = _placed[number]
    try:
        yield None
        with torch.inference_mode():
            cached, next_ids, sampler = Cached(), prompt_ids, Sampler(config, prompt_ids)
            for _ in range(limit_tokens):
                # A prompt at once, then single tokens: that goes in every architecture.
                token = sampler(placed.forward(cached, next_ids))
                yield token
                if token in placed.loaded.eos_token_ids:
                    return
                next_ids = [token]
    except Exception as error:  # of which `spaces` would pass on the name alone
        yield as_shown_error(error, placed.loaded.facts.precision)


_on_gpu: Callable[..., Generator[_Item, None, None]] = spaces.GPU(duration=_duration_s)(_generate)


class _Run:
    """One answer: its thread, and its events, which more than one thread may send."""

    def __init__(self, answer: Answer, loaded: LoadedModel, number: int) -> None:
        self._answer, self._loaded, self._number = answer, loaded, number
        self._door = threading.Lock()  # of the answer
        self._has_gpu = False
        self.thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="zerogpu", daemon=True
        )

    def cancel(self) -> None:
        """End it within a token, and at once where it still waits for a GPU."""
        self._answer.cancel()
        if not self._has_gpu:
            self._end_elsewhere(lambda: self._answer.finish("cancelled"))

    def stop(self) -> threading.Thread:
        """End it, because the model is going; the thread that does it."""
        return self._end_elsewhere(lambda: self._answer.fail(EngineStoppedError()))

    def _end_elsewhere(self, end: Callable[[], None]) -> threading.Thread:
        # Not on the caller's thread, who may hold a lock that the sink wants.
        def run() -> None:
            with self._door:
                end()

        thread = threading.Thread(target=run, name="zerogpu-end", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            self._write()
        except Exception as error:
            shown = _as_engine_error(error)
            with self._door:
                self._answer.fail(shown)

    def _write(self) -> None:
        request, placed = self._answer.request, _placed[self._number]
        limit = self._loaded.token_limit(request)
        self._answer.limit(limit)
        times: list[float] = []
        arguments = self._number, list(request.prompt_ids), request.config, limit
        with closing(_on_gpu(*arguments)) as items:
            for item in items:
                with self._door:
                    is_over = self._take(item)
                if item is not None:
                    times.append(time.monotonic())
                if is_over:
                    break
        if len(times) > 16:
            placed.tokens_per_s = (len(times) - 1) / max(times[-1] - times[0], 1e-3)
        with self._door:
            self._answer.finish("length")  # which is how a worker ends that says nothing more

    def _take(self, item: _Item) -> bool:
        """Pass on what the worker sent; True where nothing more is wanted."""
        if isinstance(item, ChatUIError):
            self._answer.fail(item)
        elif item is not None:
            self._answer.take(item)
        elif self._answer.cancelled:
            self._answer.finish("cancelled")
        else:
            self._has_gpu = True
            self._answer.start(0)
        return self._answer.ended


class ZeroGPUEngine:
    """Runs a loaded model in workers; see `protocol.py` for the contract.

    Args:
        loaded: the model, on the CPU, which the engine owns from now on. It is put on the GPU, so
            make this on the thread that imported the module.

    Attributes:
        facts: see `Engine.facts`. The window may be smaller than the model's.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        forward = Forward(loaded.model)
        sample = loaded.template.encode([PromptMessage("user", "Hi")])
        # Before it is on a GPU that is none yet.
        read = run_on_own_thread(torch.inference_mode()(lambda: forward.check(sample)))
        kind = memory.device_kind()
        loaded.model.to(kind)
        # A worker writes one answer, so it may have most of what is left.
        room = max(memory.free_bytes(kind) - loaded.facts.weight_bytes, 0) // 2
        window = read.cost().affordable_tokens(room, loaded.facts.window_tokens)
        loaded.facts = replace(loaded.facts_as("zerogpu"), device=kind, window_tokens=window)
        self.facts = loaded.facts
        self._template = loaded.template
        self._loaded = loaded
        self._number = next(_numbers)
        _placed[self._number] = _Placed(loaded, forward)
        self._door = threading.Lock()
        self._runs: list[_Run] = []
        self._closed = False

    def encode(self, messages: Sequence[PromptMessage], thinking: bool | None = None) -> list[int]:
        """See `Engine.encode`."""
        return self._template.encode(messages, thinking)

    def start(self, request: Request, sink: Sink) -> Cancel:
        """See `Engine.start`."""
        run = _Run(Answer(request, sink, self._loaded), self._loaded, self._number)
        with self._door:
            if not self._closed:
                self._runs = [each for each in self._runs if each.thread.is_alive()] + [run]
                run.thread.start()
                return run.cancel
        run.stop()
        return run.cancel

    def forget(self) -> None:
        """See `Engine.forget`: nothing outlives a worker."""

    def close(self) -> None:
        """See `Engine.close`."""
        with self._door:
            self._closed = True
            runs = list(self._runs)
        # The worker notices at its next token that nobody listens.
        for thread in [run.stop() for run in runs] + [run.thread for run in runs]:
            thread.join()
        with self._door:
            self._runs.clear()
            if _placed.pop(self._number, None) is not None:
                release(self._loaded)


def load_at_start(spec: ModelSpec, precision: Precision) -> LoadEngine:
    """Load the one model of a ZeroGPU Space, now and on this thread.

    Returns:
        A loader that hands it out, once.

    Raises:
        ModelError: it can't be loaded, with the reason and a next step.
    """
    if precision != "full":
        raise ModelError(
            "On ZeroGPU, models run in full precision only.", "Leave --precision away."
        )
    waiting: list[Engine] = [ZeroGPUEngine(load_model(spec, precision, device="cpu"))]

    def load(
        spec: ModelSpec,
        precision: Precision,
        *,
        draft: ModelSpec | None = None,
        progress: Progress = ignore,
        anyway: bool = False,
    ) -> Engine:
        progress(LoadProgress("warming up"))
        if not waiting or (spec.id, precision) != (waiting[0].facts.spec.id, "full"):
            raise ModelError(
                "On ZeroGPU, a model is loaded only when the Space starts.", "Restart the Space."
            )
        return waiting.pop()

    return load


def _as_engine_error(error: Exception) -> ChatUIError:
    """What a person is told where no GPU was lent, or where it was taken away.

    Source: spaces 0.51, `zero/client.py` and `zero/wrappers.py`: Gradio's errors with a title, and
    RuntimeErrors where the visitor left.
    """
    if isinstance(error, ChatUIError):
        return error
    title, said = str(getattr(error, "title", "")), str(error)
    if "Connection closed by visitor" in said:
        return EngineError(
            "The page was left while the answer waited for a GPU.", "Press Regenerate."
        )
    if title == "ZeroGPU quota exceeded":
        wait = re.search(r"Try again in (\d[\w:, ]*\d)", said)
        return EngineError(
            "Your share of this Space's GPU time is used up.",
            f"Try again in {wait[1]} (hours:minutes:seconds)." if wait else "Try again later.",
        )
    if title == "ZeroGPU pending credits exceeded":
        return EngineError(
            "Your share of this Space's GPU time is held by answers that are being written.",
            "Wait until one of them has ended.",
        )
    if title == "ZeroGPU illegal duration":
        return EngineError(
            "No GPU is lent for as long as this answer may take.", "Lower Max new tokens."
        )
    if title in ("ZeroGPU queue timeout", "ZeroGPU client error"):
        return EngineError("No GPU was free in time.", "Reload the page and press Regenerate.")
    if title == "ZeroGPU worker error" and "aborted" in said:
        return EngineError(
            "The GPU was taken back before the answer ended.", "Press Continue for the rest."
        )
    return as_shown_error(error, "full")
