"""What is told while a model is loaded, and that loading can be ended at any word of it."""

import logging
import os
import subprocess
import sys
import threading
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from transformers.utils import logging as transformers_logging

from chat_ui.engine import load
from chat_ui.engine.load_progress import weights_told
from chat_ui.errors import LoadCancelledError
from chat_ui.models.progress import LoadProgress, LoadStage, Progress, ignore
from chat_ui.models.quantization import Precision
from tests.engine import random_models

pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
# Tensors in the checkpoint, and those that are Linears: the head stays as it is.
WEIGHTS, LINEARS = 2 * 9 + 3, 2 * 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_models.write(tmp_path_factory.mktemp("models") / "llama", dtype="bfloat16")


def load_engine(
    folder: Path, precision: Precision, progress: Progress, draft: Path | None = None
) -> None:
    """Load an engine and close it."""
    load.load_engine(
        random_models.spec(folder),
        precision,
        draft=random_models.spec(draft) if draft else None,
        progress=progress,
        speedup=lambda model: 1.0,
    ).close()


def stages(told: list[LoadProgress]) -> list[str]:
    return [stage for stage, _ in groupby(told, lambda progress: progress.stage)]


def counts(told: list[LoadProgress], stage: LoadStage) -> list[tuple[int, int | None]]:
    """What was counted in a stage, without what it began with before the number was known."""
    return [(at.done, at.total) for at in told if at.stage == stage and at.total is not None]


COUNTED = [(done, WEIGHTS) for done in range(WEIGHTS + 1)]


def test_reading_is_counted_in_weights(folder: Path) -> None:
    told: list[LoadProgress] = []
    load_engine(folder, "full", told.append)
    assert stages(told) == ["reading", "warming up"]
    assert told[0] == LoadProgress("reading")
    assert counts(told, "reading") == COUNTED


@pytest.mark.parametrize("precision", ["8bit", "4bit", "4bit-fp4"])
def test_what_is_quantized_while_it_is_read_counts_as_quantizing(
    folder: Path, precision: Precision
) -> None:
    told: list[LoadProgress] = []
    load_engine(folder, precision, told.append)
    assert stages(told) == ["reading", "quantizing", "warming up"]
    assert counts(told, "quantizing") == COUNTED


def test_what_is_quantized_afterwards_is_counted_in_linears(folder: Path) -> None:
    told: list[LoadProgress] = []
    load_engine(folder, "8bit-cpu", told.append)
    assert stages(told) == ["reading", "quantizing", "warming up"]
    assert counts(told, "reading") == COUNTED
    assert counts(told, "quantizing") == [(done, LINEARS + 1) for done in range(LINEARS + 1)]


def test_no_bar_is_drawn(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_engine(folder, "full", ignore)
    assert "Loading weights" not in capfd.readouterr().err


# Cancelling -----------------------------------------------------------------------------------


class Cancels:
    """A `Progress` that raises an error at a word, given by its number or as it is."""

    def __init__(self, at: int | LoadProgress) -> None:
        self.error = LoadCancelledError()
        self.told: list[LoadProgress] = []
        self._at = at

    def __call__(self, progress: LoadProgress) -> None:
        if self._at in (progress, len(self.told)):
            raise self.error
        self.told.append(progress)


def words(folder: Path, precision: Precision) -> int:
    told: list[LoadProgress] = []
    load_engine(folder, precision, told.append)
    return len(told)


@pytest.mark.parametrize("precision", ["full", "4bit", "8bit-cpu"])
def test_a_cancel_reaches_the_caller_as_it_is_and_leaves_no_thread(
    folder: Path, precision: Precision, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(threading.enumerate())
    last = words(folder, precision) - 1
    with caplog.at_level(logging.INFO, "chat_ui"):
        for at in (0, last // 2, last - 1, last):
            cancel = Cancels(at)
            with pytest.raises(LoadCancelledError) as caught:
                load_engine(folder, precision, cancel)
            assert caught.value is cancel.error
            assert caught.value.__cause__ is None
            assert len(cancel.told) == at
    assert not caplog.records
    # Those that read weights end with the one that they are reading.
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), thread.name


def test_a_draft_model_s_loading_is_cancelled_with_it(folder: Path, tmp_path: Path) -> None:
    draft = random_models.write(tmp_path / "draft", num_hidden_layers=1)
    of_draft = 9 + 3
    cancel = Cancels(LoadProgress("reading", 5, of_draft))
    with pytest.raises(LoadCancelledError) as caught:
        load_engine(folder, "full", cancel, draft)
    assert caught.value is cancel.error
    assert LoadProgress("reading", WEIGHTS, WEIGHTS) in cancel.told


def test_after_a_cancel_it_can_be_loaded(folder: Path) -> None:
    with pytest.raises(LoadCancelledError):
        load_engine(folder, "4bit", Cancels(LoadProgress("quantizing", 7, WEIGHTS)))
    load_engine(folder, "4bit", ignore)


CANCEL = """
import psutil, sys, threading
from pathlib import Path
from chat_ui.engine.load import load_model
from chat_ui.errors import LoadCancelledError
from tests.engine import random_models

small, large, precision = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
process, kept, most = psutil.Process(), [], 0

def cancel(progress):
    global most
    most = max(most, process.memory_info().rss)
    if progress.stage == STAGE and progress.total and progress.done > progress.total * 0.7:
        raise LoadCancelledError

STAGE = "reading" if precision == "full" else "quantizing"
load_model(random_models.spec(small), precision, speedup=lambda model: 1.0)  # imports everything
before, most = process.memory_info().rss, 0
for _ in range(3):
    try:
        load_model(random_models.spec(large), precision, progress=cancel)
    except LoadCancelledError as error:
        kept.append(error)
assert len(kept) == 3
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(60)
print(most - before, process.memory_info().rss - before)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """63M parameters, 126 MB."""
    sizes: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4}
    return random_models.write(tmp_path_factory.mktemp("models") / "m", dtype="bfloat16", **sizes)


@pytest.mark.parametrize("precision", ["full", "8bit", "4bit", "8bit-cpu"])
def test_a_cancelled_load_gives_its_memory_back(
    folder: Path, large: Path, precision: Precision
) -> None:
    """Three times, and though the errors are kept: what one left behind would add up."""
    # glibc keeps up to 64 MB at the top of each further arena, whatever was in it.
    one_arena = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", CANCEL, str(folder), str(large), precision],
        cwd=ROOT, env=one_arena, text=True, capture_output=True, timeout=300, check=True,
    )  # fmt: skip
    most, left = map(int, ended.stdout.split())
    if precision != "full":  # which only maps the file before it is used
        assert most > 30e6
    assert left < 15e6


# Whom the library tells -----------------------------------------------------------------------


def bar(desc: str = "Loading weights") -> Any:
    return transformers_logging.tqdm([1, 2], desc=desc, disable=True)


def test_other_bars_and_other_threads_bars_are_the_library_s_own() -> None:
    told: list[LoadProgress] = []
    others: list[Any] = []
    with weights_told(told.append, "reading"):
        thread = threading.Thread(target=lambda: others.append(bar()))
        thread.start()
        thread.join(DEADLINE_S)
        others.append(bar("Writing model shards"))
        assert [list(other) for other in others] == [[1, 2], [1, 2]]
        assert not told
        assert list(bar()) == [1, 2]
        assert [progress.done for progress in told] == [0, 1, 2]
    assert list(bar()) == [1, 2]
    assert len(told) == 3
