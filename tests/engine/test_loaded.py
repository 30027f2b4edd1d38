"""What engines share: the threads that torch keeps for each of ours, and memory given back."""

import sys
import threading
from pathlib import Path

import psutil
import pytest
import torch

from chat_ui.engine.loaded import end_thread_pool, give_back_zeros, run_on_own_thread
from tests.engine.batched_engines import begin, engines

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="threads and pages are counted in /proc"),
]


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def fewest() -> int:
    """The number of threads once those that are ending have ended."""
    pause, counts = threading.Event(), [threads()]
    for _ in range(20):
        pause.wait(0.05)
        counts.append(threads())
    return min(counts)


def falls_to(count: int) -> bool:
    """Whether there are soon no more threads than this; the system takes a moment to end one."""
    pause = threading.Event()
    for _ in range(600):
        if threads() <= count:
            return True
        pause.wait(0.05)
    return False


@pytest.fixture(autouse=True)
def _other_pool() -> None:
    """torch keeps threads of another kind, too, for as long as the process lives."""
    run_on_own_thread(lambda: torch.set_num_threads(3))


def product() -> torch.Tensor:
    torch.set_num_threads(3)
    return torch.ones(600, 600) @ torch.ones(600, 600)


def test_a_pool_ends_and_comes_back() -> None:
    def run() -> None:
        before = threads()
        wanted = product()
        assert threads() >= before + 2
        end_thread_pool()
        assert falls_to(before)
        assert torch.equal(product(), wanted)

    run_on_own_thread(run)


def test_an_idle_engine_has_no_threads_but_its_own(tmp_path: Path) -> None:
    """While another model is in memory, these would slow the one that answers."""
    during: list[int] = []

    def step(*_: object) -> None:
        product()
        during.append(threads())

    with engines(tmp_path) as make:
        engine = make()
        begin(engine, tokens=4)[0].wait()
        before = fewest()
        engine._loaded.model.register_forward_pre_hook(step)
        for seed in range(2):
            begin(engine, tokens=4, seed=seed)[0].wait()
        assert max(during) >= before + 2
        assert falls_to(before)


def test_zeros_that_are_not_used_take_no_memory() -> None:
    def taken() -> int:
        return int(psutil.Process().memory_info().rss)

    zeros = torch.zeros(64 * 2**20, dtype=torch.uint8)
    filled = taken()
    give_back_zeros(zeros)
    assert filled - taken() > 60 * 2**20
    assert int(zeros.sum()) == 0
    zeros += 1
    assert int(zeros.sum()) == zeros.numel()


def test_a_few_zeros_stay_as_they_are() -> None:
    zeros = torch.zeros(3)
    give_back_zeros(zeros)
    assert zeros.tolist() == [0.0, 0.0, 0.0]
