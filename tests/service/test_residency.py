"""Which model leaves first."""

import pytest

from chat_ui.engine.fake import WEIGHT_BYTES, FakeEngine
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec
from chat_ui.service.residency import Resident, Residents


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
def residents(clock: Clock) -> Residents:
    return Residents(clock)


def add(residents: Residents, name: str, precision: Precision = "full") -> Resident:
    return residents.add(FakeEngine(ModelSpec(name, name, "folder"), precision))


def test_a_model_is_found_by_id_and_precision(residents: Residents) -> None:
    full, small = add(residents, "a"), add(residents, "a", "4bit")
    assert residents.find("a", "full") is full
    assert residents.find("a", "4bit") is small
    assert residents.find("b", "full") is None
    residents.remove(full)
    assert residents.find("a", "full") is None
    assert residents.weight_bytes == WEIGHT_BYTES


def test_the_one_used_longest_ago_leaves_first(residents: Residents, clock: Clock) -> None:
    a, b = add(residents, "a"), add(residents, "b")
    clock.now = 5
    residents.touch(a)
    assert residents.first_to_leave(None) is b
    assert residents.first_to_leave(b) is a, "the present one last of all"
    residents.remove(a)
    assert residents.first_to_leave(b) is b


def test_one_that_is_used_never_leaves(residents: Residents, clock: Clock) -> None:
    a = add(residents, "a")
    a.users = 1
    clock.now = 1000
    assert residents.first_to_leave(None) is None
    assert residents.overdue(10) == []
    assert residents.next_due_s(10) == 10


def test_the_idle_ones_are_overdue_in_time(residents: Residents, clock: Clock) -> None:
    a = add(residents, "a")
    clock.now = 4
    b = add(residents, "b")
    assert residents.next_due_s(10) == 6
    clock.now = 10
    assert residents.overdue(10) == [a]
    clock.now = 14
    assert residents.overdue(10) == [a, b]
    assert residents.next_due_s(10) == 0
