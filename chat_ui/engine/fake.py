"""An engine without a model, for tests and for work on the page: it says what a script tells it to.

It keeps the contract of `protocol.py` and computes nothing. Its "tokens" are words with the space
before them; its prompt ids are the UTF-8 bytes of the messages.
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.protocol import (
    Cancel,
    Delta,
    EngineFacts,
    Event,
    Failed,
    Finished,
    Request,
    Sink,
    Started,
)
from chat_ui.engine.thinking import ThinkingFacts
from chat_ui.errors import ChatUIError, EngineError, EngineStoppedError, ModelError
from chat_ui.models.progress import LoadProgress, Progress, ignore
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec

_TOKEN = re.compile(r"\s*\S+|\s+")
_TURN_END = "\x1e"

# What it says that it takes.
WEIGHT_BYTES: Final = 1000
# The weights that it says it reads, and how often it says so while it waits.
_WEIGHTS: Final = 4
_WAIT_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Script:
    """How the fake answers one request.

    Attributes:
        text: the whole answer.
        tokens_per_s: its pace; None means as fast as it can.
        first_token_s: seconds before the first token.
        fails_at: the token, counted from 0, instead of which it fails; None for never.
        error: how it fails.
        hangs: it never says anything, until it is cancelled or closed.
        reused_tokens: of the prompt, those that it says it need not read.
        end: what it says at the end of the whole text.
    """

    text: str = "Hello from the fake engine."
    tokens_per_s: float | None = None
    first_token_s: float = 0.0
    fails_at: int | None = None
    error: ChatUIError = field(
        default_factory=lambda: EngineError("The fake engine failed.", "Try again.")
    )
    hangs: bool = False
    reused_tokens: int = 0
    end: Finished = field(default_factory=lambda: Finished("stop"))


Answer = Callable[[str], Script]


def echo(prompt: str) -> Script:
    """The default answer: it repeats the newest message."""
    return Script(text=f"You said: {prompt}")


class FakeEngine:
    """See the module's docstring.

    Args:
        spec: which model it pretends to be.
        precision: in which precision.
        answer: gives the script for the newest user message's text.
        window_tokens: the context window, in bytes of the messages.
        drafter: what it says drafts for it.
        thinking: what its template does with thoughts.

    Attributes:
        prompts: the prompt ids of all requests, in order.
        times_forgotten: how often it was told to drop what it keeps.
    """

    def __init__(
        self,
        spec: ModelSpec,
        precision: Precision = "full",
        answer: Answer = echo,
        window_tokens: int = 100_000,
        drafter: str = "prompt lookup",
        thinking: ThinkingFacts | None = None,
    ) -> None:
        self.prompts: list[list[int]] = []
        self.times_forgotten = 0
        self._answer = answer
        self._lock = threading.Lock()
        self._open: dict[int, tuple[threading.Event, threading.Thread]] = {}
        self._closed = threading.Event()
        self._next = 0
        self.facts = EngineFacts(
            spec=spec,
            precision=precision,
            dtype="float32",
            dtype_reason="",
            device="cpu",
            kind="fake",
            parameters=0,
            weight_bytes=WEIGHT_BYTES,
            window_tokens=window_tokens,
            drafter=drafter,
            thinking=thinking or ThinkingFacts(),
        )

    @property
    def is_closed(self) -> bool:
        """Whether it was unloaded."""
        return self._closed.is_set()

    def encode(self, messages: Sequence[PromptMessage], thinking: bool | None = None) -> list[int]:
        """The UTF-8 bytes of the messages, each ended by a record separator, a begun answer not.

        Where thinking is switched, a line at the beginning says how.
        """
        text = "".join(f"{message.role}:{message.content}{_TURN_END}" for message in messages)
        if messages and messages[-1].role == "assistant":
            text = text.removesuffix(_TURN_END)
        if thinking is not None and self.facts.thinking.has_switch:
            text = f"thinking:{'on' if thinking else 'off'}{_TURN_END}{text}"
        return list(text.encode("utf-8", "replace"))

    def start(self, request: Request, sink: Sink) -> Cancel:
        """Begin to say the script's text on a thread of its own."""
        cancelled = threading.Event()
        with self._lock:
            self.prompts.append(list(request.prompt_ids))
            number = self._next
            self._next += 1
            thread = threading.Thread(
                target=self._run, args=(number, request, sink, cancelled), daemon=True
            )
            self._open[number] = (cancelled, thread)
        thread.start()
        return cancelled.set

    def forget(self) -> None:
        """Count it: nothing is kept."""
        self.times_forgotten += 1

    def close(self) -> None:
        """End every open answer and wait for its thread."""
        self._closed.set()
        with self._lock:
            still_open = list(self._open.values())
        for cancelled, thread in still_open:
            cancelled.set()
            thread.join()

    def _run(self, number: int, request: Request, sink: Sink, cancelled: threading.Event) -> None:
        end: Event = Failed(EngineStoppedError())
        try:
            if not self._closed.is_set():
                end = self._say(request, sink, cancelled)
        except Exception as error:  # a script or a sink that raises is a fault like any other
            end = Failed(EngineError(f"The fake engine's script failed: {error}.", "Mend it."))
        if self._closed.is_set():
            end = Failed(EngineStoppedError())
        with self._lock:
            del self._open[number]
        with suppress(Exception):  # a reader that is broken is not the engine's fault
            sink(end)

    def _say(self, request: Request, sink: Sink, cancelled: threading.Event) -> Event:
        script = self._answer(_newest_message(request.prompt_ids))
        sink(Started(script.reused_tokens))
        if script.hangs:
            cancelled.wait()
            return Finished("cancelled")
        text = _before_stop(script.text, request.config)
        started = time.monotonic() + script.first_token_s
        for index, token in enumerate(_TOKEN.findall(text)):
            if script.fails_at == index:
                return Failed(script.error)
            if index == request.config.max_new_tokens:
                return Finished("length")
            due = started + (index / script.tokens_per_s if script.tokens_per_s else 0.0)
            if cancelled.wait(max(0.0, due - time.monotonic())):
                return Finished("cancelled")
            sink(Delta(token, 1))
        return script.end


class FakeLoader:
    """Loads fakes instead of models: `LoadEngine` for tests.

    Attributes:
        loads: what was loaded, in order.
        drafts: the draft models that were asked for with them, by id.
        engines: what came of it.
        fails: precisions and model ids whose loading fails.
        gate: loading waits for this event, and goes on telling of its progress; set from the start.
        thinking: what the models' templates do with thoughts.
    """

    def __init__(self, answer: Answer = echo, window_tokens: int = 100_000) -> None:
        self.loads: list[tuple[str, Precision]] = []
        self.drafts: list[str | None] = []
        self.engines: list[FakeEngine] = []
        self.fails: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.thinking = ThinkingFacts()
        self._answer = answer
        self._window_tokens = window_tokens

    def __call__(
        self,
        spec: ModelSpec,
        precision: Precision,
        *,
        draft: ModelSpec | None = None,
        progress: Progress = ignore,
        anyway: bool = False,
    ) -> FakeEngine:
        """A fake engine.

        Raises:
            ModelError: the precision or the model's id is among `fails`.
            LoadCancelledError: `progress` raised it.
        """
        progress(LoadProgress("reading", 0, _WEIGHTS))
        while not self.gate.wait(_WAIT_S):
            progress(LoadProgress("reading", 0, _WEIGHTS))
        for done in range(1, _WEIGHTS + 1):
            progress(LoadProgress("reading", done, _WEIGHTS))
        progress(LoadProgress("warming up"))
        self.loads.append((spec.id, precision))
        self.drafts.append(draft.id if draft else None)
        if {spec.id, precision} & self.fails:
            raise ModelError("The fake model can't be loaded.", "Choose another.")
        drafter = draft.label if draft else "prompt lookup"
        engine = FakeEngine(
            spec, precision, self._answer, self._window_tokens, drafter, self.thinking
        )
        self.engines.append(engine)
        return engine


def _newest_message(prompt_ids: Sequence[int]) -> str:
    turns = bytes(prompt_ids).decode("utf-8", "replace").split(_TURN_END)
    users = [turn.removeprefix("user:") for turn in turns if turn.startswith("user:")]
    return users[-1] if users else ""


def _before_stop(text: str, config: GenerationConfig) -> str:
    """The text up to the first stop string."""
    ends = [at for at in (text.find(stop) for stop in config.stop) if at >= 0]
    return text[: min(ends, default=len(text))]
