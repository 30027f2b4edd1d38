"""What can go wrong in the batched engine: the right error to the right reader, and the next
request works.
"""

import gc
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.generation.continuous_batching import PagedAttentionCache
from transformers.generation.continuous_batching.requests import RequestState

from chat_ui.chat.generation import GenerationConfig
from chat_ui.engine import paged
from chat_ui.engine.answer import Answer
from chat_ui.engine.batched import BatchedEngine
from chat_ui.engine.paged_cache import Scheduler
from chat_ui.engine.protocol import Event, Failed, Finished, Request
from tests.contract.harness import DEADLINE_S, Reader
from tests.engine.batched_engines import (
    Make,
    begin,
    blocks,
    engines,
    on_thread,
    prompt_of,
    reused,
)

pytestmark = pytest.mark.torch

CUDA_IS_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
RAM_IS_FULL = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 8796093022208 bytes. Error code 12 (Cannot allocate memory)"
)
MPS_IS_FULL = RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with engines(tmp_path) as make:
        yield make


class Forward:
    """Stands in for a model's forward, and breaks when it is told to."""

    def __init__(self, engine: BatchedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.breaks: Callable[[int], Exception | None] = lambda _: None
        model = engine._loaded.model
        self._forward = model.forward
        monkeypatch.setattr(model, "forward", self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        error = self.breaks(kwargs["input_ids"].shape[1])
        if error is not None:
            raise error
        return self._forward(*args, **kwargs)


def raising(error: Exception) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


def failure(reader: Reader) -> str:
    end = reader.wait()
    assert isinstance(end, Failed)
    assert len(reader.ends) == 1
    return str(end.error)


def works(engine: BatchedEngine) -> None:
    reader, _ = begin(engine, tokens=5, seed=77)
    assert reader.wait() == Finished("length")
    assert reader.tokens == 5


# The memory is full.


@pytest.mark.parametrize("error", [CUDA_IS_FULL, RAM_IS_FULL, MPS_IS_FULL, MemoryError()])
@pytest.mark.parametrize("when", ["prefill", "decode"])
def test_a_full_memory_frees_the_cache_and_names_what_would_help(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception, when: str
) -> None:
    engine = make()
    forward = Forward(engine, monkeypatch)
    kept = prompt_of(300)
    assert begin(engine, kept, tokens=1)[0].wait() == Finished("length")
    forward.breaks = lambda tokens: error if (tokens > 1) == (when == "prefill") else None
    reader, _ = begin(engine, prompt=600, tokens=1500, seed=3)
    sentence = failure(reader)
    assert "The memory is full" in sentence
    for lever in ("context", "4-bit", "smaller model"):
        assert lever in sentence
    assert "alloc" not in sentence
    forward.breaks = lambda _: None
    again, _ = begin(engine, kept, tokens=1)
    assert again.wait() == Finished("length")
    assert reused(again) == 0


def test_a_full_memory_in_4_bit_names_other_levers(make: Make) -> None:
    engine = make()
    loaded = engine._loaded
    object.__setattr__(loaded.facts, "precision", "4bit")
    reader = Reader()
    answer = Answer(Request([1], GenerationConfig()), reader, loaded)
    answer.fail(CUDA_IS_FULL)
    assert "smaller model" in failure(reader)
    assert "4-bit" not in failure(reader)


@pytest.mark.parametrize("error", [CUDA_IS_FULL, RAM_IS_FULL])
def test_no_memory_for_the_cache_fails_who_waits_for_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    engine = make()
    with monkeypatch.context() as patch:
        patch.setattr(PagedAttentionCache, "__init__", raising(error))
        patch.setattr(engine._loaded.model, "forward", raising(error))
        for seed in range(3):
            assert "The memory is full" in failure(begin(engine, seed=seed)[0])
    works(engine)


# An exception in the model.


@pytest.mark.parametrize("at", [0, 5, 19])
def test_an_exception_at_any_token_ends_those_it_concerns(
    make: Make, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """At the first, in the middle, at the last of 20 tokens."""
    engine = make()
    forward = Forward(engine, monkeypatch)
    alone, _ = begin(engine, tokens=20)
    assert alone.wait() == Finished("length")
    steps = 0

    def breaks(_: int) -> Exception | None:
        nonlocal steps
        steps += 1
        return RuntimeError("a kernel broke in /secret/place") if steps == at + 1 else None

    forward.breaks = breaks
    # Both in one step: the engine's thread takes both before it begins.
    readers = on_thread(engine, lambda: [begin(engine, tokens=20, seed=seed)[0] for seed in (1, 2)])
    for reader in readers:
        sentence = failure(reader)
        assert sentence.startswith("The model failed")
        assert "secret" not in sentence
        assert reader.tokens == at
    assert alone.text.startswith(readers[0].text)
    works(engine)


def test_those_who_wait_are_answered_by_the_next_loop(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    forward = Forward(engine, monkeypatch)
    first, _ = begin(engine, tokens=1500)
    first.wait_for_tokens(1)
    with monkeypatch.context() as patch:
        patch.setattr(paged.Loop, "has_room", lambda *_: False)
        waiting = [begin(engine, tokens=5, seed=seed)[0] for seed in (2, 3)]
        on_thread(engine, lambda: None)
        once = [RuntimeError("broken")]
        forward.breaks = lambda _: once.pop() if once else None
        assert "failed" in failure(first)
        assert not any(reader.events for reader in waiting)
    assert [reader.wait() for reader in waiting] == [Finished("length")] * 2


def test_a_loop_may_die_again_and_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    forward = Forward(engine, monkeypatch)
    for _ in range(3):
        readers = [begin(engine, tokens=1500, seed=seed)[0] for seed in range(3)]
        for reader in readers:
            reader.wait_for_tokens(1)
        forward.breaks = lambda _: RuntimeError("broken")
        assert all("failed" in failure(reader) for reader in readers)
        forward.breaks = lambda _: None
        works(engine)


def test_requests_that_are_never_worked_on_fail(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that is dead without an exception."""
    engine = make()
    monkeypatch.setattr(paged, "STALLED_STEPS", 2)
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "schedule_batch", lambda *_: ([], False, 0, 0))
        assert "failed" in failure(begin(engine)[0])
    works(engine)


def test_a_scheduler_that_breaks_fails_its_requests(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "schedule_batch", raising(KeyError("request")))
        assert "failed" in failure(begin(engine)[0])
    works(engine)


def test_the_engines_thread_outlives_a_defect_of_its_own(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    works(engine)
    with monkeypatch.context() as patch:
        # The first breaks the loop that there is, the second what comes instead.
        patch.setattr(engine, "_let_in", raising(KeyError("turn")))
        patch.setattr(engine, "_serve", raising(KeyError("serve")))
        for seed in (1, 2, 3):
            assert "failed" in failure(begin(engine, seed=seed)[0])
    works(engine)


# One reader's failure.


def test_scores_that_are_no_numbers_fail_that_reader_alone(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    alone, _ = begin(engine, tokens=40, seed=1)
    assert alone.wait() == Finished("length")
    model = engine._loaded.model
    forward = model.forward
    steps_of_two = 0

    def second_row_breaks(*args: Any, **kwargs: Any) -> Any:
        nonlocal steps_of_two
        output = forward(*args, **kwargs)
        if output.logits.shape[1] == 2:
            steps_of_two += 1
            if steps_of_two == 5:
                output.logits[0, 1] = float("nan")
        return output

    monkeypatch.setattr(model, "forward", second_row_breaks)
    good, bad = on_thread(
        engine,
        lambda: [
            begin(engine, prompt, tokens=40, seed=seed)[0] for seed, prompt in ((1, 20), (2, 200))
        ],
    )
    assert failure(bad).startswith("The model failed")
    assert bad.tokens == 4
    assert good.wait() == Finished("length")
    assert good.text == alone.text
    # What such scores came from is not used again.
    again, _ = begin(engine, prompt=200, tokens=3, seed=2)
    assert again.wait() == Finished("length")
    assert reused(again) == 0
    works(engine)


# Cancels.


class CancelsItself(Reader):
    """After some events: on the engine's thread, within a step or between two."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.cancel: Callable[[], None] = lambda: None
        self._after = after

    def __call__(self, event: Event) -> None:
        if len(self.events) == self._after:
            self.cancel()
        super().__call__(event)


def test_a_cancel_at_any_moment_ends_that_request_alone(make: Make) -> None:
    """Before it begins, while its prompt is read, while it is written, at its end."""
    engine = make()
    alone, _ = begin(engine, prompt=40, tokens=60, seed=1)
    assert alone.wait() == Finished("length")
    numbers = random.Random(5)
    for moment in range(30):
        other, _ = begin(engine, prompt=40, tokens=60, seed=1)
        reader = CancelsItself(after=numbers.randrange(12))
        config = GenerationConfig(temperature=0.0, max_new_tokens=9, seed=2)
        prompt = prompt_of(numbers.choice([5, 64, 700]), seed=moment)
        reader.cancel = engine.start(Request(prompt, config), reader)
        if moment % 3 == 0:
            reader.cancel()
        assert reader.wait() in (Finished("cancelled"), Finished("length"))
        assert other.wait() == Finished("length")
        assert other.text == alone.text
        assert len(reader.ends) == 1
    assert blocks(engine).used == 0


def test_a_thousand_cancelled_requests_leave_nothing(make: Make) -> None:
    engine = make()
    works(engine)
    before = blocks(engine)
    total = before.free + before.kept
    threads = set(threading.enumerate())
    kinds = (RequestState, Answer, Reader)

    def alive() -> int:
        gc.collect()
        return sum(type(each) in kinds for each in gc.get_objects())

    objects = alive()
    numbers = random.Random(3)
    for _ in range(20):
        started = [
            begin(engine, numbers.choice([5, 40, 300]), tokens=1500, seed=seed, owner=str(seed % 3))
            for seed in range(50)
        ]
        numbers.shuffle(started)
        for _, cancel in started:
            cancel()
        assert {reader.wait() for reader, _ in started} == {Finished("cancelled")}
    del started, cancel
    after = blocks(engine)
    assert after.used == 0
    assert after.free + after.kept == total
    assert set(threading.enumerate()) == threads
    loop = engine._loop
    assert loop is not None
    assert (engine._open, bool(engine._turns), loop._dropped) == ({}, False, [])
    assert loop.batch_processor is not None
    scheduler = loop.batch_processor.scheduler
    assert (scheduler.not_begun, len(scheduler.waiting_requests_order)) == ({}, 0)
    works(engine)
    # A step's inputs may still hold the last request's state.
    assert alive() <= objects + 2


def test_close_ends_those_who_wait_too(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    first, _ = begin(engine, tokens=1500)
    first.wait_for_tokens(1)
    monkeypatch.setattr(paged.Loop, "has_room", lambda *_: False)
    waiting, _ = begin(engine, seed=2)
    closing = threading.Thread(target=engine.close)
    closing.start()
    closing.join(DEADLINE_S)
    assert "unloaded" in failure(first)
    assert "unloaded" in failure(waiting)
