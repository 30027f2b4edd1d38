"""Our own files, changed by hand: what is mended, and what is refused."""

import json
from datetime import timedelta

import pytest

from chat_ui.chat import imports
from chat_ui.chat.exchange import Imported, read, to_json
from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.recipe import Recipe
from chat_ui.errors import InvalidRequestError
from tests.chat.test_exchange import (
    BRANCHED,
    EARLIER,
    NOW,
    changed,
    conversation,
    message,
    read_one,
)


def refusal(text):
    with pytest.raises(InvalidRequestError) as raised:
        read(text, NOW)
    assert raised.value.sentence.endswith(".")
    assert raised.value.next_step.endswith(".")
    return raised.value.sentence


@pytest.mark.parametrize(
    "value",
    [
        None, "", "yesterday", "0001-01-01T00:00:00+23:59", "1970-01-01T00:00:00Z",
        "2026-11-28T00:00:00Z", 0, -5, True, 10**400, 1e300, float("nan"), [],
    ],
)  # fmt: skip
def test_absurd_times_give_way(value):
    text = changed(lambda c: c.update(created_at=value))
    assert read_one(text).created_at == NOW
    text = changed(lambda c: [m.update(created_at=value) for m in c["messages"]])
    assert {m.created_at for m in read_one(text).messages} == {EARLIER}


def test_a_time_that_lies_in_the_future_becomes_now():
    ahead = (NOW + timedelta(hours=5)).isoformat()

    def move(c):
        c.update(created_at=ahead, updated_at=ahead)
        c["messages"][-1].update(created_at=ahead)

    found = read_one(changed(move))
    assert (found.created_at, found.updated_at) == (NOW, NOW)
    assert found.messages[-1].created_at == NOW


@pytest.mark.parametrize("head_id", [None, "gone", 7, ["q2"]])
def test_a_head_that_does_not_exist_gives_way_to_the_newest_leaf(head_id):
    assert read_one(changed(lambda c: c.update(head_id=head_id))).head_id == "q2"


def test_parents_come_before_children_and_missing_ones_are_none():
    def reverse(c):
        c["messages"].reverse()
        c["messages"][-1]["parent_id"] = "gone"

    found = read_one(changed(reverse))
    assert [m.id for m in found.messages] == ["q1", "a2", "a1", "q2"]
    assert found.messages[0].parent_id is None
    assert [m.id for m in found.path()] == ["q1", "a1", "q2"]


@pytest.mark.parametrize("title", [None, "", " \n", 5])
def test_a_title_that_is_missing_is_made(title):
    assert read_one(changed(lambda c: c.update(title=title))).title == "text"
    assert read_one(changed(lambda c: c.update(title=title, messages=[]))).title == "New chat"


def test_a_long_title_is_cut():
    assert len(read_one(changed(lambda c: c.update(title="word " * 100))).title) <= 60


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c["messages"][0].update(role="wizard"), "role"),
        (lambda c: c["messages"][0].update(role=["user"]), "role"),
        (lambda c: c["messages"][0].update(state="asleep"), "state"),
        (lambda c: c["messages"][0].update(content=None), "text"),
        (lambda c: c["messages"][0].update(error=5), "text"),
        (lambda c: c["messages"][0].update(id=1), "id"),
        (lambda c: c["messages"][0].update(parent_id=1), "id"),
        (lambda c: c["messages"][0].update(id="a1"), "same id"),
        (lambda c: c["messages"][0].update(parent_id="q2"), "circle"),
        (lambda c: c["messages"][3].update(parent_id="q2"), "circle"),
        (lambda c: c["messages"].append("text"), "message"),
        (lambda c: c.update(system_prompt=None), "text"),
        (lambda c: c.update(messages={}), "conversations"),
    ],
)
def test_what_would_change_what_was_said_is_refused(change, why):
    assert why in refusal(changed(change))
    document = json.loads(changed(change))
    document["conversations"].append(json.loads(to_json([BRANCHED]))["conversations"][0])
    assert read(json.dumps(document), NOW) == Imported((BRANCHED,), left_out=1)


def test_limits_are_said_with_their_numbers(monkeypatch):
    monkeypatch.setattr(imports, "MAX_MESSAGES", 3)
    assert "4 messages, and 3 " in refusal(to_json([BRANCHED]))
    monkeypatch.setattr(imports, "MAX_CHARS", 1500)
    long = conversation(message("q1", content="x" * 1501))
    assert "1,501 characters, and 1,500 " in refusal(to_json([long]))
    monkeypatch.setattr("chat_ui.chat.exchange.MAX_CONVERSATIONS", 1)
    assert "2 conversations; 1 " in refusal(to_json([long, long]))


def test_one_conversation_and_a_list_of_them_are_taken_too():
    listed = json.loads(to_json([BRANCHED]))["conversations"]
    assert read_one(json.dumps(listed)) == BRANCHED
    assert read_one("\ufeff" + json.dumps(listed[0])) == BRANCHED
    assert read(to_json([])) == Imported(())


def test_another_version_is_not_guessed_at():
    text = to_json([BRANCHED]).replace('"version": 1', '"version": 2')
    assert "version" in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "no JSON", "[]", "{}", "null", "1", '"text"', "[[]]", "[null]", '{"chats": []}',
        '{"format": "chat_ui", "version": 1}', '{"chats": 1}', '{"messages": 1}', "[" * 100_000,
        '{"a":' * 100_000, "1" * 5000, "NaN", '[{"mapping": []}]', '{"messages": [], "history": 1}',
    ],
)  # fmt: skip
def test_other_files_are_refused_with_a_sentence_of_what_can_be_imported(text):
    with pytest.raises(InvalidRequestError) as raised:
        read(text, NOW)
    if "messages" not in text:
        assert "ChatGPT" in raised.value.next_step
        assert "Open WebUI" in raised.value.next_step


@pytest.mark.parametrize(
    "recipe", [None, 7, [], {}, {"config": 1}, {"system_prompt": "", "config": {"top_p": 0}}]
)
def test_a_recipe_that_is_none_is_not_known(recipe):
    text = changed(lambda c: [m.update(recipe=recipe) for m in c["messages"]])
    assert read_one(text) == BRANCHED
    assert read_one(changed(lambda c: [m.pop("recipe") for m in c["messages"]])) == BRANCHED


def test_a_recipe_s_texts_are_checked_as_others_are(monkeypatch):
    recipe = {"system_prompt": "a\ud800", "given": "\udfff", "config": {"stop": ["\ud800"]}}
    found = read_one(changed(lambda c: c["messages"][1].update(recipe=recipe))).messages[1].recipe
    assert found == Recipe("a\ufffd", GenerationConfig(stop=("\ufffd",)), "\ufffd")
    monkeypatch.setattr(imports, "MAX_CHARS", 4)
    long = recipe | {"given": "x" * 5}
    text = changed(lambda c: c["messages"][1].update(recipe=long))
    assert read_one(text).messages[1].recipe is None
