"""Owners take turns."""

from chat_ui.engine.turns import Turns


def all_of(turns: Turns) -> list[str]:
    taken = []
    while turns:
        assert turns.first() == turns.first()
        first = turns.first()
        assert turns.take() == first
        taken.append(first)
    return taken


def test_one_owner_is_served_in_order() -> None:
    turns = Turns()
    for name in "abc":
        turns.add("one", name)
    assert all_of(turns) == ["a", "b", "c"]


def test_a_hundred_requests_hold_nobody_up_by_more_than_one() -> None:
    turns = Turns()
    for number in range(100):
        turns.add("many", str(number))
    turns.add("late", "x")
    turns.add("later", "y")
    assert all_of(turns)[:4] == ["0", "x", "y", "1"]


def test_first_come_first_served_among_owners() -> None:
    turns = Turns()
    for owner in "dabc":
        turns.add(owner, owner)
    assert all_of(turns) == ["d", "a", "b", "c"]


def test_who_was_served_queues_behind_the_others() -> None:
    turns = Turns()
    for owner, name in (("a", "a1"), ("b", "b1"), ("a", "a2")):
        turns.add(owner, name)
    assert turns.take() == "a1"
    turns.add("c", "c1")
    assert all_of(turns) == ["b1", "a2", "c1"]


def test_who_has_nothing_left_comes_last_when_he_comes_again() -> None:
    turns = Turns()
    turns.add("a", "a1")
    turns.add("b", "b1")
    turns.take()
    turns.add("a", "a2")
    assert all_of(turns) == ["b1", "a2"]


def test_one_that_is_gone_is_not_served() -> None:
    turns = Turns()
    for owner, name in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        turns.add(owner, name)
    turns.discard("a", "a1")
    turns.discard("b", "b1")
    turns.discard("b", "b1")
    turns.discard("nobody", "x")
    assert all_of(turns) == ["a2"]
