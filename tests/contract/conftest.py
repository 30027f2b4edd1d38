"""The engines that keep the contract, each with what a test needs to steer it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.harness import FakeHarness, Harness

# For models this small a second thread costs more than it computes. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A new engine: one line here, and one in `make` below.
KINDS = [
    "fake",
    pytest.param("single", marks=pytest.mark.torch),
    pytest.param("batched", marks=pytest.mark.torch),
    pytest.param("zerogpu", marks=pytest.mark.torch),
]


def make(kind: str, folder: Path) -> Harness:
    if kind == "fake":
        return FakeHarness()
    from tests.contract.real import RealHarness  # noqa: PLC0415  torch takes seconds to import

    return RealHarness(kind, folder)


@pytest.fixture(scope="module", params=KINDS)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harness]:
    harness = make(request.param, tmp_path_factory.mktemp("model"))
    yield harness
    harness.close()


@pytest.fixture
def harness(shared: Harness) -> Iterator[Harness]:
    """An engine that is used for many tests: none closes it, and each leaves it idle."""
    yield shared
    shared.settle()


@pytest.fixture(params=KINDS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """An engine of the test's own, which it may close or break."""
    harness = make(request.param, tmp_path)
    yield harness
    harness.close()
