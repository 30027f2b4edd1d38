"""Temporary conversations: all that others can do, nothing on the disk, and gone in time."""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chat_ui.chat.exchange import read
from chat_ui.chat.messages import Numbers, is_temporary
from chat_ui.errors import BusyError, HistoryError, NotFoundError
from chat_ui.service import ChatService, ReplyOptions, purge, temporary
from tests.service.conftest import DEADLINE_S, ended, wait_until

ANNA, BEN = "a" * 64, "b" * 64
OPTIONS = ReplyOptions("Be brief.")
SECRET = "xylophone"
NEVER_S = 10_000.0


def begin(service: ChatService, text: str = "Hello", owner: str = ANNA) -> str:
    """A temporary conversation of a question and its answer."""
    return ended(service.reply(owner, None, text, OPTIONS, is_temporary=True)).conversation_id


def texts(service: ChatService, conversation_id: str, owner: str = ANNA) -> list[str]:
    return [m.content for m in service.conversation(owner, conversation_id).path()]


def is_there(service: ChatService, conversation_id: str, owner: str = ANNA) -> bool:
    try:
        service.conversation(owner, conversation_id)
    except NotFoundError:
        return False
    return True


def files_with(folder: Path, word: str) -> list[str]:
    """The files below a folder with these letters in them, in either case or as UTF-16."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    forms = [form.encode(code) for form in (word, word.upper()) for code in ("utf-8", "utf-16-le")]
    return [str(path) for path in found if any(form in path.read_bytes() for form in forms)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time by which conversations end; nothing looks at it unless it is told to."""
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(temporary, "time", SimpleNamespace(monotonic=lambda: now.s))
    monkeypatch.setattr(temporary, "CHECK_S", NEVER_S)
    return now


def check(service: ChatService) -> None:
    service._backend.lifetimes._check()


# ---- as any other ----


def test_it_goes_on_and_has_versions_as_any_other(service: ChatService) -> None:
    c = begin(service)
    assert is_temporary(c)
    assert service.conversation(ANNA, c).is_temporary
    assert service.conversation(ANNA, c).system_prompt == "Be brief."
    ended(service.reply(ANNA, c, "More", OPTIONS))
    assert texts(service, c) == ["Hello", "You said: Hello", "More", "You said: More"]
    _, first, more, _ = service.conversation(ANNA, c).path()
    ended(service.regenerate(ANNA, c, OPTIONS))
    ended(service.edit_question(ANNA, c, more.id, "Less", OPTIONS))
    assert texts(service, c)[-2:] == ["Less", "You said: Less"]
    service.show_version(ANNA, c, more.id)
    assert texts(service, c)[-2:] == ["More", "You said: More"]
    mine = service.edit_answer(ANNA, c, first.id, "Mine.")
    assert texts(service, c) == ["Hello", "Mine."]
    ended(service.continue_answer(ANNA, c, mine, OPTIONS))
    assert texts(service, c)[-1].startswith("Mine.")
    service.rename_conversation(ANNA, c, "Cats")
    service.pin_conversation(ANNA, c, True)
    assert service.summary(ANNA, c).title == "Cats"
    use = service.context_use(ANNA, c, "draft", OPTIONS)
    assert use is not None
    assert use.history_tokens > 0
    assert "import" in service.python_script(ANNA, c, first.id)
    assert len(service.conversation(ANNA, c).messages) == 9


def test_its_answer_is_found_running_and_can_be_stopped(service: ChatService) -> None:
    reply = service.reply(ANNA, None, "slow", OPTIONS, is_temporary=True)
    c = reply.conversation_id
    assert service.running(ANNA, c) is reply
    assert service.running(BEN, c) is None
    with pytest.raises(BusyError):
        service.reply(ANNA, c, "More", OPTIONS)
    wait_until(lambda: len(texts(service, c)[-1]) > 20)
    store = service._store_of(c)  # it is stored while it grows, as ever
    wait_until(lambda: len(store.conversation(ANNA, c).path()[-1].content) > 20)
    service.stop_reply(ANNA, c)
    assert ended(reply).snapshot().state == "stopped"
    assert store.conversation(ANNA, c).path()[-1].state == "stopped"


def test_another_s_is_found_by_nothing(service: ChatService) -> None:
    c = begin(service)
    message = service.conversation(ANNA, c).messages[1].id
    for call in (
        lambda: service.conversation(BEN, c),
        lambda: service.summary(BEN, c),
        lambda: service.reply(BEN, c, "x", OPTIONS),
        lambda: service.reply(BEN, c, "x", OPTIONS, is_temporary=True),
        lambda: service.regenerate(BEN, c, OPTIONS),
        lambda: service.edit_answer(BEN, c, message, "x"),
        lambda: service.show_version(BEN, c, message),
        lambda: service.branch(BEN, c, message),
        lambda: service.export_json(BEN, c),
        lambda: service.delete_conversation(BEN, c),
        lambda: service.context_use(BEN, c, "", OPTIONS),
    ):
        with pytest.raises(NotFoundError):
            call()
    assert texts(service, c) == ["Hello", "You said: Hello"]


def test_it_is_in_no_list_no_search_and_no_export_of_all(service: ChatService) -> None:
    kept = ended(service.reply(ANNA, None, f"Kept {SECRET}", OPTIONS)).conversation_id
    c = begin(service, f"{SECRET} please")
    assert [one.id for one in service.conversations(ANNA)] == [kept]
    assert [one.id for one in service.search_conversations(ANNA, SECRET)] == [kept]
    whole = json.loads(service.export_json(ANNA, None)[1])
    assert [one["id"] for one in whole["conversations"]] == [kept]
    assert "please" not in service.export_markdown(ANNA, None)[1]
    # By itself it can be exported, and what is imported of that is kept.
    assert "please" in service.export_markdown(ANNA, c)[1]
    name, text = service.export_json(ANNA, c)
    assert name == f"{SECRET} please.json"
    assert len(read(text).conversations) == 1
    assert "is_temporary" not in text
    [new] = service.add_conversations(ANNA, text).ids
    assert not is_temporary(new)
    assert new in [one.id for one in service.conversations(ANNA)]


def test_a_branch_of_it_is_temporary_and_one_of_another_is_not(service: ChatService) -> None:
    c = begin(service)
    new = service.branch(ANNA, c, service.conversation(ANNA, c).messages[1].id)
    assert is_temporary(new)
    assert texts(service, new) == texts(service, c)
    assert service.conversations(ANNA) == []
    kept = ended(service.reply(ANNA, None, "Hello", OPTIONS)).conversation_id
    other = service.branch(ANNA, kept, service.conversation(ANNA, kept).messages[1].id)
    assert not is_temporary(other)


def test_one_that_is_there_stays_what_it_is(service: ChatService) -> None:
    kept = ended(service.reply(ANNA, None, "Hello", OPTIONS)).conversation_id
    reply = ended(service.reply(ANNA, kept, "More", OPTIONS, is_temporary=True))
    assert reply.conversation_id == kept
    assert len(texts(service, kept)) == 4
    c = begin(service)
    assert ended(service.reply(ANNA, c, "More", OPTIONS)).conversation_id == c


def test_a_refused_message_leaves_no_empty_one(service: ChatService) -> None:
    service.start()
    service.close_replies(0.1)
    with pytest.raises(BusyError):
        service.reply(ANNA, None, "Hello", OPTIONS, is_temporary=True)
    assert service._backend.stores.temporary.list.newest(ANNA) == []


def test_a_deleted_one_comes_back_and_is_gone_after_that(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)
    c = begin(service)
    service.delete_conversation(ANNA, c)
    assert not is_there(service, c)
    service.restore_conversation(ANNA, c)
    assert texts(service, c) == ["Hello", "You said: Hello"]
    service.delete_conversation(ANNA, c)
    monkeypatch.setattr(purge, "UNDO_S", 0.0)
    service._backend.purge._purge()
    with pytest.raises(NotFoundError):
        service.restore_conversation(ANNA, c)


@pytest.mark.parametrize("way", ["its time ends", "deleted", "deleted from the list"])
def test_nothing_of_what_is_gone_for_good_stays_in_what_is_kept_to_save_time(
    service: ChatService, monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace, way: str
) -> None:
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)
    told: list[str] = []
    service.on_gone(lambda: told.append("gone"))
    is_kept = way == "deleted from the list"
    reply = service.reply(ANNA, None, SECRET, OPTIONS, is_temporary=not is_kept)
    c = ended(reply).conversation_id
    assert service.context_use(ANNA, c, "", OPTIONS) is not None
    assert SECRET in str(service._meter._kept), "or this test looks in the wrong place"
    if way == "its time ends":
        clock.s += temporary.LIFE_S
        check(service)
    else:
        service.delete_conversation(ANNA, c)
        assert told == [], "it can be brought back"
        monkeypatch.setattr(purge, "UNDO_S", 0.0)
        service._backend.purge._purge()
    assert SECRET not in str(service._meter._kept)
    assert told == ["gone"]


def test_what_a_model_did_there_is_measured_as_ever(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.start()
    wait_until(lambda: service.model.phase == "ready")
    noted: list[Numbers] = []
    backend = service._backend
    monkeypatch.setattr(backend.replies, "_answered", lambda _facts, numbers: noted.append(numbers))
    wait_until(lambda: bool(begin(service) and noted))  # one that has the machine for itself
    assert noted[0].model_id == "pocket-guide"
    assert backend.forecasts._measurements is backend.stores.kept.measurements


# ---- nothing on the disk ----


def test_no_byte_of_it_comes_to_the_disk_or_the_log(
    make_service: Callable[..., ChatService],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    data, elsewhere = tmp_path / "data", tmp_path / "tmp"
    elsewhere.mkdir()
    for variable in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(variable, str(elsewhere))
    service = make_service(data_dir=data)
    ended(service.reply(ANNA, None, "An ordinary marimba", OPTIONS))
    options = ReplyOptions(f"Speak of the {SECRET}.", begins_with=f"The {SECRET}")
    c = ended(
        service.reply(ANNA, None, f"My {SECRET} fails", options, is_temporary=True)
    ).conversation_id
    first = service.conversation(ANNA, c).messages[0]
    ended(service.edit_question(ANNA, c, first.id, f"Another {SECRET} " * 500, options))
    ended(service.regenerate(ANNA, c, options))
    service.edit_answer(ANNA, c, service.conversation(ANNA, c).messages[-1].id, f"No {SECRET}.")
    service.rename_conversation(ANNA, c, f"{SECRET}s")
    service.branch(ANNA, c, first.id)
    service.export_json(ANNA, c)
    service.export_markdown(ANNA, c)
    with pytest.raises(NotFoundError):
        service.reply(BEN, c, f"A stranger's {SECRET}", options)
    reply = service.reply(ANNA, c, f"slow {SECRET}", options)
    wait_until(lambda: len(reply.snapshot().text) > 20)
    assert files_with(data, "marimba"), "what is kept is found"
    assert files_with(data, SECRET) == []
    service.close()
    assert reply.snapshot().state == "interrupted"
    assert files_with(data, "marimba")
    assert files_with(data, SECRET) == []
    assert list(elsewhere.iterdir()) == []
    assert SECRET not in caplog.text
    again = make_service(data_dir=data)
    assert not is_there(again, c)
    assert len(again.conversations(ANNA)) == 1


# ---- gone in time ----


def test_it_is_gone_an_hour_after_its_last_message(
    service: ChatService, clock: SimpleNamespace
) -> None:
    old, used = begin(service), begin(service)
    clock.s += 3000
    ended(service.reply(ANNA, used, "More", OPTIONS))
    clock.s += 599
    check(service)
    assert is_there(service, old)
    clock.s += 1
    check(service)
    assert not is_there(service, old)
    assert is_there(service, used)
    with pytest.raises(NotFoundError):
        service.reply(ANNA, old, "More", OPTIONS)
    clock.s += 2999  # reading and looking at versions is no message
    service.show_version(ANNA, used, service.conversation(ANNA, used).messages[0].id)
    service.edit_answer(ANNA, used, service.conversation(ANNA, used).messages[1].id, "No.")
    clock.s += 3599
    check(service)
    assert is_there(service, used)
    clock.s += 1
    check(service)
    assert not is_there(service, used)
    assert service._backend.lifetimes._used == {}
    assert service._backend.stores.temporary.list.newest(ANNA) == []


def test_an_answer_is_the_last_message_when_it_has_ended(
    service: ChatService, clock: SimpleNamespace
) -> None:
    reply = service.reply(ANNA, None, "slow", OPTIONS, is_temporary=True)
    c = reply.conversation_id
    clock.s += 7200
    check(service)
    assert is_there(service, c)
    assert reply.snapshot().state == "writing"
    reply.stop()
    ended(reply)
    clock.s += 3599
    check(service)
    assert is_there(service, c)
    clock.s += 1
    check(service)
    assert not is_there(service, c)


@pytest.mark.usefixtures("clock")
def test_there_is_one_timer_for_all(service: ChatService) -> None:
    for text in "abc":
        begin(service, text)
    check = service._backend.lifetimes._check
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert [timer.daemon for timer in timers if timer.function == check] == [True]


def test_a_timer_looks_by_itself(service: ChatService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "CHECK_S", 0.05)
    made = [begin(service, text) for text in "abc"]
    assert all(is_there(service, c) for c in made)
    monkeypatch.setattr(temporary, "LIFE_S", 0.0)
    wait_until(lambda: not any(is_there(service, c) for c in made))
    lifetimes = service._backend.lifetimes
    wait_until(lambda: not lifetimes._is_due)  # where there are none, nobody looks
    monkeypatch.setattr(temporary, "LIFE_S", NEVER_S)
    assert is_there(service, begin(service))
    with lifetimes._lock:
        assert lifetimes._is_due


@pytest.mark.usefixtures("clock")
def test_an_owner_has_so_many_and_the_one_not_used_for_longest_goes(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary, "MOST_OF_AN_OWNER", 3)
    bens = begin(service, owner=BEN)
    one, two, three = (begin(service, text) for text in "abc")
    ended(service.reply(ANNA, one, "More", OPTIONS))
    four = begin(service)
    assert [is_there(service, c) for c in (one, two, three, four)] == [True, False, True, True]
    new = service.branch(ANNA, four, service.conversation(ANNA, four).messages[0].id)
    assert [is_there(service, c) for c in (one, three, four, new)] == [True, False, True, True]
    assert is_there(service, bens, BEN)


@pytest.mark.usefixtures("clock")
def test_a_message_that_can_not_be_stored_costs_no_other_one(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary, "MOST_OF_AN_OWNER", 1)
    one = begin(service)
    store = service._backend.stores.temporary

    def refuse(*args: Any, **more: Any) -> None:
        raise HistoryError("There is no room.")

    with monkeypatch.context() as patched:
        patched.setattr(store, "add_question", refuse)
        with pytest.raises(HistoryError):
            begin(service)
    assert is_there(service, one)
    assert [summary.id for summary in store.list.newest(ANNA)] == [one]
    assert list(service._backend.lifetimes._used) == [one]


@pytest.mark.usefixtures("clock")
def test_deleted_ones_do_not_count_until_they_are_back(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary, "MOST_OF_AN_OWNER", 2)
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)
    one, two = begin(service), begin(service)
    service.delete_conversation(ANNA, two)
    three = begin(service)
    assert [is_there(service, c) for c in (one, two, three)] == [True, False, True]
    service.restore_conversation(ANNA, two)
    assert [is_there(service, c) for c in (one, two, three)] == [False, True, True]
    assert list(service._backend.lifetimes._used) == [three, two]


def test_one_that_is_brought_back_is_gone_in_time(
    service: ChatService, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "UNDO_S", NEVER_S)
    c = begin(service)
    service.delete_conversation(ANNA, c)
    service.restore_conversation(ANNA, c)
    clock.s += 3600
    check(service)
    assert not is_there(service, c)


def test_a_kept_one_does_not_wait_for_the_temporary_ones(service: ChatService) -> None:
    kept = ended(service.reply(ANNA, None, "Hello", OPTIONS)).conversation_id
    lifetimes, asked = service._backend.lifetimes, threading.Event()

    def ask() -> None:
        lifetimes.used(kept)
        lifetimes.deleted(kept)
        asked.set()

    with lifetimes._lock:
        threading.Thread(target=ask, daemon=True).start()
        assert asked.wait(DEADLINE_S)


@pytest.mark.usefixtures("clock")
def test_all_have_so_many_and_a_running_answer_there_ends(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary, "MOST", 2)
    reply = service.reply(BEN, None, "slow", OPTIONS, is_temporary=True)
    one, two = begin(service), begin(service)
    assert ended(reply).snapshot().state == "stopped"
    assert not is_there(service, reply.conversation_id, BEN)
    assert is_there(service, one)
    assert is_there(service, two)
    assert set(service._backend.lifetimes._used) == {one, two}, "its end does not count it again"


@pytest.mark.usefixtures("clock")
def test_those_that_can_not_be_removed_now_are_removed_later(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = begin(service)
    monkeypatch.setattr(temporary, "LIFE_S", 0.0)

    def refuse(ids: Any) -> None:
        raise HistoryError("The history is busy.")

    with monkeypatch.context() as patched:
        patched.setattr(service._backend.stores.temporary.list, "remove", refuse)
        check(service)
    assert is_there(service, c)
    check(service)
    assert not is_there(service, c)


def test_a_closed_service_removes_nothing(service: ChatService, clock: SimpleNamespace) -> None:
    c = begin(service)
    service.close_replies(1.0)
    clock.s += 7200
    check(service)
    assert is_there(service, c)
