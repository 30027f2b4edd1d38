"""Opening: modes of files, damaged files, folders that can't be used."""

import logging
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from chat_ui.errors import StartupError
from chat_ui.history import database
from chat_ui.history.store import Store

SUFFIXES = ("", "-wal", "-shm")


def file_of(data_dir, suffix=""):
    return data_dir / f"chat_ui.db{suffix}"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def filled(data_dir, owner, count=20):
    """A closed database of some pages."""
    store = Store.open(data_dir)
    c = store.create(owner, "New chat", "")
    for i in range(count):
        store.add_question(owner, c.id, f"question {i} " * 100, None, "")
    store.close()
    return store


@pytest.fixture(autouse=True)
def hasty_disk():
    """The files here are as they are in use."""


@pytest.fixture
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_only_we_may_read_the_files(data_dir, owner):
    store = Store.open(data_dir)
    store.create(owner, "New chat", "")
    assert mode(data_dir) == 0o700
    assert {suffix: mode(file_of(data_dir, suffix)) for suffix in SUFFIXES} == dict.fromkeys(
        SUFFIXES, 0o600
    )
    store.close()

    # A backup that was put back may be open to all.
    file_of(data_dir).chmod(0o644)
    store = Store.open(data_dir)
    store.create(owner, "New chat", "")
    assert {mode(file_of(data_dir, suffix)) for suffix in SUFFIXES} == {0o600}
    store.close()


def test_a_folder_that_was_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    Store.open(tmp_path).close()
    assert mode(tmp_path) == 0o755


def test_closing_moves_the_log_into_the_file(data_dir, owner):
    store = Store.open(data_dir)
    store.create(owner, "New chat", "")
    assert file_of(data_dir, "-wal").stat().st_size > 0
    store.close()
    store.close()
    assert [path.name for path in data_dir.iterdir()] == ["chat_ui.db"]


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),  # FULL
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("busy_timeout", 5000),
    ],
)
def test_pragmas_of_every_connection(store, pragma, value):
    with (
        store._transactions.writing.connect() as one,
        store._transactions.reading.connect() as another,
        store._transactions.reading.connect() as third,
    ):
        for connection in (one, another, third):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_folders_with_odd_names_from_anywhere(tmp_path, owner, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a b", "50%", "%(here)s", "q?x=1#y", "日本"):
        store = Store.open(Path(name, "data"))
        c = store.create(owner, name, "")
        store.close()
        store = Store.open(tmp_path / name / "data")
        assert store.conversation(owner, c.id).title == name
        store.close()


def garbage(path):
    path.write_bytes(b"no database " * 1000)


def half(path):
    os.truncate(path, path.stat().st_size // 2 + 100)


def flipped(path):
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 64] = os.urandom(64)
    path.write_bytes(data)


def empty_beside_its_log(path):
    path.write_bytes(b"")
    Path(f"{path}-wal").write_bytes(b"the last messages")


@pytest.mark.parametrize("damage", [garbage, half, flipped, empty_beside_its_log])
def test_a_damaged_database_is_set_aside(data_dir, owner, damage, caplog):
    filled(data_dir, owner)
    damage(file_of(data_dir))
    kept = file_of(data_dir).read_bytes()

    store = Store.open(data_dir)
    assert store.list.newest(owner) == []
    store.create(owner, "New chat", "")
    (folder,) = data_dir.glob("damaged-*")
    assert folder.name in store.notice
    assert "damaged" in caplog.text
    assert (folder / "chat_ui.db").read_bytes() == kept
    if damage is empty_beside_its_log:
        assert (folder / "chat_ui.db-wal").read_bytes() == b"the last messages"
    assert mode(folder) == 0o700
    store.close()

    store = Store.open(data_dir)
    assert (store.notice, len(store.list.newest(owner))) == ("", 1)
    store.close()


def test_an_empty_file_is_a_new_database(data_dir, owner):
    data_dir.mkdir()
    file_of(data_dir).touch()
    store = Store.open(data_dir)
    assert (store.notice, store.list.newest(owner)) == ("", [])
    store.close()


def refused(data_dir):
    with pytest.raises(StartupError) as raised:
        Store.open(data_dir)
    assert raised.value.sentence.endswith(".")
    assert raised.value.next_step.endswith(".")
    return str(raised.value)


def test_folders_that_cannot_be_used(tmp_path, data_dir, monkeypatch):
    (tmp_path / "file").touch()
    assert "Not a directory" in refused(tmp_path / "file" / "data")
    assert "File exists" in refused(tmp_path / "file")
    (data_dir / "chat_ui.db").mkdir(parents=True)
    assert "unable to open database file" in refused(data_dir)

    # Root may write everywhere, so that a mode of the folder would prove nothing here.
    def denied(*_args):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", denied)
        sentence = refused(tmp_path / "other")
    assert "Permission denied" in sentence
    assert str(tmp_path / "other") in sentence


def test_a_read_only_database_is_refused(data_dir, owner, monkeypatch):
    filled(data_dir, owner, 1)
    original = database.sqlite_engine

    def read_only(*args, **options):
        engine = original(*args, **options)

        @event.listens_for(engine, "connect")
        def _(connection, _record):
            connection.execute("PRAGMA query_only = ON").close()

        return engine

    with monkeypatch.context() as patched:
        patched.setattr(database, "sqlite_engine", read_only)
        assert "readonly" in refused(data_dir)
    Store.open(data_dir).close()


def test_a_newer_database_is_refused_and_left_alone(data_dir, owner):
    filled(data_dir, owner, 1)
    with closing(sqlite3.connect(file_of(data_dir))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = file_of(data_dir).read_bytes()
    assert "newer version" in refused(data_dir)
    assert file_of(data_dir).read_bytes() == before
    assert [path.name for path in data_dir.iterdir()] == ["chat_ui.db"]


def test_another_programs_database_is_refused_and_left_alone(data_dir):
    data_dir.mkdir()
    with closing(sqlite3.connect(file_of(data_dir))) as connection:
        connection.execute("CREATE TABLE conversations (theirs)")
    assert "can't be opened" in refused(data_dir)
    with closing(sqlite3.connect(file_of(data_dir))) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("conversations",)]


def test_a_database_locked_by_another_is_refused_and_not_set_aside(data_dir, owner, monkeypatch):
    filled(data_dir, owner, 1)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)
    with closing(sqlite3.connect(file_of(data_dir), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in refused(data_dir)
    assert not list(data_dir.glob("damaged-*"))
    Store.open(data_dir).close()


def test_nothing_is_logged_at_an_ordinary_start(data_dir, owner, caplog):
    caplog.set_level(logging.WARNING)
    filled(data_dir, owner, 1)
    assert caplog.text == ""
