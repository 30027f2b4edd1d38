"""A store in a folder of its own, and where a module wants both, one in memory."""

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


def pytest_generate_tests(metafunc):
    """A module that names STORES has its tests run with each of them."""
    if "store" in metafunc.fixturenames and hasattr(metafunc.module, "STORES"):
        metafunc.parametrize("store", metafunc.module.STORES, indirect=True)


@pytest.fixture
def store(request, data_dir):
    is_file = getattr(request, "param", "file") == "file"
    opened = Store.open(data_dir) if is_file else Store.in_memory()
    yield opened
    opened.close()


@pytest.fixture
def owner():
    return hashlib.sha256(b"the owner's session").hexdigest()


@pytest.fixture
def stranger():
    return hashlib.sha256(b"another session").hexdigest()
