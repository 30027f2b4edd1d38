"""The database fails while the app runs: a sentence, nothing half-done, and it works again."""

import logging
import os
import sqlite3
import threading
import traceback
from contextlib import closing, suppress

import pytest
from sqlalchemy import event

from chat_ui.errors import HistoryError
from chat_ui.history import database
from chat_ui.history.store import Store

CANARY = "canary-in-a-coal-mine"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.02)


def failure(call, *args):
    """The error's text, without a trace of what was written in it or in what is logged."""
    with pytest.raises(HistoryError) as raised:
        call(*args)
    assert raised.value.sentence.endswith(".")
    assert raised.value.next_step.endswith(".")
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    return str(raised.value)


def every_write(store, owner, conversation, question, answer):
    return [
        (store.create, owner, "New chat", CANARY * 1000),
        (store.add_question, owner, conversation.id, CANARY * 1000, None, ""),
        (store.add_answer, owner, conversation.id, question.id),
        (store.update_answer, answer.id, CANARY * 1000, "complete"),
        (store.interrupt_writing,),
    ]


@pytest.fixture
def started(store, owner):
    conversation = store.create(owner, "New chat", "")
    question, answer = store.add_question(owner, conversation.id, "Hello", None, "")
    return store.conversation(owner, conversation.id), question, answer


def pragma(store, text):
    """For the writer's connections from now on; what is returned ends it."""

    def set_pragma(connection, _record):
        connection.execute(f"PRAGMA {text}").close()

    event.listen(store._transactions.writing, "connect", set_pragma)
    store._transactions.writing.dispose()

    def end():
        event.remove(store._transactions.writing, "connect", set_pragma)

    return end


def test_disk_full(store, owner, started, caplog):
    conversation = started[0]
    end = pragma(store, "max_page_count = 1")  # SQLite takes what there is already for the least
    big = every_write(store, owner, *started)
    for call in (big[0], big[1], big[3]):
        assert "disk is full" in failure(*call)
    assert store.conversation(owner, conversation.id) == conversation
    assert CANARY not in caplog.text
    end()
    for call in big:
        call[0](*call[1:])


def test_read_only(store, owner, started):
    conversation = started[0]
    end = pragma(store, "query_only = ON")
    for call in every_write(store, owner, *started):
        assert "can't be opened or written" in failure(*call)
    assert store.conversation(owner, conversation.id) == conversation
    end()
    # The connection that failed would still be read-only.
    for call in every_write(store, owner, *started):
        call[0](*call[1:])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write what is read-only")
def test_a_read_only_file_that_is_made_writable(store, owner, started, data_dir):
    conversation = started[0]
    store.close()
    (data_dir / "chat_ui.db").chmod(0o400)
    assert "can't be opened or written" in failure(store.create, owner, "New chat", "")
    assert store.conversation(owner, conversation.id) == conversation
    for path in data_dir.iterdir():
        path.chmod(0o600)
    # One more failure may be needed to find the reader's connection out.
    with suppress(HistoryError):
        store.create(owner, "New chat", "")
    store.create(owner, "New chat", "")


@pytest.mark.usefixtures("impatient")
def test_locked_for_longer_than_we_wait(data_dir, owner):
    store = Store.open(data_dir)
    conversation = store.create(owner, "New chat", "")
    question, answer = store.add_question(owner, conversation.id, "Hello", None, "")
    conversation = store.conversation(owner, conversation.id)
    with closing(sqlite3.connect(data_dir / "chat_ui.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for call in every_write(store, owner, conversation, question, answer):
            assert "busy" in failure(*call)
        # Reading goes on.
        assert store.conversation(owner, conversation.id) == conversation
    for call in every_write(store, owner, conversation, question, answer):
        call[0](*call[1:])
    store.close()


def test_locked_for_a_moment_is_waited_for(store, owner, data_dir):
    asking, done = threading.Event(), []

    thread = threading.Thread(target=lambda: done.append(store.create(owner, "New chat", "")))
    with closing(sqlite3.connect(data_dir / "chat_ui.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        event.listen(store._transactions.writing, "before_cursor_execute", lambda *_: asking.set())
        thread.start()
        assert asking.wait(10)
        other.execute("COMMIT")
    thread.join()
    assert [c.id for c in store.list.newest(owner)] == [done[0].id]


@pytest.mark.usefixtures("impatient")
def test_a_writer_that_hangs_does_not_hold_the_others_for_ever(data_dir, owner):
    store = Store.open(data_dir)
    with store._transactions.writing.connect():
        assert "busy" in failure(store.create, owner, "New chat", "")
    store.create(owner, "New chat", "")
    store.close()


def test_a_file_damaged_while_we_run(store, owner, started, data_dir):
    conversation = started[0]
    store.close()
    path = data_dir / "chat_ui.db"
    good = path.read_bytes()
    path.write_bytes(b"?" * len(good))
    assert "damaged" in failure(store.conversation, owner, conversation.id)
    assert "damaged" in failure(store.create, owner, "New chat", "")
    path.write_bytes(good)
    assert store.conversation(owner, conversation.id) == conversation


def test_a_file_that_cannot_be_opened(store, owner, started, data_dir):
    conversation = started[0]
    store.close()
    os.rename(data_dir, data_dir.with_name("elsewhere"))
    assert "can't be opened or written" in failure(store.create, owner, "New chat", "")
    failure(store.conversation, owner, conversation.id)
    os.rename(data_dir.with_name("elsewhere"), data_dir)
    assert store.conversation(owner, conversation.id) == conversation


def test_the_log_has_the_cause_and_not_the_words(store, owner, data_dir, caplog):
    caplog.set_level(logging.DEBUG)
    with closing(sqlite3.connect(data_dir / "chat_ui.db")) as other:
        other.execute("DROP TABLE messages")
    c = store.create(owner, "New chat", CANARY)
    assert "could not be read or written" in failure(
        store.add_question, owner, c.id, CANARY, None, CANARY
    )
    assert "no such table: messages" in caplog.text
    assert CANARY not in caplog.text
