"""The list of conversations: what it finds, and what it does to them."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from chat_ui.errors import InvalidRequestError, NotFoundError
from chat_ui.history.conversation_list import SEARCH_CHARS, TITLE_CHARS
from chat_ui.history.tables import conversations, messages

STORES = ("file", "memory")


def told(store, owner, question, answer="An answer."):
    c = store.create(owner, "New chat", "")
    _, written = store.add_question(owner, c.id, question, None, "")
    store.update_answer(written.id, answer, "complete")
    return c.id


def ids(summaries):
    return [summary.id for summary in summaries]


def rows(store):
    with store._transactions.read() as connection:
        return [
            connection.scalar(select(func.count()).select_from(table))
            for table in (conversations, messages)
        ]


def test_pinned_ones_stand_above_the_others(store, owner):
    old, newer, newest = (told(store, owner, text) for text in "abc")
    store.list.pin(owner, old, True)
    assert ids(store.list.newest(owner)) == [old, newest, newer]
    assert [c.is_pinned for c in store.list.newest(owner)] == [True, False, False]
    store.list.pin(owner, old, False)
    assert ids(store.list.newest(owner)) == [newest, newer, old]


def test_rename(store, owner):
    c = told(store, owner, "Hello")
    store.list.rename(owner, c, "  Cats\n and dogs ")
    assert store.conversation(owner, c).title == "Cats and dogs"
    store.add_question(owner, c, "A later question", None, "")
    assert store.conversation(owner, c).title == "Cats and dogs"


@pytest.mark.parametrize("title", ["", " \n ", "x" * (TITLE_CHARS + 1)])
def test_what_is_no_title_is_refused(store, owner, title):
    c = told(store, owner, "Hello")
    with pytest.raises(InvalidRequestError, match="A title has"):
        store.list.rename(owner, c, title)
    assert store.conversation(owner, c).title == "Hello"


def test_a_deleted_conversation_is_found_by_nothing_but_its_undo(store, owner):
    c, other = told(store, owner, "Hello"), told(store, owner, "Other")
    before = store.conversation(owner, c)
    store.list.delete(owner, c)
    assert ids(store.list.newest(owner)) == [other]
    assert store.list.search(owner, "Hello") == []
    for call in (
        lambda: store.conversation(owner, c),
        lambda: store.add_question(owner, c, "x", None, ""),
        lambda: store.list.delete(owner, c),
        lambda: store.list.pin(owner, c, True),
        lambda: store.list.rename(owner, c, "x"),
    ):
        with pytest.raises(NotFoundError):
            call()
    store.list.restore(owner, c)
    assert store.conversation(owner, c) == before
    assert ids(store.list.newest(owner)) == [other, c]


def test_nothing_but_what_is_deleted_is_restored(store, owner):
    with pytest.raises(NotFoundError):
        store.list.restore(owner, told(store, owner, "Hello"))


def test_purged_rows_are_gone(store, owner):
    c, kept = told(store, owner, "Hello"), told(store, owner, "Kept")
    store.list.delete(owner, c)
    assert store.list.purge(datetime.now(UTC) - timedelta(seconds=60)) == 0
    assert rows(store) == [2, 4]
    assert store.list.purge(datetime.now(UTC) + timedelta(seconds=1)) == 1
    assert rows(store) == [1, 2]
    with pytest.raises(NotFoundError):
        store.list.restore(owner, c)
    assert ids(store.list.newest(owner)) == [kept]


def test_search_finds_titles_and_messages(store, owner):
    cats = told(store, owner, "Tell me of cats")
    dogs = told(store, owner, "Of dogs", "They chase CATS, at times.")
    told(store, owner, "Of fish")
    found = store.list.search(owner, " cats ")
    assert ids(found) == [dogs, cats]
    assert [one.found for one in found] == ["They chase CATS, at times.", ""]


def test_search_shows_the_text_around_what_it_found(store, owner):
    told(store, owner, "Long", "before " * 50 + "the needle\nhere" + " after" * 50)
    [one] = store.list.search(owner, "needle")
    assert one.found.startswith("…")
    assert one.found.endswith("…")
    assert "the needle here after" in one.found
    assert len(one.found) < 100


@pytest.mark.parametrize(
    ("text", "words"), [("Über Äpfel", "über ä"), ("ПРИВЕТ", "привет"), ("猫が好き", "が好")]
)
def test_search_knows_other_letters(store, owner, text, words):
    c = told(store, owner, "x", text)
    assert ids(store.list.search(owner, words)) == [c]


@pytest.mark.parametrize("words", ["%", "_", "/", "\\", "'", '"'])
def test_search_takes_signs_for_themselves(store, owner, words):
    told(store, owner, "Nothing of it")
    c = told(store, owner, f"A sign {words} here")
    assert ids(store.list.search(owner, words)) == [c]


def test_search_finds_only_the_owner_s(store, owner, stranger):
    told(store, stranger, "Secret", "Secret")
    assert store.list.search(owner, "Secret") == []


def test_a_search_for_nothing_finds_nothing_and_one_too_long_is_refused(store, owner):
    told(store, owner, "Hello")
    assert store.list.search(owner, " ") == []
    with pytest.raises(InvalidRequestError, match="up to 200 characters"):
        store.list.search(owner, "x" * (SEARCH_CHARS + 1))
