"""The store in memory: nothing on a disk, one connection, and tables whatever becomes of that."""

import logging
import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData

from chat_ui.chat.messages import is_temporary
from chat_ui.errors import HistoryError, NotFoundError
from chat_ui.history import database, rows
from chat_ui.history.database import memory_engine, migrate, reading_engine
from chat_ui.history.store import Store
from tests.history.test_migrations import described

CANARY = "canary-in-a-coal-mine"


@pytest.fixture
def memory():
    store = Store.in_memory()
    yield store
    store.close()


def told(store, owner, text="Hello"):
    c = store.create(owner, "New chat", "").id
    _, answer = store.add_question(owner, c, text, None, "")
    store.update_answer(answer.id, f"{text}!", "complete")
    return c


def opened_files():
    """The files that this process has open, the names of deleted ones too."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(link))
    return {path for path in found if path.startswith("/") and not path.startswith("/dev/")}


def test_its_tables_are_those_of_the_migrations(tmp_path):
    migrate(tmp_path / "test.db")
    of_file, of_memory = reading_engine(tmp_path / "test.db"), memory_engine()
    migrated, made = MetaData(), MetaData()
    migrated.reflect(of_file)
    made.reflect(of_memory)
    migrated.remove(migrated.tables["alembic_version"])
    assert set(migrated.tables) == set(made.tables)
    for name, table in migrated.tables.items():
        assert described(table) == described(made.tables[name])
    with of_memory.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, migrated) == []
    of_file.dispose()
    of_memory.dispose()


def test_there_is_one_connection_for_all_threads(memory, owner):
    gate, failures = threading.Barrier(8), []

    def work(number):
        try:
            gate.wait(10)
            for _ in range(10):
                c = told(memory, owner, f"text {number}")
                assert memory.conversation(owner, c).messages[1].content == f"text {number}!"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(memory.list.newest(owner)) == 80
    assert memory._transactions.reading is memory._transactions.writing
    assert memory._transactions.writing.pool.checkedin() == 1


def test_two_stores_have_nothing_in_common(memory, owner):
    c = told(memory, owner)
    other = Store.in_memory()
    with pytest.raises(NotFoundError):
        other.conversation(owner, c)
    other.close()
    assert len(memory.list.newest(owner)) == 1


def test_sqlite_keeps_all_of_it_in_memory(memory):
    with memory._transactions.writing.connect() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "secure_delete", "temp_store", "foreign_keys")
        }
        files = connection.exec_driver_sql("PRAGMA database_list").all()
    assert values == {"journal_mode": "memory", "secure_delete": 1, "temp_store": 2} | {
        "foreign_keys": 1
    }
    assert [file for _, _, file in files] == [""]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell")
def test_no_file_is_opened_whatever_is_done(memory, owner, monkeypatch, tmp_path):
    """Large sorts and rollbacks are what SQLite would make files for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    before = opened_files()
    with memory._transactions.writing.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a)")
        connection.exec_driver_sql(
            "WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 30000) "
            "INSERT INTO t SELECT hex(randomblob(500)) FROM n"
        )
        rows_ = connection.exec_driver_sql("SELECT a FROM t ORDER BY a")
        rows_.fetchone()
        assert opened_files() == before
        rows_.close()
        connection.exec_driver_sql("UPDATE t SET a = a || 'x'")
        assert opened_files() == before
        connection.exec_driver_sql("DROP TABLE t")
    told(memory, owner)
    assert opened_files() == before
    assert list(tmp_path.iterdir()) == []


def test_an_error_loses_nothing_but_what_failed(memory, owner, monkeypatch):
    c = told(memory, owner)
    before = memory.conversation(owner, c)
    with suppress(HistoryError), memory._transactions.write() as connection:
        connection.exec_driver_sql("DELETE FROM conversations")
        connection.exec_driver_sql("SELECT nothing FROM nowhere")
        raise AssertionError("there is no such table")
    assert memory.conversation(owner, c) == before
    # Nor does one who waited too long.
    monkeypatch.setattr(memory._transactions.writing.pool, "_timeout", 0.02)
    with memory._transactions.writing.connect(), pytest.raises(HistoryError, match="busy"):
        memory.create(owner, "New chat", "")
    assert memory.conversation(owner, c) == before


def test_a_lost_connection_leaves_an_empty_store_that_works(memory, owner):
    c = told(memory, owner)
    with memory._transactions.writing.connect() as connection:
        connection.invalidate()
    with pytest.raises(NotFoundError):
        memory.conversation(owner, c)
    assert memory.list.newest(owner) == []
    assert memory.conversation(owner, told(memory, owner)).title == "Hello"


def test_a_full_store_says_so_loses_nothing_and_takes_more_when_some_are_gone(
    owner, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(database, "_MEMORY_PRAGMAS", ("temp_store = MEMORY", "max_page_count = 60"))
    memory = Store.in_memory()
    c = told(memory, owner)
    before = memory.conversation(owner, c)
    with pytest.raises(HistoryError, match="no room for more temporary chats"):
        memory.create(owner, "New chat", CANARY * 20_000)
    assert memory.conversation(owner, c) == before
    assert CANARY not in caplog.text
    big = told(memory, owner, "x" * 90_000)
    with pytest.raises(HistoryError):
        told(memory, owner, "x" * 90_000)
    memory.list.remove([big])
    told(memory, owner, "x" * 90_000)
    memory.close()


def test_removing_takes_the_messages_along(memory, owner, stranger):
    gone, stays = told(memory, owner), told(memory, stranger)
    memory.list.remove([gone, "nothing"])
    memory.list.remove([])
    with pytest.raises(NotFoundError):
        memory.list.restore(owner, gone)
    with memory._transactions.writing.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM messages").scalar() == 2
    assert memory.conversation(stranger, stays).title == "Hello"


def test_its_ids_are_known_by_their_first_letter_and_random_beyond(memory, store, owner):
    temporary = [told(memory, owner) for _ in range(50)]
    temporary += memory.list.add(owner, [memory.conversation(owner, temporary[0])])
    kept = [told(store, owner)]
    # One that comes in a file under such an id gets another one.
    kept += store.list.add(owner, [memory.conversation(owner, temporary[0])])
    assert all(map(is_temporary, temporary))
    assert not any(map(is_temporary, kept))
    assert len({id_[1:] for id_ in temporary}) == 51
    assert {len(id_) for id_ in temporary + kept} == {32}
    for id_ in temporary:
        assert rows.checked(id_) == id_
        with pytest.raises(NotFoundError):
            store.conversation(owner, id_)
    assert memory.conversation(owner, temporary[0]).is_temporary
    assert not store.conversation(owner, kept[0]).is_temporary


@given(st.one_of(st.text(), st.none(), st.integers(), st.binary(), st.lists(st.text())))
def test_anything_may_be_asked_whether_it_is_temporary(value):
    assert is_temporary(value) == (isinstance(value, str) and value[:1] == "t")


def test_a_summary_is_what_the_list_has(memory, owner, stranger):
    c = told(memory, owner)
    assert [memory.list.summary(owner, c)] == memory.list.newest(owner)
    for wrong in (lambda: memory.list.summary(stranger, c), lambda: memory.list.summary(owner, 5)):
        with pytest.raises(NotFoundError):
            wrong()


def test_closing_ends_it(owner):
    memory = Store.in_memory()
    connection = memory._transactions.writing.raw_connection()
    plain: Any = connection.driver_connection
    connection.close()
    memory.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        plain.execute("SELECT 1")
