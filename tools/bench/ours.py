"""A contender: this app, through ChatService, and the same engine driven directly.

    python -m tools.bench.ours    # serves commands, see child.py

Each conversation has an owner of its own, for the limits are each owner's. Nothing here calls torch
on the main thread: the engine's thread is the only living one that does.
"""

import importlib
import json
import os
import queue
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.load import load_engine
from chat_ui.engine.protocol import Delta, Engine, Event, Failed, Request, Started
from chat_ui.models import quantization
from chat_ui.models.progress import Progress, ignore
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec
from chat_ui.service import ChatService, Reply, ReplyOptions
from chat_ui.settings import Settings
from tools.bench import child, resident

_LOAD_S: Final = 280.0
_ANSWER_S: Final = 280.0
_POLL_S: Final = 0.002
# Stop is pressed after this many tokens.
_BEFORE_STOP_TOKENS: Final = 8


class Ours:
    """The service and what is asked of it."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._service: ChatService | None = None
        self._owners = 0
        self._long: tuple[str, str] = ("", "")  # owner and id of the long conversation
        self._imported_bytes = 0

    def load(self, folder: str, precision: str) -> child.Json:
        """Load a checkpoint; returns what is true of the engine, and `load_s`.

        Raises:
            RuntimeError: it could not be loaded.
        """
        # The library imports an architecture when it is first needed; its code is no weights.
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
        importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")
        self._imported_bytes = resident.now_bytes()
        started = time.perf_counter()
        settings = Settings(
            # Beside the checkpoint, so that it goes with it even if this process is killed.
            data_dir=Path(folder) / f"data-{os.getpid()}",
            model=folder,
            precision=quantization.precision(precision),
        )
        self._service = ChatService(settings, self._load)
        self._service.start()
        ends_at = time.monotonic() + _LOAD_S
        while self._service.model.phase not in ("ready", "failed"):
            if time.monotonic() > ends_at:
                raise RuntimeError("the model was not loaded in time")
            time.sleep(0.05)
        if self._engine is None or self._service.model.error:
            raise RuntimeError(self._service.model.error or "no model is loaded")
        facts = asdict(self._engine.facts)
        del facts["spec"]
        return {**facts, "load_s": time.perf_counter() - started}

    def _load(
        self,
        spec: ModelSpec,
        precision: Precision,
        *,
        draft: ModelSpec | None = None,
        progress: Progress = ignore,
        anyway: bool = False,
    ) -> Engine:
        self._engine = load_engine(spec, precision, progress=progress)
        return self._engine

    # ---- through the service ----

    def answer(self, text: str, tokens: int) -> child.Json:
        """Answer one message in a new conversation, timed by a clock outside.

        Returns:
            As `child.rate`, and as `own_...` what the reply itself says.
        """
        return self._timed(lambda owner: self._reply(owner, None, text, tokens), tokens)

    def answers(self, texts: list[str], tokens: int) -> child.Json:
        """Answer messages at once; the seconds until the last is there, and the tokens of all."""
        started = time.perf_counter()
        replies = [self._reply(self._owner(), None, text, tokens) for text in texts]
        counts = [_ended(reply)["tokens"] for reply in replies]
        return {"seconds": time.perf_counter() - started, "tokens": sum(counts)}

    def stop(self, text: str) -> child.Json:
        """Press Stop in the middle of an answer.

        Returns:
            `tokens`: that came after `stop` had returned.
        """
        reply = self._reply(self._owner(), None, text, 400)
        while (reply.snapshot().numbers.completion_tokens or 0) < _BEFORE_STOP_TOKENS:
            if reply.ended.wait(_POLL_S):
                raise RuntimeError("the answer ended before it was stopped")
        reply.stop()
        before = reply.snapshot().numbers.completion_tokens or 0
        _wait(reply)
        return {"tokens": (reply.snapshot().numbers.completion_tokens or 0) - before}

    def talk(self, texts: list[str], tokens: int, system: str) -> child.Json:
        """Have a long conversation, turn by turn, and keep it; the newest prompt's tokens."""
        owner, conversation_id = self._owner(), None
        for text in texts:
            reply = self._reply(owner, conversation_id, text, tokens, system)
            conversation_id = reply.conversation_id
            numbers = _ended(reply)
        self._long = owner, conversation_id or ""
        return {"prompt_tokens": numbers["prompt_tokens"]}

    def next_turn(self, text: str, tokens: int, system: str, other_system: str) -> child.Json:
        """One more turn of the long conversation, and the same prompt cold.

        The prompt is cold with another system prompt of the same length: nothing of it was read
        before. A third answer, with the first system prompt again, is what the next turn follows.

        Returns:
            `warm` and `cold`, each as `answer` returns it.
        """
        owner, conversation_id = self._long

        def again(options: ReplyOptions) -> Reply:
            return self._backend.regenerate(owner, conversation_id, options)

        warm = self._timed(
            lambda _: self._reply(owner, conversation_id, text, tokens, system), tokens
        )
        cold = self._timed(lambda _: again(_options(tokens, other_system)), tokens)
        _ended(again(_options(tokens, system)))
        return {"warm": warm, "cold": cold}

    # ---- the engine alone ----

    def direct(self, text: str, tokens: int) -> child.Json:
        """Answer one message with the service's engine, past the service; see `child.rate`."""
        assert self._engine is not None
        prompt = self._engine.encode([PromptMessage("user", text)])
        events: queue.SimpleQueue[tuple[float, Event]] = queue.SimpleQueue()
        config = GenerationConfig(temperature=0.0, max_new_tokens=tokens, seed=0)
        started = time.perf_counter()
        self._engine.start(
            Request(prompt, config), lambda event: events.put((time.perf_counter(), event))
        )
        arrivals: list[float] = []
        while True:
            at, event = events.get(timeout=_ANSWER_S)
            if isinstance(event, Delta):
                arrivals += [at] * event.tokens
            elif isinstance(event, Failed):
                raise event.error
            elif not isinstance(event, Started):
                return child.rate(started, arrivals, tokens)

    # ---- memory ----

    def memory(self, texts: list[str], tokens: int) -> child.Json:
        """The most memory that conversations at once take, apart from weights and cache.

        Args:
            texts: of the conversations.
            tokens: of each answer.

        Returns:
            Bytes: `peak`, and of it `imported` (resident before anything was loaded), `weights`,
            `cache` and `above`: what is left.
        """
        assert self._engine is not None
        with resident.Peak() as peak:
            self.answers(texts, tokens)
        weights = self._engine.facts.weight_bytes
        cache = resident.cache_bytes()
        return {
            "peak": peak.bytes,
            "imported": self._imported_bytes,
            "weights": weights,
            "cache": cache,
            "above": peak.bytes - self._imported_bytes - weights - cache,
        }

    def unload(self) -> child.Json:
        """End the service, as the server's end does.

        Returns:
            Bytes: `imported`, `loaded` and `unloaded`, each what was resident then.
        """
        loaded = resident.now_bytes()
        self._engine = None
        self._backend.close(deadline_s=60.0)
        return {
            "imported": self._imported_bytes,
            "loaded": loaded,
            "unloaded": resident.now_bytes(),
        }

    # ---- parts ----

    @property
    def _backend(self) -> ChatService:
        assert self._service is not None
        return self._service

    def _owner(self) -> str:
        self._owners += 1
        return f"bench-{self._owners}"

    def _reply(
        self, owner: str, conversation_id: str | None, text: str, tokens: int, system: str = ""
    ) -> Reply:
        return self._backend.reply(owner, conversation_id, text, _options(tokens, system))

    def _timed(self, begin: Callable[[str], Reply], tokens: int) -> child.Json:
        owner = self._owner()
        started = time.perf_counter()
        reply = begin(owner)
        while not reply.snapshot().numbers.completion_tokens:
            if reply.ended.wait(_POLL_S):
                break
        first_at, first_tokens = time.perf_counter(), reply.snapshot().numbers.completion_tokens
        numbers = _ended(reply)
        seconds = time.perf_counter() - first_at
        if numbers["tokens"] != tokens:
            raise RuntimeError(f"{numbers['tokens']} tokens came, not {tokens}")
        after = tokens - (first_tokens or 0)
        return {
            "first_s": first_at - started,
            "decode_tokens_per_s": after / seconds if after > 0 else None,
            **numbers,
        }


def _options(tokens: int, system: str) -> ReplyOptions:
    return ReplyOptions(system, GenerationConfig(temperature=0.0, max_new_tokens=tokens, seed=0))


def _wait(reply: Reply) -> None:
    if not reply.ended.wait(_ANSWER_S):
        reply.stop()
        raise RuntimeError("the answer did not end in time")


def _ended(reply: Reply) -> child.Json:
    """What a reply says of itself once it has ended."""
    _wait(reply)
    now = reply.snapshot()
    if now.state == "failed":
        raise RuntimeError(now.error)
    return {
        "own_first_s": now.numbers.first_token_s,
        "own_decode_tokens_per_s": now.numbers.decode_tokens_per_s,
        "prompt_tokens": now.numbers.prompt_tokens,
        "reused_tokens": now.numbers.reused_tokens,
        "tokens": now.numbers.completion_tokens,
    }


if __name__ == "__main__":
    ours = Ours()
    child.run(
        {
            name: getattr(ours, name)
            for name in (
                *("load", "answer", "answers", "stop", "talk", "next_turn"),
                *("direct", "memory", "unload"),
            )
        }
    )
