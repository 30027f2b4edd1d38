"""What the page is told of each message's versions."""

from dataclasses import replace
from unittest.mock import Mock

import pytest

from chat_ui.chat.messages import Message, Numbers
from chat_ui.ui import view
from chat_ui.ui.details import details
from chat_ui.ui.message_bars import bars, digest
from tests.ui.conftest import THEN, conversation_of


def test_a_message_without_other_versions_has_no_place_among_them():
    conversation = conversation_of("Hello", "Hi")
    assert bars(conversation, 30) == [
        {"id": "b0", "role": "user", "parts": 1, "at": 0},
        {"id": "b1", "role": "assistant", "parts": 1, "at": 0},
    ]


def test_the_window_cuts_from_the_beginning():
    conversation = conversation_of(*map(str, range(8)))
    assert [bar["id"] for bar in bars(conversation, 3)] == ["b5", "b6", "b7"]


@pytest.mark.parametrize(
    ("head", "place"),
    [
        ("b1", {"index": 0, "count": 3, "previous": None, "next": "b2"}),
        ("b2", {"index": 1, "count": 3, "previous": "b1", "next": "b3"}),
        ("b3", {"index": 2, "count": 3, "previous": "b2", "next": None}),
    ],
)
def test_versions_are_counted_and_named(head, place):
    conversation = conversation_of("Hello", "Hi")
    more = [Message(id_, "b0", "assistant", "Hey", THEN) for id_ in ("b2", "b3")]
    conversation = replace(conversation, messages=(*conversation.messages, *more), head_id=head)
    assert bars(conversation, 30)[1] == {
        "id": head, "role": "assistant", "parts": 1, "at": 0, **place,
    }  # fmt: skip


@pytest.mark.parametrize("state", ["complete", "length", "stopped", "failed", "writing"])
@pytest.mark.parametrize(
    "text", ["", "  ", "Hi", "<think>", "<think>Hm", "<think>Hm</think>", "<think>Hm</think>Hi"]
)
def test_a_message_has_as_many_parts_as_the_chat_is_given(state, text):
    conversation = conversation_of("Hello", text)
    answer = replace(conversation.messages[1], state=state, error="It failed.")
    conversation = replace(conversation, messages=(conversation.messages[0], answer))
    parts = [part["text"] for entry in view.messages(conversation)[1:] for part in entry["content"]]
    bar = bars(conversation, 30)[1]
    assert bar["parts"] == len(parts)
    if "Hi" in text:
        assert parts[bar["at"]] == "Hi"
    elif "Hm" in text:
        assert bar["at"] == min(1, len(parts) - 1)


def test_the_digest_tells_other_bars_and_not_how_the_last_answer_grows():
    conversation = conversation_of("Hello", "Hi")
    before = digest(bars(conversation, 30))
    thinking = replace(conversation.messages[1], content="<think>Hm</think>Hi")
    grown = replace(conversation, messages=(conversation.messages[0], thinking))
    assert bars(grown, 30) != bars(conversation, 30)
    assert digest(bars(grown, 30)) == before
    other = Message("b2", "b0", "assistant", "Hey", THEN)
    more = replace(conversation, messages=(*conversation.messages, other))
    assert digest(bars(more, 30)) != before
    assert digest(bars(conversation_of("Hello"), 30)) != before
    assert digest([]) != before


def test_the_digest_stays_while_an_answer_is_written_and_tells_its_end():
    def growing(count: int, state: str) -> str:
        conversation = conversation_of("Hello", "Hi")
        numbers = Numbers(model="Qwen3 0.6B", precision="full", completion_tokens=count)
        answer = replace(conversation.messages[1], numbers=numbers, state=state)  # type: ignore[arg-type]
        messages = (conversation.messages[0], answer)
        return digest(bars(replace(conversation, messages=messages), 30))

    assert growing(1, "writing") == growing(2, "writing") != growing(2, "complete")


def test_an_answer_s_details_are_computed_once_for_its_bar(monkeypatch):
    counted = Mock(side_effect=details)
    monkeypatch.setattr("chat_ui.ui.message_bars.details", counted)
    question, answer = conversation_of("Hello", "Hi").messages
    numbers = Numbers(model="Qwen3 0.6B", precision="full", seed=3)
    answer = replace(answer, numbers=numbers)
    conversation = replace(conversation_of("Hello", "Hi"), messages=(question, answer))
    bar = bars(conversation, 30)[1]
    assert (bar["facts"], bar["settings"]) == ("Qwen3 0.6B · Full", "Seed 3")
    assert counted.call_count == 1


def test_an_answer_that_is_written_keeps_the_place_of_its_facts():
    question, answer = conversation_of("Hello", "Hi").messages
    growing = replace(answer, state="writing", numbers=Numbers(model="Qwen3 0.6B"))
    conversation = replace(conversation_of("Hello", "Hi"), messages=(question, growing))
    assert bars(conversation, 30)[1]["facts"] == ""
