"""What `fit` leaves out: as little as possible, and never what matters most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.chat.context import fit
from chat_ui.chat.messages import PromptMessage
from chat_ui.errors import PromptTooLongError

TEMPLATE_TOKENS = 3


def count(messages):
    return sum(len(message.content) + TEMPLATE_TOKENS for message in messages)


def conversation(lengths):
    return [
        PromptMessage("assistant" if i % 2 else "user", "x" * length)
        for i, length in enumerate(lengths)
    ]


def brute_force(system, turns, room):
    """The index of the first message kept: the smallest that fits and is a user's."""
    for start, message in enumerate(turns):
        if message.role == "user" and count([*system, *turns[start:]]) <= room:
            return start
    return None


@given(
    system_prompt=st.sampled_from(["", "  \n", "Be brief.", "Be brief. " * 4]),
    # Odd: the last message is the user's new one.
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=31).filter(lambda x: len(x) % 2),
    window_tokens=st.integers(0, 400),
    reserve_tokens=st.integers(0, 100),
)
def test_drops_as_little_as_possible(system_prompt, lengths, window_tokens, reserve_tokens):
    turns = conversation(lengths)
    system = [PromptMessage("system", system_prompt)] if system_prompt.strip() else []
    room = window_tokens - reserve_tokens
    start = brute_force(system, turns, room)

    def run():
        return fit(
            system_prompt,
            turns,
            count=count,
            window_tokens=window_tokens,
            reserve_tokens=reserve_tokens,
        )

    if start is None:
        with pytest.raises(PromptTooLongError):
            run()
        return
    fitted = run()
    assert list(fitted.messages) == [*system, *turns[start:]]
    assert fitted.messages[-1] == turns[-1]
    assert fitted.dropped == start
    assert fitted.prompt_tokens == count(fitted.messages) <= room


def test_a_long_conversation_is_counted_a_few_times_only():
    calls = []

    def counting(messages):
        calls.append(len(messages))
        return count(messages)

    turns = conversation([10] * 2001)
    fitted = fit("", turns, count=counting, window_tokens=1000, reserve_tokens=100)
    assert fitted.dropped > 1900
    assert len(calls) <= 16  # twice log2 of the turns that fit

    calls.clear()
    fit("", turns[:3], count=counting, window_tokens=1000, reserve_tokens=100)
    assert len(calls) == 1


def test_what_is_counted_of_a_long_history_grows_with_the_window_alone():
    # Short turns before the newest, then long ones: no step may run into all of these at once.
    turns = conversation([8000] * 1000 + [5] * 200 + [1])
    counted = []

    def counting(messages):
        counted.append(count(messages))
        return counted[-1]

    fitted = fit("", turns, count=counting, window_tokens=4000, reserve_tokens=0)
    assert fitted.dropped == 1000
    assert sum(counted) < 100_000


def test_two_questions_in_a_row_are_two_turns():
    turns = [PromptMessage("user", "x" * 50), PromptMessage("user", "y" * 5)]
    fitted = fit("", turns, count=count, window_tokens=20, reserve_tokens=5)
    assert fitted.messages == (turns[1],)


@given(
    lengths=st.lists(st.integers(0, 30), min_size=2, max_size=20).filter(lambda x: not len(x) % 2),
    room=st.integers(0, 400),
)
def test_a_begun_answer_stays_with_its_question(lengths, room):
    turns = conversation(lengths)
    start = brute_force([], turns, room)
    if start is None:
        with pytest.raises(PromptTooLongError, match="the answer so far"):
            fit("", turns, count=count, window_tokens=room, reserve_tokens=0)
        return
    fitted = fit("", turns, count=count, window_tokens=room, reserve_tokens=0)
    assert fitted.messages == tuple(turns[start:])
    assert fitted.messages[-2:] == tuple(turns[-2:])


def test_too_long_says_how_long_and_how_much_room():
    with pytest.raises(PromptTooLongError) as raised:
        fit("s" * 2000, conversation([97]), count=count, window_tokens=1024, reserve_tokens=1000)
    assert "take 2,103 tokens" in str(raised.value)
    assert "room for 24 " in str(raised.value)
    assert raised.value.next_step

    with pytest.raises(PromptTooLongError, match="room for 0 "):
        fit("", conversation([5]), count=count, window_tokens=10, reserve_tokens=100)
