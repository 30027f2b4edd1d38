"""What the server did since it started, in numbers: no messages, and nobody's name.

It is for the owner: the page of metrics, and one line of the log for each answer and each refusal.
"""

import json
import logging
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

from chat_ui.chat.messages import MessageState, Numbers
from chat_ui.errors import ChatUIError

# Its lines are JSON; whoever starts the server decides whether they are printed.
log = logging.getLogger("chat_ui.events")


def _none() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Figures:
    """The tally at one moment, which what happens later does not change.

    Attributes:
        answers: how many ended, by state.
        errors: how many of them failed, by the error's class.
        refusals: messages and other events that were refused, by the error's class.
        prompt_tokens: of all prompts, those from a cache included.
        generated_tokens: of all answers.
        first_token_s: seconds from sending to the first token, their sum.
        first_tokens: over how many answers.
        decode_tokens_per_s: tokens per second of decoding, their sum.
        decodes: over how many answers.
        running: answers that a model is writing now.
        waiting: answers that wait for a model or for their turn.
    """

    answers: Mapping[str, int] = field(default_factory=_none)
    errors: Mapping[str, int] = field(default_factory=_none)
    refusals: Mapping[str, int] = field(default_factory=_none)
    prompt_tokens: int = 0
    generated_tokens: int = 0
    first_token_s: float = 0.0
    first_tokens: int = 0
    decode_tokens_per_s: float = 0.0
    decodes: int = 0
    running: int = 0
    waiting: int = 0


class Tally:
    """Counts; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Figures()

    def figures(self, running: int, waiting: int) -> Figures:
        """The figures now, with what is under way."""
        with self._lock:
            return replace(self._now, running=running, waiting=waiting)

    def answered(
        self, state: MessageState, numbers: Numbers, error_kind: str, seconds: float
    ) -> None:
        """An answer has ended.

        Args:
            state: how.
            numbers: of what was written now, without an answer that it went on with.
            error_kind: the error's class; "" without one.
            seconds: from sending to the end.
        """
        with self._lock:
            now = self._now
            errors = _with(now.errors, error_kind or "unknown") if state == "failed" else now.errors
            first, rate = numbers.first_token_s, numbers.decode_tokens_per_s
            self._now = replace(
                now,
                answers=_with(now.answers, state),
                errors=errors,
                prompt_tokens=now.prompt_tokens + (numbers.prompt_tokens or 0),
                generated_tokens=now.generated_tokens + (numbers.completion_tokens or 0),
                first_token_s=now.first_token_s + (first or 0.0),
                first_tokens=now.first_tokens + (first is not None),
                decode_tokens_per_s=now.decode_tokens_per_s + (rate or 0.0),
                decodes=now.decodes + (rate is not None),
            )
        _tell(
            "answer",
            state=state,
            error=error_kind if state == "failed" else None,
            model=numbers.model_id,
            precision=numbers.precision,
            prompt_tokens=numbers.prompt_tokens,
            generated_tokens=numbers.completion_tokens,
            first_token_s=_rounded(numbers.first_token_s),
            decode_tokens_per_s=_rounded(numbers.decode_tokens_per_s),
            seconds=_rounded(seconds),
        )

    def refused(self, error: BaseException) -> None:
        """Something was refused, or a defect came in between."""
        kind = type(error).__name__ if isinstance(error, ChatUIError) else "defect"
        with self._lock:
            self._now = replace(self._now, refusals=_with(self._now.refusals, kind))
        _tell("refusal", error=kind)


def _with(counted: Mapping[str, int], key: str) -> Mapping[str, int]:
    """The same with one more of this."""
    return MappingProxyType({**counted, key: counted.get(key, 0) + 1})


def _tell(event: str, **more: object) -> None:
    # The id is of this line alone: two lines of one visitor have nothing in common.
    said = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
    log.info(json.dumps(said | {"id": secrets.token_hex(6)} | more))


def log_to_stderr() -> None:
    """Print a line for each answer that has ended and each refusal: JSON, without content."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
