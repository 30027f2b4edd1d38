"""The ZeroGPU engine beyond the contract: whose GPU it borrows, and when there is none."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import spaces
import torch

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine import zerogpu
from chat_ui.engine.load import load_engine, load_model
from chat_ui.engine.loaded import release
from chat_ui.engine.protocol import Failed, Finished, Request
from chat_ui.engine.zerogpu import ZeroGPUEngine, load_at_start
from chat_ui.errors import EngineError, ModelError
from chat_ui.models import memory
from chat_ui.models.spec import ModelSpec
from tests.contract.harness import DEADLINE_S, Reader
from tests.engine import random_models

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2]
visitor: ContextVar[str] = ContextVar("visitor", default="nobody")


class GradioError(Exception):
    """As Gradio's, which `spaces` raises."""

    def __init__(self, title: str, message: str) -> None:
        super().__init__(message)
        self.title = title


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return random_models.spec(random_models.write(tmp_path_factory.mktemp("model") / "m"))


@pytest.fixture(scope="module")
def engine(spec: ModelSpec) -> Iterator[ZeroGPUEngine]:
    engine = ZeroGPUEngine(load_model(spec, "full", device="cpu"))
    yield engine
    engine.close()


def request(engine: Any, **config: Any) -> Request:
    config = {"max_new_tokens": 8, "seed": 7, **config}
    return Request(
        engine.encode([PromptMessage("user", "Hello")]), GenerationConfig(**config), "visitor"
    )


def answered(engine: Any, **config: Any) -> Reader:
    reader = Reader()
    engine.start(request(engine, **config), reader)
    reader.wait()
    return reader


def test_it_says_what_the_other_engines_say(engine: ZeroGPUEngine, spec: ModelSpec) -> None:
    other = load_engine(spec, "full", speedup=lambda model: 1.0)
    try:
        for seed in (1, 2):
            mine, theirs = (
                answered(one, seed=seed, temperature=0.9, max_new_tokens=40)
                for one in (engine, other)
            )
            assert (mine.text, mine.wait().reason) == (theirs.text, theirs.wait().reason)  # type: ignore[union-attr]
            assert mine.text
    finally:
        other.close()


def test_an_answers_thread_has_its_starters_context(
    engine: ZeroGPUEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    borrowed: list[str] = []

    def lent(*arguments: Any) -> Iterator[Any]:
        borrowed.append(visitor.get())
        pickle.dumps(arguments)
        yield None

    monkeypatch.setattr(zerogpu, "_on_gpu", lent)
    visitor.set("the starter")
    assert answered(engine).wait() == Finished("length")
    assert borrowed == ["the starter"]


def test_a_gpu_is_asked_for_as_long_as_the_answer_may_take(
    engine: ZeroGPUEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, ids, config = engine._number, [1] * 20, GenerationConfig()
    placed = zerogpu._placed[number]
    placed.tokens_per_s = 50.0
    short, long = (zerogpu._duration_s(number, ids, config, limit) for limit in (50, 1000))
    assert 4 <= short <= 8
    assert 1000 / 50 <= long <= 40
    placed.tokens_per_s = 0.1
    assert zerogpu._duration_s(number, ids, config, 1000) == 120  # more than is lent to anybody
    monkeypatch.setattr(zerogpu, "_on_gpu", lambda *arguments: (yield from [None, *[5] * 40]))
    answered(engine, max_new_tokens=40)
    for run in engine._runs:
        run.thread.join(DEADLINE_S)
    assert placed.tokens_per_s > 1.0  # measured


def test_an_answer_that_waits_for_a_gpu_is_cancelled_at_once(
    engine: ZeroGPUEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_waiting, has_gpu = threading.Event(), threading.Event()
    closed: list[bool] = []

    def lent(*arguments: Any) -> Iterator[Any]:
        is_waiting.set()
        has_gpu.wait(DEADLINE_S)
        try:
            yield None
            yield 5
        finally:
            closed.append(True)

    monkeypatch.setattr(zerogpu, "_on_gpu", lent)
    reader = Reader()
    cancel = engine.start(request(engine), reader)
    assert is_waiting.wait(DEADLINE_S)
    cancel()
    assert reader.wait() == Finished("cancelled")
    assert closed == []
    has_gpu.set()
    for run in engine._runs:
        run.thread.join(DEADLINE_S)
    assert closed == [True]
    assert reader.events == [Finished("cancelled")]


@pytest.mark.parametrize(
    ("error", "sentence", "step"),
    [
        (
            GradioError(
                "ZeroGPU quota exceeded",
                "You have exceeded your free ZeroGPU quota (60s requested vs. 12s left). Try again "
                "in 3:12:07. Subscribe to <a href='x'>PRO</a>",
            ),
            "used up",
            "Try again in 3:12:07 ",
        ),
        (GradioError("ZeroGPU quota exceeded", "Space app has reached its GPU limit."), "", "late"),
        (GradioError("ZeroGPU pending credits exceeded", "Too many."), "being written", "Wait"),
        (GradioError("ZeroGPU illegal duration", "(200s) is larger"), "as long", "Max new tokens"),
        (GradioError("ZeroGPU queue timeout", "No GPU was available"), "No GPU", "Regenerate"),
        (GradioError("ZeroGPU client error", "Expired proxy token"), "No GPU", "Reload"),
        (GradioError("ZeroGPU worker error", "GPU task aborted"), "taken back", "Continue"),
        (RuntimeError("Connection closed by visitor while queueing"), "left", "Regenerate"),
        (RuntimeError("ZeroGPU API /schedule error: 500"), "failed", "Regenerate"),
    ],
)
def test_what_zerogpu_refuses_is_a_sentence_with_a_next_step(
    engine: ZeroGPUEngine,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    sentence: str,
    step: str,
) -> None:
    def lent(*arguments: Any) -> Iterator[Any]:
        raise error
        yield None

    monkeypatch.setattr(zerogpu, "_on_gpu", lent)
    end = answered(engine).wait()
    assert isinstance(end, Failed)
    assert isinstance(end.error, EngineError)
    assert sentence in end.error.sentence
    assert step in end.error.next_step
    assert "<" not in str(end.error)


def test_a_worker_that_dies_ends_its_answer(
    engine: ZeroGPUEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*arguments: Any) -> Iterator[Any]:
        yield None
        os._exit(1)

    monkeypatch.setattr(zerogpu, "_on_gpu", spaces.GPU(dies))
    assert isinstance(answered(engine).wait(), Failed)


def test_a_model_is_read_on_the_cpu_though_there_seems_to_be_a_gpu(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`spaces` says that there is one, and lets only the main thread put something there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(memory, "free_bytes", lambda kind: 10**10)
    loaded = load_model(spec, "full", device="cpu")
    assert str(loaded.model.device) == "cpu"
    monkeypatch.undo()
    release(loaded)


def test_a_model_is_handed_out_once(spec: ModelSpec) -> None:
    load = load_at_start(spec, "full")
    engine = load(spec, "full")
    try:
        assert engine.facts.kind == "zerogpu"
        with pytest.raises(ModelError, match="only when the Space starts"):
            load(spec, "full")
    finally:
        engine.close()


def test_another_precision_than_full_is_refused_on_zerogpu(spec: ModelSpec) -> None:
    with pytest.raises(ModelError, match="full precision only"):
        load_at_start(spec, "8bit")


def test_the_fake_refuses_what_zerogpu_refuses() -> None:
    async def coroutine() -> None: ...

    async def asynchronous() -> Any:
        yield 1

    for task in (coroutine, asynchronous):
        with pytest.raises(NotImplementedError):
            spaces.GPU(task)

    def echo(value: Any) -> Iterator[Any]:
        yield threading.Lock() if value == "a lock" else value

    lent: Callable[[Any], Iterator[Any]] = spaces.GPU(duration=5)(echo)
    assert list(lent("text")) == ["text"]
    with pytest.raises((TypeError, pickle.PicklingError)):
        list(lent(threading.Lock()))
    with pytest.raises(RuntimeError, match="TypeError"):  # the worker's, by its name alone
        list(lent("a lock"))


def test_the_app_needs_no_spaces_elsewhere() -> None:
    """Nothing but the ZeroGPU engine imports the package, which is installed on such a Space."""
    script = (
        "import sys; sys.modules['spaces'] = None\n"
        "import chat_ui.engine.load, chat_ui.service, app\n"
        "print('chat_ui.engine.zerogpu' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.stdout.strip(), run.returncode) == ("False", 0), run.stderr
