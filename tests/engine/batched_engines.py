"""Batched engines with tiny models, and looks into their caches, for tests."""

import gc
import itertools
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chat_ui.chat.generation import GenerationConfig
from chat_ui.engine.batched import BatchedEngine
from chat_ui.engine.load import load_model
from chat_ui.engine.loaded import LoadedModel
from chat_ui.engine.protocol import Cancel, Request, Started
from tests.contract.harness import DEADLINE_S, Reader
from tests.engine import random_models

# The libraries' million objects, which every collection would walk: 0.2 s for each dead loop.
gc.freeze()

T = TypeVar("T")
Make = Callable[..., BatchedEngine]


def load(folder: Path, variant: str = "llama", **config: Any) -> LoadedModel:
    random_models.write(folder, variant, **config)
    return load_model(random_models.spec(folder), "full", speedup=lambda model: 1.0)


@contextmanager
def engines(folder: Path) -> Iterator[Make]:
    """Makes engines whose answers never end by themselves, and closes them."""
    made: list[BatchedEngine] = []
    numbers = itertools.count()

    def make(variant: str = "llama", **config: Any) -> BatchedEngine:
        loaded = load(folder / str(next(numbers)), variant, **config)
        loaded.eos_token_ids = ()
        made.append(BatchedEngine(loaded))
        return made[-1]

    try:
        yield make
    finally:
        for engine in made:
            engine.close()


def prompt_of(tokens: int, seed: int = 1) -> list[int]:
    """A prompt that is this long, and another for each seed."""
    return [3 + (seed * 7 + number) % (random_models.VOCABULARY - 3) for number in range(tokens)]


def begin(
    engine: BatchedEngine,
    prompt: int | Sequence[int] = 20,
    tokens: int = 20,
    seed: int = 1,
    owner: str = "",
) -> tuple[Reader, Cancel]:
    """Start a greedy answer."""
    config = GenerationConfig(temperature=0.0, max_new_tokens=tokens, seed=seed)
    ids = prompt_of(prompt, seed) if isinstance(prompt, int) else prompt
    reader = Reader()
    return reader, engine.start(Request(ids, config, owner), reader)


def reused(reader: Reader) -> int:
    """How many tokens of its prompt the cache held; said once, and first."""
    (started,) = [event for event in reader.events if isinstance(event, Started)]
    assert reader.events[0] is started
    return started.reused_tokens


def on_thread(engine: BatchedEngine, look: Callable[[], T]) -> T:
    """What `look` returns on the engine's thread, between two steps."""
    answers: queue.SimpleQueue[T] = queue.SimpleQueue()
    engine._inbox.put(lambda: answers.put(look()))
    return answers.get(timeout=DEADLINE_S)


@dataclass(frozen=True)
class Blocks:
    """Pages of the cache.

    Attributes:
        free: holding nothing.
        kept: of requests that have ended.
        used: by requests that are open; counted in their tables, so a shared one twice.
    """

    free: int
    kept: int
    used: int


def blocks(engine: BatchedEngine) -> Blocks:
    """How the cache is used, between two steps; of a model with one kind of attention."""
    return on_thread(engine, lambda: count(engine))


def count(engine: BatchedEngine) -> Blocks:
    """See `blocks`; on the engine's thread."""
    assert engine._loop is not None
    assert engine._loop.batch_processor is not None
    cache = engine._loop.batch_processor.cache
    (allocator,) = cache.cache_allocators.values()
    sectors = cache.pool.num_free_sectors * allocator.blocks_per_sector
    return Blocks(
        free=sectors + cache.pool.count_free_blocks(allocator.index),
        kept=len(allocator.ledger.cached_blocks),
        used=sum(len(table) for table in allocator.block_table.values()),
    )
