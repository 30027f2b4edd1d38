"""An engine with a tiny model, for the contract tests."""

import gc
import itertools
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import torch

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine import batched, load, single, zerogpu
from chat_ui.engine.batched import BatchedEngine
from chat_ui.engine.loaded import LoadedModel
from chat_ui.engine.protocol import Engine, Request
from chat_ui.engine.single import SingleEngine
from chat_ui.engine.zerogpu import ZeroGPUEngine
from chat_ui.models.memory import DeviceKind
from tests.contract.harness import Reader
from tests.engine import random_models

# The libraries' million objects, which every collection would walk: 0.2 s, four times an engine.
gc.freeze()

ENGINES: Final[dict[str, Callable[[LoadedModel], Engine]]] = {
    "single": SingleEngine,
    "batched": BatchedEngine,
    "zerogpu": ZeroGPUEngine,
}
# Where a model is read to, where that isn't the loader's to choose.
DEVICES: Final[dict[str, DeviceKind]] = {"zerogpu": "cpu"}


@dataclass(frozen=True)
class _Plan:
    """What the sampler chooses for one request, instead of the likeliest token."""

    tokens: Sequence[int]
    pause_s: float = 0.0
    fails_at: int | None = None


class RealHarness:
    """An engine with a tiny model that runs, and a sampler that follows plans instead."""

    def __init__(self, kind: str, folder: Path) -> None:
        plans: dict[int, _Plan] = {}

        class PlannedSampler:
            def __init__(self, config: GenerationConfig, prompt_ids: Sequence[int]) -> None:
                self._plan = plans[config.seed or 0]
                self._number = 0

            def __call__(self, scores: torch.Tensor) -> int:
                assert scores.shape == (random_models.VOCABULARY,)
                assert scores.dtype == torch.float32
                time.sleep(self._plan.pause_s)
                if self._number == self._plan.fails_at:
                    raise RuntimeError("as planned")
                self._number += 1
                return self._plan.tokens[self._number - 1]

        self._patches = [
            mock.patch.object(module, "Sampler", PlannedSampler)
            for module in (batched, single, zerogpu)
        ]
        plans[0] = _Plan([5, 6])  # the batched engine's probe
        for patch in self._patches:
            patch.start()
        spec = random_models.spec(random_models.write(folder / "tiny"))
        loaded = load.load_model(spec, "full", speedup=lambda model: 1.0, device=DEVICES.get(kind))
        self.kind = kind
        self.loaded = loaded
        self._model = weakref.ref(loaded.model)
        self.engine: Engine = ENGINES[kind](loaded)
        self._plans = plans
        self._seeds = itertools.count(1)

    def says(self, text: str, **config: Any) -> Request:
        ids = self._encode(text)
        return self._request(_Plan([*ids, self.loaded.eos_token_ids[0]]), **config)

    def begun(self, given: str, text: str) -> Request:
        ids = self._encode(text)
        return self._request(_Plan([*ids, self.loaded.eos_token_ids[0]]), given)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.loaded.tokenizer.decode(ids, skip_special_tokens=True))

    def tokens(self, text: str) -> int:
        return len(self._encode(text)) + 1

    def endless(self, **config: Any) -> Request:
        # About four seconds, were it not cancelled.
        return self._request(_Plan(self._encode("a") * 2000, pause_s=0.002), **config)

    def fails(self) -> Request:
        return self._request(_Plan(self._encode("aaaa"), fails_at=2))

    def settle(self) -> None:
        reader = Reader()
        self.engine.start(self.says("."), reader)
        reader.wait()

    def close(self) -> None:
        self.engine.close()
        for patch in self._patches:
            patch.stop()
        self._patches = []

    def is_freed(self) -> bool:
        return self._model() is None

    def prompt(self, tokens: int) -> Request:
        """A request with a prompt of this many tokens, answered without end."""
        plan = _Plan(self._encode("a") * 2000)
        return replace(self._request(plan, max_new_tokens=4096), prompt_ids=[7] * tokens)

    def _encode(self, text: str) -> list[int]:
        return list(self.loaded.tokenizer.encode(text))

    def _request(self, plan: _Plan, given: str = "", **config: Any) -> Request:
        seed = next(self._seeds)
        self._plans[seed] = plan
        config = {"max_new_tokens": 1500, **config}
        messages = [PromptMessage("user", f"request {seed}")]
        if given:
            messages.append(PromptMessage("assistant", given))
        prompt = self.engine.encode(messages)
        return Request(prompt, GenerationConfig(seed=seed, **config), is_begun=bool(given))
