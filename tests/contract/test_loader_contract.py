"""What every loader promises whoever waits for it: progress, and an end at any word of it."""

import threading
from functools import partial
from pathlib import Path

import pytest

from chat_ui.engine.fake import FakeLoader
from chat_ui.engine.protocol import LoadEngine
from chat_ui.errors import LoadCancelledError
from chat_ui.models.progress import LoadProgress
from chat_ui.models.spec import ModelSpec

DEADLINE_S = 30.0

Loader = tuple[LoadEngine, ModelSpec]


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.torch)])
def loader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loader:
    if request.param == "fake":
        return FakeLoader(), ModelSpec("fake", "Fake", "built-in", Path("fake"))
    from chat_ui.engine.load import load_engine  # noqa: PLC0415  torch takes seconds to import
    from tests.engine import random_models  # noqa: PLC0415

    folder = random_models.write(tmp_path_factory.mktemp("model") / "m")
    return partial(load_engine, speedup=lambda model: 1.0), random_models.spec(folder)


def test_weights_are_counted_and_then_it_warms_up(loader: Loader) -> None:
    load, spec = loader
    told: list[LoadProgress] = []
    load(spec, "full", progress=told.append).close()
    read = [progress for progress in told if progress.stage == "reading" and progress.total]
    total = read[0].total
    assert total is not None
    assert [progress.done for progress in read] == list(range(total + 1))
    assert {progress.total for progress in read} == {total}
    assert told[0].stage == "reading"
    assert told[-1] == LoadProgress("warming up")


def test_it_ends_where_nobody_wants_it_any_more(loader: Loader) -> None:
    load, spec = loader
    told: list[LoadProgress] = []
    load(spec, "full", progress=told.append).close()
    for at in (0, len(told) // 2, len(told) - 1):
        ends_at(at, load, spec)
    load(spec, "full").close()


def ends_at(word: int, load: LoadEngine, spec: ModelSpec) -> None:
    """Load, and raise at a word of progress, counted from 0."""
    error, heard = LoadCancelledError(), []

    def progress(progress: LoadProgress) -> None:
        heard.append(progress)
        if len(heard) > word:
            raise error

    with pytest.raises(LoadCancelledError) as caught:
        load(spec, "full", progress=progress)
    assert caught.value is error
    assert len(heard) == word + 1


def test_the_fake_goes_on_telling_while_its_gate_is_closed() -> None:
    loader, is_waiting, is_cancelled = FakeLoader(), threading.Event(), threading.Event()
    loader.gate.clear()
    errors: list[Exception] = []
    heard: list[LoadProgress] = []

    def progress(progress: LoadProgress) -> None:
        heard.append(progress)
        if len(heard) > 3:
            is_waiting.set()
        if is_cancelled.is_set():
            raise LoadCancelledError

    def load() -> None:
        try:
            loader(ModelSpec("fake", "Fake", "built-in"), "full", progress=progress)
        except LoadCancelledError as error:
            errors.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    assert is_waiting.wait(DEADLINE_S)
    is_cancelled.set()
    thread.join(DEADLINE_S)
    assert len(errors) == 1
    assert loader.loads == []
    assert set(heard) == {LoadProgress("reading", 0, 4)}
