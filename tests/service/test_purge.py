"""What is gone for good: deleted, forgotten or long unused, and in no byte of the data folder."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from chat_ui.engine.fake import FakeLoader
from chat_ui.errors import NotAllowedError, NotFoundError
from chat_ui.service import ChatService, ReplyOptions, purge
from tests.service.conftest import ended, wait_until

ANNA, BEN = "a" * 64, "b" * 64
WORDS = ("Canaryprompt", "Canaryanswer", "Canarytitle", "Canarysystem", "Canarybegin")
OPTIONS = ReplyOptions("Canarysystem", begins_with="Canarybegin")
NEVER_S = 1e6

Make = Callable[..., ChatService]


@pytest.fixture
def service(make_service: Make, monkeypatch: pytest.MonkeyPatch) -> ChatService:
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)  # a test looks when it wants to
    return make_service()


def say(service: ChatService, owner: str = ANNA, is_temporary: bool = False) -> str:
    """A conversation of both versions of an answer, with a canary in each place."""
    reply = ended(
        service.reply(owner, None, "Canaryprompt " * 300, OPTIONS, is_temporary=is_temporary)
    )
    c = reply.conversation_id
    service.edit_answer(owner, c, reply.message_id, "Canaryanswer " * 600)
    service.rename_conversation(owner, c, "Canarytitle")
    return c


def found(folder: Path) -> set[str]:
    """The canaries in the files of a folder, and in their names."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    held = b"".join(file.read_bytes() + file.name.encode() for file in files)
    return {word for word in WORDS if word.encode() in held}


def is_there(service: ChatService, owner: str, conversation_id: str) -> bool:
    try:
        service.conversation(owner, conversation_id)
    except NotFoundError:
        return False
    return True


def purged(service: ChatService, later: timedelta = timedelta()) -> None:
    """Do what the timer does, so much later."""
    service._backend.purge._now = lambda: datetime.now(UTC) + later
    service._backend.purge._purge()


def test_a_deleted_chat_is_in_no_byte_of_the_data_folder_once_it_is_purged(
    service: ChatService, loader: FakeLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [say(service) for _ in range(5)]
    assert found(tmp_path) == set(WORDS), "or this test looks in the wrong place"
    for one in made:
        service.delete_conversation(ANNA, one)
    purged(service)
    assert found(tmp_path) == set(WORDS), "an undo would bring it back"
    assert not loader.engines[0].times_forgotten
    monkeypatch.setattr(purge, "UNDO_S", 0.0)
    purged(service)
    assert found(tmp_path) == set()
    assert loader.engines[0].times_forgotten, "the engine keeps what it has read"


def test_who_is_forgotten_leaves_no_byte_in_the_data_folder(
    service: ChatService, loader: FakeLoader, tmp_path: Path
) -> None:
    made = [say(service) for _ in range(5)]
    service.delete_conversation(ANNA, made[0])
    temporary = say(service, is_temporary=True)
    bens = ended(service.reply(BEN, None, "Hello", ReplyOptions())).conversation_id
    told: list[str] = []
    service.on_gone(lambda: told.append("gone"))
    service.forget(ANNA)
    assert found(tmp_path) == set()
    assert service.conversations(ANNA) == []
    assert not is_there(service, ANNA, temporary)
    assert service._backend.lifetimes._used == {}
    with pytest.raises(NotFoundError):
        service.restore_conversation(ANNA, made[0])
    assert told, "what keeps texts to save time must drop them"
    assert loader.engines[0].times_forgotten
    assert is_there(service, BEN, bens)


def test_an_answer_that_is_being_written_ends_when_its_owner_is_forgotten(
    service: ChatService, tmp_path: Path
) -> None:
    annas = service.reply(ANNA, None, "slow Canaryprompt", OPTIONS)
    bens = service.reply(BEN, None, "slow", ReplyOptions())
    service.forget(ANNA)
    assert annas.stored.is_set()
    assert not is_there(service, ANNA, annas.conversation_id)
    assert found(tmp_path) == set()
    assert not bens.ended.is_set()
    bens.stop()
    ended(bens)


def test_an_engine_that_hangs_does_not_keep_what_is_to_be_forgotten(
    service: ChatService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "STOP_DEADLINE_S", 0.0)
    reply = service.reply(ANNA, None, "slow Canaryprompt", OPTIONS)
    service.forget(ANNA)
    ended(reply)  # and stores nothing
    assert not is_there(service, ANNA, reply.conversation_id)
    assert found(tmp_path) == set()


def test_the_log_is_emptied_later_where_somebody_reads_it(
    service: ChatService, tmp_path: Path
) -> None:
    say(service)
    with service._store._transactions.reading.connect() as reader:
        reader.execute(text("SELECT count(*) FROM messages")).all()
        service.forget(ANNA)
        assert found(tmp_path) != set()
    assert service._backend.purge._timer is not None
    purged(service)
    assert found(tmp_path) == set()


def test_what_a_killed_process_had_deleted_is_gone_at_the_next_start(
    make_service: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)
    first = make_service()
    first.delete_conversation(ANNA, say(first))
    first.close_replies(0.0)
    first._backend.lock.release()  # its files stay open, as they were
    second = make_service()
    assert second.conversations(ANNA) == []
    assert found(tmp_path) == set()


def test_conversations_that_nobody_used_for_long_are_deleted(
    make_service: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)
    service = make_service(door="share", limits={"kept_hours": 2})
    c = say(service)
    purged(service, timedelta(hours=1, minutes=59))
    assert is_there(service, ANNA, c)
    purged(service, timedelta(hours=2, minutes=1))
    assert not is_there(service, ANNA, c)
    assert found(tmp_path) == set()


def test_where_the_room_is_nearly_full_an_hour_is_long(
    make_service: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)
    no_rate = {"turns_per_minute": 0, "turns_per_minute_per_visitor": 0}
    service = make_service(door="share", limits={"kept_hours": 24, "kept_mb": 1, **no_rate})
    c = say(service)
    purged(service, timedelta(hours=2))
    assert is_there(service, ANNA, c), "there is room"

    def fill() -> None:
        for _ in range(2000):
            ended(service.reply(ANNA, c, "x" * 8000, ReplyOptions()))

    with pytest.raises(NotAllowedError, match="no room"):
        fill()
    purged(service, timedelta(minutes=59))
    assert is_there(service, ANNA, c)
    purged(service, timedelta(minutes=61))
    assert not is_there(service, ANNA, c)
    assert say(service), "and everybody can write again"


def test_one_in_which_an_answer_is_being_written_is_in_use(
    make_service: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)
    service = make_service(door="share", limits={"kept_hours": 2})
    reply = service.reply(ANNA, None, "slow", ReplyOptions())
    purged(service, timedelta(hours=3))
    assert is_there(service, ANNA, reply.conversation_id)
    reply.stop()
    ended(reply)
    wait_until(lambda: not service._backend.replies.conversation_ids)
    purged(service, timedelta(hours=3))
    assert not is_there(service, ANNA, reply.conversation_id)


def test_an_imported_conversation_is_as_young_as_its_import(
    make_service: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)
    service = make_service(door="share", limits={"kept_hours": 24})
    c = ended(service.reply(ANNA, None, "Hello", ReplyOptions())).conversation_id
    _, exported = service.export_json(ANNA, c)
    year = str(datetime.now(UTC).year)
    [imported] = service.add_conversations(ANNA, exported.replace(f'"{year}-', '"2001-')).ids
    assert service.conversation(ANNA, imported).updated_at.year == 2001
    purged(service, timedelta(hours=23))
    assert is_there(service, ANNA, imported)
    purged(service, timedelta(hours=25))
    assert not is_there(service, ANNA, imported)


def test_at_home_nothing_is_deleted_by_itself_and_no_timer_runs(service: ChatService) -> None:
    c = ended(service.reply(ANNA, None, "Hello", ReplyOptions())).conversation_id
    purged(service, timedelta(days=4000))
    assert is_there(service, ANNA, c)
    assert service._backend.purge._timer is None


def test_the_timer_ends_with_the_service(make_service: Make) -> None:
    service = make_service(door="share")
    service.conversations(ANNA)
    timer = service._backend.purge._timer
    assert timer is not None
    assert timer.daemon
    service.close()
    assert timer.finished.is_set()
    service._backend.purge.later()
    assert service._backend.purge._timer is timer
