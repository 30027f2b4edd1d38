"""How far a load is, how fast it goes, and how it is ended."""

import pytest

from chat_ui.errors import LoadCancelledError
from chat_ui.models.progress import LoadProgress
from chat_ui.models.spec import find
from chat_ui.service.loading import Load

MB = 10**6


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def load(clock: Clock) -> Load:
    return Load(find(""), "4bit", clock=clock)


def downloaded(load: Load, clock: Clock, at_s: float, done: int) -> None:
    clock.now = at_s
    load(LoadProgress("downloading", done, 100 * MB))


def test_it_begins_by_checking(load: Load) -> None:
    assert (load.now.stage, load.now.done, load.now.total) == ("checking", 0, None)
    assert load.now.name.endswith(", 4-bit")


def test_a_download_has_a_rate_and_a_time_left(load: Load, clock: Clock) -> None:
    for second in range(5):
        downloaded(load, clock, second, 10 * second * MB)
    assert load.now.bytes_per_s == pytest.approx(10 * MB)
    assert load.now.left_s == pytest.approx(6)


def test_the_rate_is_that_of_the_last_seconds(load: Load, clock: Clock) -> None:
    downloaded(load, clock, 0, 0)
    downloaded(load, clock, 1, 50 * MB)
    for second in range(2, 12):
        downloaded(load, clock, second, 50 * MB + second * MB)
    assert load.now.bytes_per_s == pytest.approx(MB)


def test_a_download_that_stands_still_has_no_time_left(load: Load, clock: Clock) -> None:
    for second in range(8):
        downloaded(load, clock, second, 5 * MB)
    assert load.now.bytes_per_s == 0
    assert load.now.left_s is None


def test_one_moment_is_no_rate(load: Load, clock: Clock) -> None:
    downloaded(load, clock, 0, 0)
    downloaded(load, clock, 0.1, 90 * MB)
    assert load.now.bytes_per_s is None


def test_weights_have_no_rate(load: Load, clock: Clock) -> None:
    downloaded(load, clock, 0, 0)
    downloaded(load, clock, 3, 100 * MB)
    load(LoadProgress("reading", 3, 290))
    now = load.now
    assert (now.stage, now.done, now.total) == ("reading", 3, 290)
    assert (now.bytes_per_s, now.left_s) == (None, None)


def test_a_cancelled_load_ends_at_its_next_word(load: Load) -> None:
    load(LoadProgress("reading", 1, 2))
    load.cancel()
    assert load.now.is_cancelled
    with pytest.raises(LoadCancelledError):
        load(LoadProgress("reading", 2, 2))
