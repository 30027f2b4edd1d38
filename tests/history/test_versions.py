"""Versions of questions and answers: they stand beside each other, and one of them is shown."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Numbers
from chat_ui.chat.recipe import Recipe
from chat_ui.errors import HistoryError, NotFoundError
from chat_ui.history import rows

STORES = ("file", "memory")

RECIPE = Recipe("Be brief.", GenerationConfig(seed=7, stop=("END",)), "Well, ")


@pytest.fixture
def told(store, owner):
    """A conversation of two turns; its id, and its messages' ids in order."""
    c = store.create(owner, "New chat", "")
    for text in ("One", "Two"):
        _, answer = store.add_question(owner, c.id, text, None, "", recipe=RECIPE)
        store.update_answer(answer.id, f"{text}!", "complete", numbers=Numbers("Tiny", seed=7))
    return c.id, [m.id for m in store.conversation(owner, c.id).messages]


def texts(store, owner, conversation_id):
    return [m.content for m in store.conversation(owner, conversation_id).path()]


def test_another_question_stands_beside_the_first(store, owner, told):
    c, (q1, a1, q2, _) = told
    question, answer = store.versions.ask(owner, c, q2, "Three\0", "Be long.", RECIPE)
    assert (question.role, question.parent_id, question.content) == ("user", a1, "Three\ufffd")
    assert (answer.parent_id, answer.state, answer.content) == (question.id, "writing", "Well, ")
    stored = store.conversation(owner, c)
    assert stored.path()[2:] == (question, answer)
    assert (stored.title, stored.system_prompt) == ("One", "Be long.")
    first, _ = store.versions.ask(owner, c, q1, "Zero", "")
    assert first.parent_id is None
    assert len(store.conversation(owner, c).path()) == 2
    assert len(store.conversation(owner, c).messages) == 8, "nothing is lost"


def test_an_answer_that_a_person_wrote_is_complete_and_no_model_s(store, owner, told):
    c, (q1, a1, *_) = told
    before = store.conversation(owner, c)
    written = store.versions.write(owner, c, a1, "No.")
    assert (written.parent_id, written.state, written.recipe) == (q1, "complete", None)
    assert written.numbers == Numbers()
    stored = store.conversation(owner, c)
    assert stored.path()[-1] == written
    assert stored.messages[:-1] == before.messages
    assert not store.update_answer(written.id, "late", "complete"), "it has ended"
    assert store.interrupt_writing() == 0


def test_showing_a_version_shows_the_newest_that_follows_it(store, owner, told):
    c, (q1, a1, q2, a2) = told
    other = store.versions.write(owner, c, a1, "No.")
    assert store.versions.show(owner, c, a1) == a2
    assert texts(store, owner, c) == ["One", "One!", "Two", "Two!"]
    later, answer = store.versions.ask(owner, c, q2, "Three", "")
    assert store.versions.show(owner, c, other.id) == other.id
    assert store.versions.show(owner, c, a1) == answer.id
    assert store.versions.show(owner, c, q2) == a2
    # The newest leaf of all, whichever was shown last.
    assert store.versions.show(owner, c, q1) == answer.id
    assert store.conversation(owner, c).path()[-2].id == later.id


def test_showing_changes_neither_times_nor_the_list(store, owner, told):
    c, (_, a1, *_) = told
    store.versions.write(owner, c, a1, "No.")
    other = store.create(owner, "Other", "").id
    before, [_, line] = store.conversation(owner, c), store.list.newest(owner)
    head = store.versions.show(owner, c, a1)
    assert store.conversation(owner, c) == replace(before, head_id=head)
    assert line.head_id == before.head_id
    assert [one.id for one in store.list.newest(owner)] == [other, c]
    # How another tab learns of it.
    assert store.list.newest(owner)[1] == replace(line, head_id=head)
    assert store.list.search(owner, "One")[0].head_id == head


def test_only_a_question_is_asked_and_only_an_answer_written(store, owner, told):
    c, (q1, a1, *_) = told
    other = store.create(owner, "Other", "").id
    for call in (
        lambda: store.versions.ask(owner, c, a1, "x", ""),
        lambda: store.versions.write(owner, c, q1, "x"),
        lambda: store.versions.ask(owner, other, q1, "x", ""),
        lambda: store.versions.write(owner, other, a1, "x"),
        lambda: store.versions.show(owner, other, a1),
    ):
        with pytest.raises(NotFoundError):
            call()
    assert len(store.conversation(owner, c).messages) == 4


def test_added_conversations_come_as_they_were_under_other_ids(store, owner, stranger, told):
    c, _ = told
    store.versions.write(owner, c, told[1][1], "No.")
    original = store.conversation(owner, c)
    [new] = store.list.add(stranger, [original])
    copy = store.conversation(stranger, new)
    ids = {m.id for m in (*original.messages, *copy.messages)} | {original.id, copy.id}
    assert len(ids) == 2 * 5 + 2
    assert [replace(m, id="", parent_id="") for m in copy.messages] == [
        replace(m, id="", parent_id="") for m in original.messages
    ]
    assert texts(store, stranger, new) == texts(store, owner, c)
    assert replace(copy, id="", head_id="", messages=()) == replace(
        original, id="", head_id="", messages=()
    )
    assert store.conversation(owner, c) == original
    with pytest.raises(NotFoundError):
        store.conversation(owner, new)


def test_they_stand_above_the_others_the_newest_first(store, owner, told):
    c, _ = told
    found = store.conversation(owner, c)
    days = (2, 5, 1, 5)
    added = store.list.add(
        owner,
        [
            replace(found, title=str(n), updated_at=found.updated_at - timedelta(days=day))
            for n, day in enumerate(days)
        ],
    )
    assert [one.title for one in store.list.newest(owner)] == ["2", "0", "1", "3", found.title]
    assert [store.conversation(owner, id_).title for id_ in added] == list("0123")
    assert store.list.add(owner, []) == []
    # And a new message comes above them all.
    store.add_question(owner, c, "Again", None, "")
    assert store.list.newest(owner)[0].id == c


def test_all_are_added_or_none(store, owner, told, monkeypatch):
    found = store.conversation(owner, told[0])
    broken = replace(found.messages[0], role=None)
    with pytest.raises(HistoryError):
        store.list.add(owner, [found, replace(found, messages=(broken,), head_id=broken.id)])
    assert [one.id for one in store.list.newest(owner)] == [found.id]
    assert len(store.list.add(owner, [found])) == 1


def test_what_no_database_takes_is_replaced_and_nothing_goes_on(store, owner, told):
    found = store.conversation(owner, told[0])
    texts_ = "a\0\ud800"
    odd = replace(
        found.messages[1],
        content=texts_,
        error=texts_,
        state="writing",
        recipe=Recipe(texts_, GenerationConfig(stop=(texts_,)), texts_),
    )
    [new] = store.list.add(
        owner,
        [replace(found, title=texts_, system_prompt=texts_, head_id=odd.id,
                 messages=(found.messages[0], odd))],
    )  # fmt: skip
    copy = store.conversation(owner, new)
    head, clean = copy.path()[-1], rows.storable(texts_)
    assert (copy.title, copy.system_prompt, head.content, head.error) == (clean,) * 4
    assert head.recipe == Recipe(clean, GenerationConfig(stop=(clean,)), clean)
    assert head.state == "stopped"
    assert found.messages[1].state == "complete"
