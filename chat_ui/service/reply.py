"""A Reply: one answer while it is written. It belongs to the server, not to the page that asked.

    engine's thread --take(Delta, ...)--> Reply <--snapshot()-- any number of followers
                                            ^---- stop() ------ any page of its owner

It does no I/O: the service stores it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

from chat_ui.chat.messages import MessageState, Numbers
from chat_ui.chat.reasoning import ThoughtWatch
from chat_ui.engine.protocol import Cancel, Delta, Event, Failed, Started
from chat_ui.errors import as_shown
from chat_ui.service.waiting import Place

Phase = Literal[
    "waiting",  # for its turn: others come first, see `place`
    "queued",  # waits for the engine
    "loading",  # waits for the model
    "reading",  # the model reads the prompt
    "thinking",  # a thought grows
    "writing",
    "done",
]


# Tokens that came in a burst say nothing about the pace.
MIN_RATE_S: Final = 0.03


@dataclass(frozen=True, slots=True)
class ReplySnapshot:
    """A Reply at one moment.

    Attributes:
        revision: grows with every change.
        phase: what it is doing.
        text: what was written so far, what it was given to begin with included.
        state: the message's state; "writing" until `phase` is "done".
        error: what went wrong, as a person reads it, or None.
        numbers: what is known so far.
        place: among those who wait for their turn, while the phase is "waiting".
    """

    revision: int
    phase: Phase
    text: str
    state: MessageState
    error: str | None
    numbers: Numbers
    place: Place | None = None


class Reply:
    """One growing answer.

    Args:
        conversation_id: whose conversation's.
        message_id: the answer's message.
        numbers: what is known at the start.
        sent_at: when it was asked for, monotonic clock in seconds.
        begins_with: the text that was given to it; it is in no number.
        earlier: of the answer that it goes on with; its numbers are then those of the whole.
        at_end: called once, just before others can see that it has ended; must not block.

    Attributes:
        ended: set when it will not grow any more.
        stored: set when it is stored as it ended.
    """

    def __init__(
        self,
        conversation_id: str,
        message_id: str,
        numbers: Numbers,
        sent_at: float,
        begins_with: str = "",
        earlier: Numbers | None = None,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.conversation_id = conversation_id
        self.message_id = message_id
        self.ended = threading.Event()
        self.stored = threading.Event()
        self._lock = threading.Lock()
        self._sent_at = sent_at
        self._at_end = at_end
        self._started_at: float | None = None
        self._first_at: float | None = None
        self._first_count = 0
        self._count = 0
        self._opening = ""
        self._thought = ThoughtWatch()
        self._cancel: Cancel | None = None
        self._end_state: MessageState | None = None
        self._limit_s: int | None = None
        self._followers = 0
        self._left_at = time.monotonic()
        self._own = numbers
        self._earlier = earlier or Numbers()
        self._now = ReplySnapshot(0, "queued", begins_with, "writing", None, numbers)

    @property
    def revision(self) -> int:
        """Grows with every change; cheap to ask."""
        return self._now.revision

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._end_state is not None

    def snapshot(self) -> ReplySnapshot:
        """What it is now; a value that does not change any more."""
        return self._now

    def stop(self, state: MessageState = "stopped") -> None:
        """Ask it to end, in this state; what was written stays. Any thread, any number of times."""
        with self._lock:
            self._end_state = self._end_state or state
            cancel = self._cancel
        if cancel is not None:
            cancel()

    def stop_at_limit(self, limit_s: int) -> None:
        """Ask it to end, as it was written for as long as it may be; its numbers then say so."""
        self._limit_s = limit_s
        self.stop("length")

    def waits(self, place: Place | None) -> None:
        """It waits for its turn, and this is its place; None changes nothing."""
        with self._lock:
            if place not in (None, self._now.place) and not self.ended.is_set():
                self._change(phase="waiting", place=place)

    def began(self, cancel: Cancel) -> None:
        """The waiting room or the engine has taken it; `cancel` ends it there."""
        with self._lock:
            self._cancel = cancel
            is_stopping = self._end_state is not None
        if is_stopping:
            cancel()

    def enter(self, phase: Phase, **numbers: object) -> None:
        """Go on to a phase before writing, with what became known on the way."""
        with self._lock:
            if not self.ended.is_set():
                self._change(phase=phase, place=None)
        self._learn(**numbers)

    def opens_with(self, opening: str) -> None:
        """The prompt ends in what opens a thought: the text begins with it.

        So the text says by itself what of it is a thought, whatever model is asked next.
        """
        self._opening = opening

    def take(self, event: Event) -> None:
        """The engine's sink: called on its thread, never blocks."""
        if isinstance(event, Delta):
            self._grow(event)
        elif isinstance(event, Started):
            self._started_at = time.monotonic()
            self.enter("reading", reused_tokens=event.reused_tokens)
        elif isinstance(event, Failed):
            self.fail(event.error)
        else:
            self._learn(
                drafted_tokens=event.drafted_tokens,
                accepted_tokens=event.accepted_tokens,
                assisted_speedup=event.assisted_speedup,
            )
            states: dict[str, MessageState] = {"stop": "complete", "length": "length"}
            self._end(states.get(event.reason, "stopped"))

    def fail(self, error: BaseException) -> None:
        """End it with an error; what was written stays."""
        self._end("failed", as_shown(error))

    def warn(self, sentence: str) -> None:
        """Show a sentence that does not end it, such as that it could not be stored."""
        with self._lock:
            self._change(error=sentence)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """While a page follows it, it is no orphan."""
        with self._lock:
            self._followers += 1
        try:
            yield
        finally:
            with self._lock:
                self._followers -= 1
                self._left_at = time.monotonic()

    def orphaned_s(self) -> float:
        """Seconds since the last page stopped following; 0 while one does."""
        with self._lock:
            return 0.0 if self._followers else time.monotonic() - self._left_at

    def written_s(self) -> float:
        """Seconds since the engine began with it; 0 before that."""
        return 0.0 if self._started_at is None else time.monotonic() - self._started_at

    def _learn(self, **numbers: object) -> None:
        with self._lock:
            if not self.ended.is_set() and numbers:
                self._change(numbers=self._known(numbers))

    def _grow(self, delta: Delta) -> None:
        with self._lock:
            if self.ended.is_set():
                return
            now = time.monotonic()
            self._count += delta.tokens
            known: dict[str, object] = {"completion_tokens": self._count}
            if self._first_at is None and delta.tokens:
                self._first_at, self._first_count = now, self._count
                known["first_token_s"] = now - self._sent_at
            elif self._first_at is not None and now - self._first_at >= MIN_RATE_S:
                # Decoding alone: the tokens after the first, over the time since the first.
                rate = (self._count - self._first_count) / (now - self._first_at)
                known["decode_tokens_per_s"] = rate
            text = self._opened(self._now.text) + delta.text
            was_thinking = self._thought.is_thinking
            self._thought.grow(text, delta.text)
            is_thinking = self._thought.is_thinking
            if self._first_at is not None and (was_thinking or is_thinking):
                known["thought_s"] = now - self._first_at
            self._change(
                phase="thinking" if is_thinking else "writing",
                text=text,
                numbers=self._known(known),
            )

    def _known(self, more: dict[str, object]) -> Numbers:
        self._own = replace(self._own, **more)  # type: ignore[arg-type]
        return self._own.after(self._earlier)

    def _opened(self, text: str) -> str:
        opening, self._opening = self._opening, ""
        # What is there already was given to it, and may have the mark itself.
        return text if text.startswith(opening.rstrip()) else opening + text

    def _end(self, state: MessageState, error: str | None = None) -> None:
        with self._lock:
            if self.ended.is_set():
                return
            # A cancel and an unload come from our own stop(): the reason for it is what counts.
            if self._end_state is not None and state in ("stopped", "failed"):
                state, error = self._end_state, None
                if state == "length":
                    self._change(numbers=self._known({"time_limit_s": self._limit_s}))
            self._change(phase="done", state=state, error=error, place=None)
            self._at_end()
            self.ended.set()

    def _change(self, **changes: object) -> None:
        revision = self._now.revision + 1
        self._now = replace(self._now, revision=revision, **changes)  # type: ignore[arg-type]
