"""What only the batched engine does: refusals, whose turn it is, and what its cache keeps."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.generation.continuous_batching import FIFOScheduler
from transformers.generation.continuous_batching.offloading_manager import OffloadingManager

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine import batched, sizing
from chat_ui.engine.batched import BatchedEngine, NotBatchable
from chat_ui.engine.load import load_engine
from chat_ui.engine.loaded import run_on_own_thread
from chat_ui.engine.paged import Loop
from chat_ui.engine.protocol import Delta, Event, Failed, Finished, Request, Started
from chat_ui.engine.sampler import Sampler
from chat_ui.engine.sizing import PAGE_TOKENS, CacheSize
from chat_ui.errors import PromptTooLongError
from tests.contract.harness import DEADLINE_S, Reader
from tests.engine import random_models
from tests.engine.batched_engines import (
    Blocks,
    Make,
    begin,
    blocks,
    count,
    engines,
    load,
    on_thread,
    prompt_of,
    reused,
)

pytestmark = pytest.mark.torch


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    # As a model of some size reads its prompts: these tests count the parts.
    monkeypatch.setattr(sizing, "SMALL_PARAMETERS", 0)
    with engines(tmp_path) as make:
        yield make


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

    def unreadable(*_: Any) -> CacheSize:
        raise AttributeError("no attribute 'num_heads'")

    monkeypatch.setattr(sizing, "cache_size", unreadable)
    with pytest.raises(NotBatchable, match="num_heads"):
        BatchedEngine(loaded)


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
    small = CacheSize(window_tokens=256, blocks=11, part_tokens=64)
    monkeypatch.setattr(sizing, "cache_size", lambda *_: small)
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


def test_a_prompt_that_can_never_fit_is_refused_with_the_numbers(tight: Tight) -> None:
    end = begin(tight.engine, prompt=300)[0].wait()
    assert isinstance(end, Failed)
    assert isinstance(end.error, PromptTooLongError)
    assert "300 tokens; the memory that is left for conversations holds 256" in str(end.error)
    # Longer than the model's own window: that is the reason then.
    end = begin(tight.engine, prompt=3000)[0].wait()
    assert isinstance(end, Failed)
    assert isinstance(end.error, PromptTooLongError)
    assert "context window" in str(end.error)


def test_a_prompt_that_fits_later_waits(tight: Tight) -> None:
    first, _ = begin(tight.engine, prompt=230, tokens=20)
    late, _ = begin(tight.engine, prompt=200, tokens=3, seed=2)
    assert (first.wait(), late.wait()) == (Finished("length"), Finished("length"))
    assert late.times[0] >= first.times[-1]
    # Nor does the library's reserve of 15 % keep out one that needs nearly all of it.
    assert begin(tight.engine, prompt=250, tokens=4, seed=3)[0].wait() == Finished("length")


def test_one_that_was_sent_back_reads_little_again(tight: Tight) -> None:
    readers = [begin(tight.engine, prompt=64, tokens=150, seed=seed)[0] for seed in range(3)]
    computed: list[int] = []
    model = tight.engine._loaded.model

    def count(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        computed.append(kwargs["input_ids"].shape[1])

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    assert [reader.wait() for reader in readers] == [Finished("length")] * 3
    run_on_own_thread(hook.remove)
    assert tight.sent_back
    assert all(reused(reader) == 0 for reader in readers)  # said once
    # Those who were sent back would have read 64 tokens and more again.
    assert sum(computed) < 3 * (64 + 150) + 2 * 64 * tight.sent_back


def test_more_requests_than_rows_wait_for_their_turn(make: Make) -> None:
    engine = make()
    readers = [begin(engine, tokens=3, seed=seed)[0] for seed in range(sizing.MAX_ROWS + 9)]
    last, cancel = begin(engine, tokens=1500, seed=99)
    cancel()
    assert last.wait() == Finished("cancelled")
    assert {reader.wait() for reader in readers} == {Finished("length")}


@pytest.mark.parametrize(
    ("variant", "cache_blocks"), [("llama", 16), ("mistral", 16), ("gemma3", 9)]
)
def test_an_answer_may_fill_the_window(
    make: Make, monkeypatch: pytest.MonkeyPatch, variant: str, cache_blocks: int
) -> None:
    """With sliding windows of 32 tokens, too, whose cache is cut up differently."""
    small = CacheSize(window_tokens=512, blocks=cache_blocks, part_tokens=64)
    monkeypatch.setattr(sizing, "cache_size", lambda *_: small)
    reader, _ = begin(make(variant), prompt=500, tokens=4096)
    assert reader.wait() == Finished("length")
    assert reader.tokens == 12


# What the cache keeps.


def finished(engine: BatchedEngine, prompt: list[int], tokens: int = 1) -> Reader:
    reader, _ = begin(engine, prompt, tokens=tokens)
    assert reader.wait() == Finished("length")
    return reader


def test_begun_is_said_once_and_first(make: Make) -> None:
    engine = make()
    for tokens in (1, 50):
        reader, _ = begin(engine, prompt=300, tokens=tokens)
        assert reader.wait() == Finished("length")
        assert isinstance(reader.events[0], Started)
        assert len([event for event in reader.events if isinstance(event, Started)]) == 1


def test_a_regenerate_and_an_edit_read_what_is_new(make: Make) -> None:
    engine = make()
    prompt = prompt_of(300)
    assert reused(finished(engine, prompt)) == 0
    assert reused(finished(engine, prompt)) == 288  # nine pages of 32; the last is not full
    edited = [*prompt[:200], *prompt_of(100, seed=9)]
    assert reused(finished(engine, edited)) == 192
    # A whole number of pages: something has to be left to compute.
    assert reused(finished(engine, prompt[:64])) == 32


def test_conversations_share_a_system_prompt_while_both_are_open(make: Make) -> None:
    engine = make()
    system = prompt_of(128)
    one, cancel = begin(engine, [*system, *prompt_of(20, seed=2)], tokens=1500)
    one.wait_for_tokens(1)
    assert reused(finished(engine, [*system, *prompt_of(20, seed=3)])) == 128
    cancel()


@pytest.mark.parametrize("end", ["length", "cancel", "reading", "failure"])
def test_what_an_ended_answer_computed_is_used_by_the_next_turn(
    make: Make, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    chosen: list[int] = []

    class Recorder(Sampler):
        def __call__(self, scores: torch.Tensor) -> int:
            if end == "failure" and len(chosen) == 40:
                raise FloatingPointError("the model's scores are not numbers")
            chosen.append(super().__call__(scores))
            return chosen[-1]

    engine = make()
    reader = Reader()
    prompt = prompt_of(300)

    def sink(event: Event) -> None:
        if isinstance(event, Started) and end == "reading":
            cancel()  # heard after the first part of the prompt
        if isinstance(event, Delta) and len(chosen) == 70 and end == "cancel":
            cancel()
        reader(event)

    config = GenerationConfig(temperature=0.0, max_new_tokens=100, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(batched, "Sampler", Recorder)
        cancel = engine.start(Request(prompt, config), sink)
        reader.wait()
    # The last token was chosen and not computed with.
    computed = {
        "length": 300 + 100 - 1,
        "cancel": 300 + 70 - 1,
        "reading": sizing.CPU_PART_TOKENS,
        "failure": 0,  # what led to it must not be used again
    }[end]
    if end != "failure":
        assert len(chosen) == max(computed - 300 + 1, 0)
    following = [*prompt, *chosen, *prompt_of(40, seed=5)]
    assert reused(finished(engine, following)) == computed // PAGE_TOKENS * PAGE_TOKENS


def test_the_least_recently_used_leaves_first_and_no_more_than_is_wanted(tight: Tight) -> None:
    engine = tight.engine  # eleven pages
    for seed in (1, 2, 3):
        finished(engine, prompt_of(96, seed=seed))
    assert blocks(engine) == Blocks(free=2, kept=9, used=0)
    # Used again, so that the second is now the oldest.
    assert reused(finished(engine, prompt_of(96, seed=1))) == 64
    finished(engine, prompt_of(128, seed=4))
    assert blocks(engine) == Blocks(free=0, kept=11, used=0)
    # Of the second, the last pages left first; it takes those that it wants now from the third.
    assert reused(finished(engine, prompt_of(96, seed=2))) == 32
    assert reused(finished(engine, prompt_of(96, seed=3))) == 32
    assert reused(finished(engine, prompt_of(128, seed=4))) == 96


def test_a_cancel_frees_its_memory_at_once(tight: Tight) -> None:
    engine = tight.engine
    other, cancel_other = begin(engine, prompt=20, tokens=200, seed=2)
    reader = Reader()
    seen: queue.SimpleQueue[tuple[Blocks, Blocks]] = queue.SimpleQueue()

    def cancel_between_two_steps() -> None:
        before = count(engine)
        cancel()
        engine._take_commands(wait=True)
        seen.put((before, count(engine)))

    def sink(event: Event) -> None:
        if isinstance(event, Delta) and reader.tokens == 0:
            engine._inbox.put(cancel_between_two_steps)
        reader(event)

    config = GenerationConfig(temperature=0.0, max_new_tokens=56, seed=1)
    cancel = engine.start(Request(prompt_of(200), config), sink)
    before, after = seen.get(timeout=DEADLINE_S)
    assert before.used - after.used == 7
    assert after.free + after.kept + after.used == 11
    assert reader.wait() == Finished("cancelled")
    # Nobody is left, and no step comes any more.
    cancel_other()
    other.wait()
    left = blocks(engine)
    assert (left.used, left.free + left.kept) == (0, 11)


# Fairness.


def test_others_get_a_token_between_two_parts_of_a_long_prompt(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    readers = [begin(engine, tokens=1500, seed=seed)[0] for seed in range(3)]
    for reader in readers:
        reader.wait_for_tokens(3)
    steps: list[tuple[int, int]] = []  # tokens computed, and tokens that the three have
    body = Loop._generation_loop_body

    def spy(self: Loop, processor: Any, bootstrapping: bool) -> bool:
        goes_on = body(self, processor, bootstrapping)
        computed = processor.inputs_and_outputs.num_q_tokens
        steps.append((computed, sum(reader.tokens for reader in readers)))
        return goes_on

    monkeypatch.setattr(Loop, "_generation_loop_body", spy)
    long, late = on_thread(
        engine,
        lambda: [begin(engine, prompt, tokens=1, seed=9)[0] for prompt in (1800, 5)],
    )
    assert (long.wait(), late.wait()) == (Finished("length"), Finished("length"))
    on_thread(engine, lambda: None)
    parts = [number for number, (computed, _) in enumerate(steps) if computed > 3 + 5]
    assert len(parts) >= 8
    for part in parts:
        assert steps[part][0] <= sizing.CPU_PART_TOKENS
        assert steps[part][1] - steps[part - 1][1] == 3 or part == 0
    # Nor does the long prompt hold up a short one.
    assert late.times[-1] < long.times[-1]


def test_owners_take_turns(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    busy, cancel = begin(engine, tokens=1500)
    busy.wait_for_tokens(1)
    monkeypatch.setattr(Loop, "has_room", lambda self, _: len(engine._open) - waiting() == 0)

    def waiting() -> int:
        return sum(not row.is_inside for row in engine._open.values())

    readers = {
        name: begin(engine, tokens=2, seed=seed, owner=name[0])[0]
        for seed, name in enumerate(("a1", "a2", "a3", "b1", "b2", "c1"), 2)
    }
    on_thread(engine, lambda: None)
    cancel()
    assert [reader.wait() for reader in readers.values()] == [Finished("length")] * 6
    order = sorted(readers, key=lambda name: readers[name].times[0])
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


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


# Threads.


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
