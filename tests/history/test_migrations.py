"""The migrations make the tables that the code sees, and never stop half-way."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, Table

from chat_ui.history.database import migrate, reading_engine
from chat_ui.history.store import Store
from chat_ui.history.tables import metadata


def differences(engine, expected):
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, expected)


def test_migrations_and_tables_agree(tmp_path):
    path = tmp_path / "test.db"
    migrate(path)
    engine = reading_engine(path)
    assert differences(engine, metadata) == []
    # What Alembic does not compare on SQLite: keys, constraints and what a deletion takes along.
    found = MetaData()
    found.reflect(engine)
    for table in metadata.sorted_tables:
        assert described(found.tables[table.name]) == described(table)
    engine.dispose()


def described(table: Table):
    # A primary key, a foreign key and a unique constraint all have columns.
    constraints: Any = table.constraints
    return {
        (type(c).__name__, c.name, tuple(column.name for column in c.columns))
        + ((c.ondelete,) if hasattr(c, "ondelete") else ())
        for c in constraints
    } | {("Index", i.name, tuple(c.name for c in i.columns)) for i in table.indexes}


def test_the_comparison_sees_a_missing_table(tmp_path):
    path = tmp_path / "test.db"
    migrate(path)
    engine = reading_engine(path)
    assert len(differences(engine, MetaData())) > 0
    engine.dispose()


def test_migrating_twice_changes_nothing(tmp_path):
    path = tmp_path / "test.db"
    migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
        migrate(path)
        assert list(connection.iterdump()) == before


def test_a_migration_that_makes_a_table_anew_keeps_its_rows(data_dir, owner, monkeypatch):
    """With foreign keys on, dropping the old conversations would delete all messages."""
    store = Store.open(data_dir)
    c = store.create(owner, "New chat", "")
    store.add_question(owner, c.id, "Hello", None, "")
    before = store.conversation(owner, c.id)
    store.close()

    def upgrade(config, _revision):
        context = MigrationContext.configure(config.attributes["connection"])
        with Operations(context).batch_alter_table("conversations", recreate="always") as batch:
            batch.alter_column("title", nullable=True)

    monkeypatch.setattr(command, "upgrade", upgrade)
    migrate(data_dir / "chat_ui.db")
    monkeypatch.undo()
    store = Store.open(data_dir)
    assert store.conversation(owner, c.id) == before
    store.close()


def test_deleting_a_conversation_deletes_its_messages(store, owner, data_dir):
    c = store.create(owner, "New chat", "")
    for _ in range(3):
        store.add_question(owner, c.id, "Hello", None, "")
    with store._transactions.writing.begin() as connection:
        connection.exec_driver_sql("DELETE FROM conversations")
        assert connection.exec_driver_sql("SELECT count(*) FROM messages").scalar() == 0


def test_conversations_of_before_were_used_when_a_message_came(data_dir, owner):
    store = Store.open(data_dir)
    c = store.create(owner, "New chat", "")
    store.close()
    with closing(sqlite3.connect(data_dir / "chat_ui.db")) as connection:
        connection.execute("ALTER TABLE conversations DROP COLUMN used_at")
        connection.execute("UPDATE alembic_version SET version_num = '0004'")
        connection.commit()
    store = Store.open(data_dir)
    assert store.list.remove_unused(c.updated_at, spared=[]) == 0
    assert store.list.remove_unused(c.updated_at + timedelta(seconds=1), spared=[]) == 1
    store.close()
