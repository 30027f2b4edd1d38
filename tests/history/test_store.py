"""Every method of the store, and what it does not let happen."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Numbers
from chat_ui.chat.recipe import Recipe
from chat_ui.errors import NotFoundError
from chat_ui.history import rows
from chat_ui.history.store import ROOT, Store

STORES = ("file", "memory")


def ask(store, owner, conversation_id, text="Hello", parent_id=None, **more):
    return store.add_question(owner, conversation_id, text, parent_id, "Be brief.", **more)


def new(store, owner, title="New chat"):
    return store.create(owner, title, "").id


def test_create(store, owner):
    created = store.create(owner, "New chat", "Be kind.")
    assert created == store.conversation(owner, created.id)
    assert (created.title, created.system_prompt, created.head_id) == ("New chat", "Be kind.", None)
    assert created.messages == ()
    assert created.created_at.tzinfo is UTC
    assert abs((datetime.now(UTC) - created.created_at).total_seconds()) < 60


def test_a_question_brings_its_answer(store, owner):
    c = new(store, owner)
    numbers = Numbers(model="Tiny", precision="full", seed=7)
    question, answer = ask(store, owner, c, "What is a cat?\nTell me.", numbers=numbers)
    stored = store.conversation(owner, c)
    assert stored.messages == stored.path() == (question, answer)
    assert (question.role, question.state, question.parent_id) == ("user", "complete", None)
    assert question.numbers == Numbers()
    assert (answer.role, answer.state, answer.content) == ("assistant", "writing", "")
    assert answer.numbers == numbers
    assert stored.title == "What is a cat? Tell me."
    assert stored.system_prompt == "Be brief."
    assert stored.updated_at >= stored.created_at


def test_only_the_first_message_gives_the_title(store, owner):
    c = new(store, owner)
    ask(store, owner, c, "First")
    ask(store, owner, c, "Second")
    ask(store, owner, c, "Another beginning", ROOT)
    assert store.conversation(owner, c).title == "First"


def test_questions_follow_the_head_a_given_answer_or_nothing(store, owner):
    c = new(store, owner)
    q1, a1 = ask(store, owner, c, "1")
    q2, _ = ask(store, owner, c, "2")
    assert q2.parent_id == a1.id
    q3, a3 = ask(store, owner, c, "3", a1.id)
    assert q3.parent_id == a1.id
    assert store.conversation(owner, c).path() == (q1, a1, q3, a3)
    q4, a4 = ask(store, owner, c, "4", ROOT)
    assert store.conversation(owner, c).path() == (q4, a4)
    # Nothing that was written is lost.
    assert [m.content for m in store.conversation(owner, c).messages if m.content] == list("1234")


def test_another_answer_is_a_sibling(store, owner):
    c = new(store, owner)
    question, first = ask(store, owner, c)
    store.update_answer(first.id, "One", "complete")
    second = store.add_answer(owner, c, question.id, numbers=Numbers(seed=1))
    stored = store.conversation(owner, c)
    assert stored.path() == (question, second)
    assert [m.content for m in stored.messages] == ["Hello", "One", ""]
    assert (second.state, second.numbers) == ("writing", Numbers(seed=1))
    assert (stored.title, stored.system_prompt) == ("Hello", "Be brief.")


RECIPE = Recipe("Be brief.", GenerationConfig(0.5, seed=7, stop=("END", "\n\n")), "Well, ")


def test_an_answer_remembers_its_recipe_and_begins_with_what_it_gives(store, owner):
    c = new(store, owner)
    question, first = ask(store, owner, c, recipe=RECIPE)
    assert store.conversation(owner, c).messages == (question, first)
    assert (first.content, first.recipe, question.recipe) == ("Well, ", RECIPE, None)
    store.update_answer(first.id, "Well, no.", "complete")
    second = store.add_answer(owner, c, question.id, recipe=replace(RECIPE, given="a\0\ud800"))
    third = store.add_answer(owner, c, question.id)
    _, first, *others = store.conversation(owner, c).messages
    assert (first.content, first.recipe) == ("Well, no.", RECIPE)
    assert others == [second, third]
    assert (second.content, second.recipe.given) == ("a\ufffd\ufffd", "a\ufffd\ufffd")
    assert (third.content, third.recipe) == ("", None)


@pytest.mark.parametrize(
    "damaged",
    ["no JSON", "[" * 100_000, "1", "[]", '{"config": {"temperature": 9}}', "null", b"\xff"],
)
def test_what_is_damaged_beside_the_text_hides_nothing(store, owner, damaged):
    c = new(store, owner)
    question, answer = ask(store, owner, c, recipe=RECIPE, numbers=Numbers(model="Tiny"))
    with store._transactions.writing.begin() as connection:
        connection.exec_driver_sql("UPDATE messages SET recipe = ?", (damaged,))
    assert store.conversation(owner, c).path() == (question, replace(answer, recipe=None))
    with store._transactions.writing.begin() as connection:
        connection.exec_driver_sql("UPDATE messages SET numbers = ?", (damaged,))
    found = store.conversation(owner, c).path()[-1]
    assert (found.content, found.numbers) == ("Well, ", Numbers())


def test_another_answer_may_come_with_another_system_prompt(store, owner):
    c = new(store, owner)
    question, first = ask(store, owner, c)
    store.update_answer(first.id, "One", "complete")
    store.add_answer(owner, c, question.id, "Be long.")
    assert store.conversation(owner, c).system_prompt == "Be long."


def test_a_question_follows_a_message_of_its_conversation_and_an_answer_a_question(store, owner):
    c, other = new(store, owner), new(store, owner)
    question, answer = ask(store, owner, c)
    with pytest.raises(NotFoundError):
        store.add_answer(owner, c, answer.id)
    # Of the same owner, but in another conversation.
    with pytest.raises(NotFoundError):
        ask(store, owner, other, parent_id=answer.id)
    with pytest.raises(NotFoundError):
        store.add_answer(owner, other, question.id)
    assert len(store.conversation(owner, c).messages) == 2
    assert store.conversation(owner, other).messages == ()


def test_an_answer_grows_and_ends(store, owner):
    c = new(store, owner)
    _, answer = ask(store, owner, c, numbers=Numbers(model="Tiny"))

    def stored():
        return store.conversation(owner, c).messages[-1]

    assert store.update_answer(answer.id, "A c", "writing")
    assert (stored().content, stored().state) == ("A c", "writing")
    assert stored().numbers == Numbers(model="Tiny")
    numbers = Numbers("Tiny", "8bit", 12, 345, 0.5, 20.25, 2, 2**32 - 1)
    assert store.update_answer(answer.id, "A cat", "failed", "No memory.", numbers)
    assert (stored().content, stored().state, stored().error) == ("A cat", "failed", "No memory.")
    assert stored().numbers == numbers


@pytest.mark.parametrize("state", ["complete", "length", "stopped", "failed"])
def test_an_answer_that_ended_is_not_written_again(store, owner, state):
    c = new(store, owner)
    _, answer = ask(store, owner, c)
    assert store.update_answer(answer.id, "All of it", state)
    before = store.conversation(owner, c)
    for late in ("writing", "interrupted", "complete", "failed"):
        assert not store.update_answer(answer.id, "All", late)
    assert store.conversation(owner, c) == before


def test_interrupt_writing_keeps_the_text(store, owner, stranger):
    a, b = new(store, owner), new(store, stranger)
    _, partial = ask(store, owner, a)
    store.update_answer(partial.id, "As far as", "writing")
    _, done = ask(store, owner, a)
    store.update_answer(done.id, "Done.", "complete")
    ask(store, stranger, b)

    assert store.interrupt_writing() == 2
    assert store.interrupt_writing() == 0
    states = [(m.content, m.state) for m in store.conversation(owner, a).messages[1::2]]
    assert states == [("As far as", "interrupted"), ("Done.", "complete")]
    assert store.conversation(stranger, b).messages[-1].state == "interrupted"


def test_a_living_writer_ends_its_answer_after_another_process_interrupted_it(store, owner):
    c = new(store, owner)
    _, answer = ask(store, owner, c)
    store.interrupt_writing()
    assert not store.update_answer(answer.id, "Half", "writing")
    assert store.update_answer(answer.id, "All of it", "complete")
    last = store.conversation(owner, c).messages[-1]
    assert (last.content, last.state) == ("All of it", "complete")


def test_the_list_is_newest_first_whatever_the_clock_says(store, owner, stranger, monkeypatch):
    new(store, stranger)
    ids = [new(store, owner, f"Chat {i}") for i in range(3)]

    class YearsAgo(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(1999, 1, 1, tzinfo=tz)

    monkeypatch.setattr(rows, "datetime", YearsAgo)
    ask(store, owner, ids[0], "Once more")
    listed = store.list.newest(owner)
    assert [c.id for c in listed] == [ids[0], ids[2], ids[1]]
    assert [c.title for c in listed] == ["Once more", "Chat 2", "Chat 1"]
    assert listed[0].updated_at == datetime(1999, 1, 1, tzinfo=UTC)
    assert store.list.newest(owner, limit=1) == listed[:1]
    # The messages too keep their order.
    monkeypatch.undo()
    ask(store, owner, ids[0], "And once more")
    monkeypatch.setattr(rows, "datetime", YearsAgo)
    ask(store, owner, ids[0], "The last")
    asked = [m.content for m in store.conversation(owner, ids[0]).messages[::2]]
    assert asked == ["Once more", "And once more", "The last"]


def test_unknown_numbers_of_a_newer_version_are_left_out(store, owner, monkeypatch):
    c = new(store, owner)
    ask(store, owner, c, numbers=Numbers(model="Tiny", seed=3))
    monkeypatch.setattr(rows, "_NUMBERS", frozenset({"model"}))
    assert store.conversation(owner, c).messages[-1].numbers == Numbers(model="Tiny")


def test_what_is_stored_is_there_after_closing(owner, data_dir):
    store = Store.open(data_dir)
    c = new(store, owner)
    ask(store, owner, c)
    before = store.conversation(owner, c)
    store.close()
    again = Store.open(data_dir)
    assert again.conversation(owner, c) == before
    assert again.notice == ""
    again.close()


def test_eight_threads_write_at_once(store, owner):
    conversations = [new(store, owner) for _ in range(4)]
    begin, failures = threading.Barrier(8), []

    def work(number):
        try:
            begin.wait()
            for i in range(4):
                c = conversations[(number + i) % 4]
                _, answer = ask(store, owner, c, f"{number}.{i}")
                store.update_answer(answer.id, f"Answer {number}.{i}", "complete")
                store.conversation(owner, c)
                store.list.newest(owner)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    asked = []
    for c in conversations:
        conversation = store.conversation(owner, c)
        # Each question followed the head of its moment, so all of them are on one path.
        assert conversation.path() == conversation.messages
        assert all(m.state == "complete" for m in conversation.messages)
        asked += [m.content for m in conversation.messages[::2]]
    assert sorted(asked) == [f"{number}.{i}" for number in range(8) for i in range(4)]
