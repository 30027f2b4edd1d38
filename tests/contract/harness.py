"""Steers an engine for the contract tests: what it says, when it fails, and what is heard of it."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pytest

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.fake import FakeEngine, Script
from chat_ui.engine.protocol import Delta, Engine, Event, Failed, Finished, Request
from chat_ui.models.spec import ModelSpec

# Nothing here takes a second; a machine that does other work may take many.
DEADLINE_S = 30.0


class Reader:
    """A sink that remembers what it was told, when, and on which threads."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []
        self.threads: set[int | None] = set()
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self.times.append(time.monotonic())
            self.threads.add(threading.current_thread().ident)
            self._changed.notify_all()

    def wait_for_tokens(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.tokens >= count, DEADLINE_S), self.events

    def wait(self) -> Finished | Failed:
        """The last event."""
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.ends), DEADLINE_S), self.events
        return self.ends[0]

    @property
    def ends(self) -> list[Finished | Failed]:
        return [event for event in self.events if isinstance(event, Finished | Failed)]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))

    @property
    def tokens(self) -> int:
        return sum(event.tokens for event in self.events if isinstance(event, Delta))


class Harness(Protocol):
    """One engine, and requests that make it do what a test wants."""

    kind: str
    engine: Engine

    def says(self, text: str, **config: Any) -> Request:
        """A request that is answered with exactly this text."""
        ...

    def begun(self, given: str, text: str) -> Request:
        """A request whose answer was begun, and goes on with exactly this text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """What ids read as, without special tokens."""
        ...

    def tokens(self, text: str) -> int:
        """How many tokens an answer of this text has, with one for its end where there is one."""
        ...

    def endless(self, **config: Any) -> Request:
        """A request that is answered with many tokens, some milliseconds apart."""
        ...

    def fails(self) -> Request:
        """A request that fails after two tokens."""
        ...

    def prompt(self, tokens: int) -> Request:
        """A request with a prompt of this many tokens, answered without end."""
        ...

    def settle(self) -> None:
        """Wait until nothing of the requests so far is going on."""
        ...

    def close(self) -> None:
        """Close the engine, and whatever else was opened."""
        ...

    def is_freed(self) -> bool:
        """Whether the model's memory is free; asked after `engine.close()`."""
        ...


class FakeHarness:
    """The fake engine, with a script for each request."""

    def __init__(self) -> None:
        self.kind = "fake"
        self._scripts: dict[str, Script] = {}
        self.engine: Engine = FakeEngine(
            ModelSpec("fake", "Fake", "built-in"), answer=self._scripts.__getitem__
        )
        self._numbers: Iterator[int] = itertools.count()

    def says(self, text: str, **config: Any) -> Request:
        return self._request(Script(text), **config)

    def begun(self, given: str, text: str) -> Request:
        return self._request(Script(text), given)

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode()

    def tokens(self, text: str) -> int:
        reader = Reader()
        self.engine.start(self.says(text), reader)
        reader.wait()
        return reader.tokens

    def endless(self, **config: Any) -> Request:
        return self._request(Script("a " * 2000, tokens_per_s=500), **config)

    def fails(self) -> Request:
        return self._request(Script("a a a a", fails_at=2))

    def prompt(self, tokens: int) -> Request:
        pytest.skip("the fake has no window to fill")

    def settle(self) -> None:
        pass  # every request has a thread of its own

    def close(self) -> None:
        self.engine.close()

    def is_freed(self) -> bool:
        return True

    def _request(self, script: Script, given: str = "", **config: Any) -> Request:
        name = f"request {next(self._numbers)}"
        self._scripts[name] = script
        config = {"max_new_tokens": 1500, **config}
        messages = [PromptMessage("user", name)]
        if given:
            messages.append(PromptMessage("assistant", given))
        return Request(
            self.engine.encode(messages), GenerationConfig(**config), is_begun=bool(given)
        )
