"""A store in a folder of its own."""

import hashlib

import pytest

from chat_ui.history import database
from chat_ui.history.store import Store


@pytest.fixture(autouse=True)
def hasty_disk(monkeypatch):
    """No waiting for the disk, which takes seconds in all; test_database and test_kill do wait."""
    hasty = tuple(pragma.replace("FULL", "OFF") for pragma in database._PRAGMAS)
    monkeypatch.setattr(database, "_PRAGMAS", hasty)


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def store(data_dir):
    opened = Store.open(data_dir)
    yield opened
    opened.close()


@pytest.fixture
def owner():
    return hashlib.sha256(b"the owner's session").hexdigest()


@pytest.fixture
def stranger():
    return hashlib.sha256(b"another session").hexdigest()
