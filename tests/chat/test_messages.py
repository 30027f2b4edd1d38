"""Conversations as values: the path that is shown, what the model is shown of it, and the title."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.chat.messages import (
    TITLE_CHARS,
    Conversation,
    Message,
    Numbers,
    PromptMessage,
    prompt_messages,
    shown_from,
    title_of,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def message(id_, parent_id=None, role="user", content="text", **fields):
    return Message(id_, parent_id, role, content, NOW, **fields)


def tree(*messages, head_id=None):
    return Conversation("c", "Title", "", NOW, NOW, head_id, messages)


def test_path_follows_the_parents_from_the_head():
    conversation = tree(
        message("q1"),
        message("a1", "q1", "assistant"),
        message("a2", "q1", "assistant"),
        message("q2", "a1"),
        message("q3", "a2"),
        head_id="q3",
    )
    assert [m.id for m in conversation.path()] == ["q1", "a2", "q3"]
    assert [m.id for m in conversation.path("q2")] == ["q1", "a1", "q2"]
    assert [m.id for m in conversation.path("q1")] == ["q1"]


def test_path_of_nothing_and_of_an_unknown_leaf():
    assert tree().path() == ()
    with pytest.raises(KeyError):
        tree(message("q1"), head_id="q1").path("another")


@given(st.lists(st.integers(0, 100), max_size=30), st.data())
def test_path_ends_at_the_leaf_and_begins_at_a_root(parents, data):
    messages = [message("0")]
    for i, parent in enumerate(parents, 1):
        messages.append(message(str(i), str(parent % i)))
    leaf = data.draw(st.sampled_from(messages)).id
    path = tree(*messages).path(leaf)
    assert path[0].parent_id is None
    assert path[-1].id == leaf
    assert all(child.parent_id == parent.id for parent, child in pairwise(path))


def test_prompt_leaves_out_empty_answers_and_joins_the_questions_around():
    path = [
        message("1", content="Hello?"),
        message("2", role="assistant", content="", state="failed", error="No."),
        message("3", content="Hello again?"),
        message("4", role="assistant", content="Hi", state="interrupted"),
        message("5", content="  indented\n"),
        message("6", role="assistant", content="", state="writing"),
    ]
    assert prompt_messages(path) == [
        PromptMessage("user", "Hello?\n\nHello again?"),
        PromptMessage("assistant", "Hi"),
        PromptMessage("user", "  indented\n"),
    ]
    assert prompt_messages([]) == []


def test_prompt_leaves_out_the_thoughts_of_answers_only():
    path = [
        message("1", content="What does <think> mean?"),
        message("2", role="assistant", content="<think>\nHm\n</think>\n\nIt opens a thought."),
        message("3", content="<think>loud</think> Go on"),
        message("4", role="assistant", content="<think>Only thought", state="stopped"),
        message("5", content="And?"),
        message("6", role="assistant", content="<think>\n</think>Yes"),
    ]
    assert prompt_messages(path) == [
        PromptMessage("user", "What does <think> mean?"),
        PromptMessage("assistant", "It opens a thought."),
        PromptMessage("user", "<think>loud</think> Go on\n\nAnd?"),
        PromptMessage("assistant", "Yes"),
    ]
    assert [first for first, _ in shown_from(path)] == ["1", "2", "3", "6"]


@given(st.lists(st.sampled_from(["", "a", " b\n"]), max_size=20))
def test_prompt_roles_alternate_and_no_word_is_lost(contents):
    roles = ("user", "assistant")
    path = [message(str(i), role=roles[i % 2], content=c) for i, c in enumerate(contents)]
    shown = prompt_messages(path)
    assert all(a.role != b.role for a, b in pairwise(shown))
    for role in roles:
        written = "".join(m.content for m in path if m.role == role)
        prompted = "".join(m.content for m in shown if m.role == role)
        assert prompted.replace("\n", "") == written.replace("\n", "")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("", "New chat"),
        (" \n\t\u2028", "New chat"),
        ("  Two\n\n lines\there ", "Two lines here"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("中" * 100, "中" * 59 + "…"),
        ("word " * 20, "word " * 10 + "word word…"),
        # The word that ends just where the title has to: it is whole, so it stays.
        ("a" * 50 + " " + "b" * 8 + " c", "a" * 50 + " " + "b" * 8 + "…"),
        ("See https://example.com/" + "x" * 100, "See https://example.com/" + "x" * 35 + "…"),
    ],
)
def test_title(text, title):
    assert title_of(text) == title


@given(st.text())
def test_title_is_one_short_line_that_begins_the_text(text):
    title = title_of(text)
    assert 0 < len(title) <= TITLE_CHARS
    assert len(title.splitlines()) == 1
    assert title == "New chat" or " ".join(text.split()).startswith(title.removesuffix("…"))


def test_siblings_have_the_same_parent_and_role_in_order_of_creation():
    def message(id_, parent_id, role="assistant"):
        return Message(id_, parent_id, role, "", NOW)

    messages = (
        message("q1", None, "user"),
        message("a1", "q1"),
        message("a2", "q1"),
        message("q2", None, "user"),
        message("q3", "a2", "user"),
        message("note", "a2", "system"),
        message("a3", "q1"),
        message("a4", "q3"),
    )
    conversation = Conversation("c", "", "", NOW, NOW, "a4", messages)
    found = conversation.siblings(conversation.path())
    assert [[m.id for m in versions] for versions in found] == [
        ["q1", "q2"], ["a1", "a2", "a3"], ["q3"], ["a4"],
    ]  # fmt: skip
    assert conversation.siblings(()) == []
    assert conversation.siblings(messages[1:2]) == [(messages[1], messages[2], messages[6])]


FIRST = Numbers(
    "Small", "full", 40, 11, 0.5, 10.0, seed=1, reused_tokens=8, drafted_tokens=4,
    accepted_tokens=2, assisted_speedup=1.5, thought_s=0.25, model_id="a/small",
)  # fmt: skip


def test_the_numbers_of_an_answer_that_went_on_are_of_the_whole():
    rest = Numbers(
        "Small", "full", 60, 21, 0.25, 5.0, dropped_messages=2, seed=2, reused_tokens=50,
        drafted_tokens=1, accepted_tokens=1, thought_s=0.5, model_id="a/small",
    )  # fmt: skip
    # 10 tokens in 1 s and 20 in 4 s.
    assert rest.after(FIRST) == Numbers(
        "Small", "full", 40, 32, 0.5, 6.0, dropped_messages=2, seed=2, reused_tokens=8,
        drafted_tokens=5, accepted_tokens=3, assisted_speedup=1.5, thought_s=0.75,
        model_id="a/small",
    )  # fmt: skip


def test_before_its_first_new_token_an_answer_that_goes_on_has_the_numbers_it_had():
    begun = Numbers("Small", "full", 60, seed=2, model_id="a/small")
    assert begun.after(FIRST) == replace(FIRST, seed=2)


@pytest.mark.parametrize(
    "earlier",
    [
        Numbers(),
        replace(FIRST, model_id="a/large"),
        replace(FIRST, precision="4bit"),
        replace(FIRST, completion_tokens=None),
    ],
)
def test_what_another_began_is_in_no_number(earlier):
    rest = replace(FIRST, completion_tokens=3)
    assert rest.after(earlier) == rest
    assert Numbers(seed=2).after(earlier) == Numbers(seed=2)
