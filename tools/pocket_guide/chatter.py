"""Asks the exported model through the app's own engine."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.load import load_engine
from chat_ui.engine.protocol import Delta, Event, Failed, Finished, Request, Started
from chat_ui.models import spec
from chat_ui.models.quantization import Precision

Chat = Sequence[tuple[str, str]]

MAX_NEW_TOKENS = 400
_AT_ONCE = 48


@dataclass(slots=True)
class _Answer:
    """What has come of one answer."""

    text: str = ""
    tokens: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    ended_itself: bool = False
    failure: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Event) -> None:
        match event:
            case Started():
                pass
            case Delta(text, tokens):
                self.last_at = time.perf_counter()
                self.first_at = self.first_at or self.last_at
                self.text += text
                self.tokens += tokens
            case Finished(reason):
                self.ended_itself = reason == "stop"
                self.done.set()
            case Failed(error):
                self.failure = error
                self.done.set()


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one answer is written while nobody else asks, the median of several.

    Attributes:
        first_token_s: Seconds from asking to the first token.
        tokens_per_s: Tokens after the first, divided by the seconds that they took.
    """

    first_token_s: float
    tokens_per_s: float


class Chatter:
    """A loaded model."""

    def __init__(self, folder: Path, precision: Precision = "full") -> None:
        """Loads the model.

        Args:
            folder: Where the exported files are.
            precision: As the app knows it.
        """
        self._engine = load_engine(spec.find(str(folder.resolve())), precision)

    def close(self) -> None:
        """Ends the engine."""
        self._engine.close()

    def answer(self, chats: Sequence[Chat], temperature: float = 0.0) -> list[tuple[str, bool]]:
        """Answers several conversations side by side.

        Args:
            chats: Conversations as pairs of role and content, each with a user's message last.
            temperature: Zero takes the likeliest token each time.

        Returns:
            For each conversation the answer, and whether the model ended it by itself.
        """
        found: list[tuple[str, bool]] = []
        for first in range(0, len(chats), _AT_ONCE):
            answers = [
                self._start(chat, GenerationConfig(temperature, 1.0, seed=first + index,
                                                   max_new_tokens=MAX_NEW_TOKENS))
                for index, chat in enumerate(chats[first : first + _AT_ONCE])
            ]  # fmt: skip
            for answer in answers:
                answer.done.wait()
                if answer.failure:
                    raise answer.failure
                found.append((answer.text, answer.ended_itself))
        return found

    def speed(self, chats: Sequence[Chat]) -> Speed:
        """Measures the speed of greedy answers, one after the other.

        Args:
            chats: What to answer; the first is not measured.

        Returns:
            The medians.
        """
        waits, rates = [], []
        for chat in chats:
            asked = time.perf_counter()
            answer = self._start(chat, GenerationConfig(0.0, max_new_tokens=MAX_NEW_TOKENS, seed=1))
            answer.done.wait()
            if answer.tokens > 1:
                waits.append(answer.first_at - asked)
                rates.append((answer.tokens - 1) / (answer.last_at - answer.first_at))
        return Speed(median(waits[1:]), median(rates[1:]))

    def _start(self, chat: Chat, config: GenerationConfig) -> _Answer:
        messages = [PromptMessage(role, content) for role, content in chat]  # type: ignore[arg-type]
        answer = _Answer()
        self._engine.start(Request(self._engine.encode(messages), config), answer)
        return answer
