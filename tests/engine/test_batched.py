"""What only the batched engine can get wrong: refusals, a loop that dies, a cache that is full."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.generation.continuous_batching import FIFOScheduler, PagedAttentionCache
from transformers.generation.continuous_batching.offloading_manager import OffloadingManager

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine import paged
from chat_ui.engine.batched import BatchedEngine, NotBatchable
from chat_ui.engine.load import load_engine, load_model
from chat_ui.engine.loaded import LoadedModel, run_on_own_thread
from chat_ui.engine.protocol import Cancel, Failed, Finished, Request
from tests.contract.harness import Reader
from tests.engine import random_models

pytestmark = pytest.mark.torch

Make = Callable[[], BatchedEngine]


def load(folder: Path, variant: str = "llama", **config: Any) -> LoadedModel:
    random_models.write(folder, variant, **config)
    return load_model(random_models.spec(folder), "full", speedup=lambda model: 1.0)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes an engine with a tiny model, whose answers never end by themselves."""
    engines: list[BatchedEngine] = []

    def make() -> BatchedEngine:
        loaded = load(tmp_path / "model")
        loaded.eos_token_ids = ()
        engines.append(BatchedEngine(loaded))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def begin(
    engine: BatchedEngine, prompt: int = 20, tokens: int = 20, seed: int = 1
) -> tuple[Reader, Cancel]:
    """Start a greedy answer to a prompt of this many tokens, which `seed` makes different."""
    config = GenerationConfig(temperature=0.0, max_new_tokens=tokens, seed=seed)
    ids = [3 + (seed * 7 + number) % (random_models.VOCABULARY - 3) for number in range(prompt)]
    reader = Reader()
    return reader, engine.start(Request(ids, config), reader)


# Refusals.


@pytest.mark.parametrize("variant", ["lfm2", "mamba2"])
def test_an_architecture_that_is_refused_runs_in_the_other_engine(
    tmp_path: Path, variant: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load(tmp_path / variant, variant)
    attention = loaded.model.config._attn_implementation
    with pytest.raises(NotBatchable, match="layer type"):
        BatchedEngine(loaded)
    assert loaded.model.config._attn_implementation == attention
    assert "batched-engine" not in {thread.name for thread in threading.enumerate()}
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    engine = load_engine(random_models.spec(tmp_path / variant), "full", speedup=lambda model: 1.0)
    try:
        assert engine.facts.kind == "single"
        reader = Reader()
        ids = engine.encode([PromptMessage("user", "Hello")])
        engine.start(Request(ids, GenerationConfig(seed=1, max_new_tokens=3)), reader)
        assert isinstance(reader.wait(), Finished)
    finally:
        engine.close()


def test_a_config_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(tmp_path / "model")
    monkeypatch.setattr(paged, "cache_size", raising(AttributeError("no attribute 'num_heads'")))
    with pytest.raises(NotBatchable, match="num_heads"):
        BatchedEngine(loaded)


# A loop that dies.


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("a kernel broke in /secret/place"), "The model failed while it answered."),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory is full"),
    ],
)
def test_a_loop_that_dies_fails_everyone_and_the_next_request_works(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    engine = make()
    model = engine._loaded.model
    for _ in range(3):  # not only once
        open_answers = [begin(engine, tokens=1500, seed=seed)[0] for seed in range(3)]
        open_answers[0].wait_for_tokens(2)
        with monkeypatch.context() as patch:
            patch.setattr(model, "forward", raising(error))
            for reader in open_answers:
                end = reader.wait()
                assert isinstance(end, Failed)
                assert sentence in str(end.error)
                assert "secret" not in str(end.error)
        reader, _ = begin(engine)
        assert reader.wait() == Finished("length")
        assert reader.tokens == 20


def test_a_loop_that_cannot_be_built_fails_the_request_and_no_other(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    with monkeypatch.context() as patch:
        patch.setattr(engine._loaded.model, "forward", raising(RuntimeError("dead")))
        patch.setattr(PagedAttentionCache, "__init__", raising(MemoryError("no room")))
        for seed in range(3):
            assert isinstance(begin(engine, seed=seed)[0].wait(), Failed)
    assert begin(engine)[0].wait() == Finished("length")


def test_requests_that_are_never_worked_on_fail(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    monkeypatch.setattr(paged, "STALLED_STEPS", 2)
    with monkeypatch.context() as patch:
        patch.setattr(FIFOScheduler, "schedule_batch", lambda *_: ([], False, 0, 0))
        assert isinstance(begin(engine)[0].wait(), Failed)
    assert begin(engine)[0].wait() == Finished("length")


def raising(error: Exception) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


# A cache that is full.


class Tight:
    """An engine whose cache holds little more than one window.

    Attributes:
        sent_back: how often an answer lost its place in the cache.
        then: called the first time, on the engine's thread.
    """

    def __init__(self, engine: BatchedEngine) -> None:
        self.engine = engine
        self.sent_back = 0
        self.then: Callable[[], None] = lambda: None


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch, make: Make) -> Tight:
    small = paged.CacheSize(window_tokens=256, cache_tokens=320, part_tokens=64)
    monkeypatch.setattr(paged, "cache_size", lambda *_: small)
    tight = Tight(make())
    offload = OffloadingManager.offload_requests

    def spy(self: OffloadingManager) -> bool:
        if len(self.scheduler.starved_requests) > 0:
            tight.sent_back += 1
            tight.then()
            tight.then = lambda: None
        return bool(offload(self))

    monkeypatch.setattr(OffloadingManager, "offload_requests", spy)
    return tight


def test_a_full_cache_makes_answers_wait_and_changes_none(tight: Tight) -> None:
    readers = [begin(tight.engine, prompt=40, tokens=120, seed=seed)[0] for seed in range(4)]
    assert [reader.wait() for reader in readers] == [Finished("length")] * 4
    assert [reader.tokens for reader in readers] == [120] * 4
    assert tight.sent_back
    for seed, reader in enumerate(readers):
        alone, _ = begin(tight.engine, prompt=40, tokens=120, seed=seed)
        alone.wait()
        assert alone.text == reader.text


@pytest.mark.parametrize("cancelled", [(0,), (0, 1)], ids=str)
def test_a_cancel_lets_those_in_who_were_sent_back(tight: Tight, cancelled: tuple[int]) -> None:
    """The library waits for one to finish by itself."""
    answers = [begin(tight.engine, prompt=40, tokens=200, seed=seed) for seed in range(2)]
    last, _ = begin(tight.engine, prompt=40, tokens=200, seed=2)

    def cancel() -> None:
        for number in cancelled:
            answers[number][1]()

    tight.then = cancel
    assert last.wait() == Finished("length")
    assert last.tokens == 200
    assert tight.sent_back
    if cancelled == (0,):
        other = answers[1][0]
        assert other.wait() == Finished("length")
        resumed = [at for at in last.times if answers[0][0].times[-1] < at < other.times[-1]]
        assert resumed


def test_more_requests_than_rows_wait_for_their_turn(make: Make) -> None:
    engine = make()
    readers = [begin(engine, tokens=3, seed=seed)[0] for seed in range(paged.MAX_ROWS + 9)]
    last, cancel = begin(engine, tokens=1500, seed=99)
    cancel()
    assert last.wait() == Finished("cancelled")
    assert {reader.wait() for reader in readers} == {Finished("length")}


def test_an_answer_may_fill_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sliding window, too, whose cache is cut up differently."""
    small = paged.CacheSize(window_tokens=512, cache_tokens=512, part_tokens=64)
    monkeypatch.setattr(paged, "cache_size", lambda *_: small)
    for variant in ("llama", "mistral"):
        loaded = load(tmp_path / variant, variant)
        loaded.eos_token_ids = ()
        engine = BatchedEngine(loaded)
        try:
            reader, _ = begin(engine, prompt=500, tokens=4096)
            assert reader.wait() == Finished("length")
            assert reader.tokens == 12
        finally:
            engine.close()


def test_an_idle_engine_does_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    assert begin(engine)[0].wait() == Finished("length")
    steps = threading.Event()

    def looked(_: FIFOScheduler) -> bool:
        steps.set()
        return False

    monkeypatch.setattr(FIFOScheduler, "has_pending_requests", looked)
    # The library's own loop would have looked three times.
    assert not steps.wait(0.35)


def test_another_use_of_the_model_is_refused_aloud(make: Make) -> None:
    """Its attention takes the loop's batches only, and would be wrong without a word."""
    model = make()._loaded.model
    with pytest.raises(RuntimeError, match="batching engine"):
        run_on_own_thread(lambda: model(torch.tensor([[5, 6]])))


# Sizes.


@pytest.mark.parametrize(
    ("free_bytes", "window", "cache"),
    [
        (10**12, 2048, 8192),  # four windows
        (4 * 1024 * 6000, 2048, 5984),  # a quarter of what is free, in whole pages
        (4 * 1024 * 1000, 992, 992),  # less than a window
        (0, 256, 256),
    ],
)
def test_the_cache_has_a_quarter_of_the_free_memory(
    tmp_path: Path, free_bytes: int, window: int, cache: int
) -> None:
    loaded = load(tmp_path / "model", head_dim=32)  # 2 layers of 2 heads of 32: 1,024 bytes a token
    size = paged.cache_size(loaded.model, loaded.facts.window_tokens, free_bytes)
    assert (size.window_tokens, size.cache_tokens) == (window, cache)


def test_a_small_window_leaves_room_to_read_prompts(tmp_path: Path) -> None:
    loaded = load(tmp_path / "model")
    size = paged.cache_size(loaded.model, 128, 10**12)
    assert size.window_tokens == 128
    assert size.part_tokens <= 0.15 * size.cache_tokens


def test_the_model_is_used_on_one_thread_only(make: Make) -> None:
    engine = make()
    threads: set[str] = set()
    hook = engine._loaded.model.register_forward_pre_hook(
        lambda *_: threads.add(threading.current_thread().name)
    )
    for seed in range(3):
        assert begin(engine, seed=seed)[0].wait() == Finished("length")
    run_on_own_thread(hook.remove)
    assert threads == {"batched-engine"}
