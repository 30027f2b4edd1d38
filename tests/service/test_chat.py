"""ChatService over a real store and a fake engine: what a page relies on."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Conversation
from chat_ui.chat.recipe import Recipe
from chat_ui.engine.fake import FakeEngine, FakeLoader, Script
from chat_ui.engine.protocol import Cancel, Delta, Finished, Request, Sink, Started
from chat_ui.errors import (
    BusyError,
    ChatUIError,
    HistoryError,
    InvalidRequestError,
    NotFoundError,
    StartupError,
)
from chat_ui.history.store import Store
from chat_ui.service import ChatService, ReplyOptions, purge
from tests.service.conftest import ended, wait_until

ANNA, BEN = "a" * 64, "b" * 64
OPTIONS = ReplyOptions()


def texts(service: ChatService, conversation_id: str, owner: str = ANNA) -> list[str]:
    return [message.content for message in service.conversation(owner, conversation_id).path()]


def test_making_a_service_opens_and_loads_nothing(service: ChatService, tmp_path: Path) -> None:
    assert list(tmp_path.iterdir()) == []
    assert service.model.phase == "starting"
    assert service.model.model_id == "pocket-guide"
    service.close()
    assert list(tmp_path.iterdir()) == []


def test_a_conversation_goes_on_and_is_stored(service: ChatService) -> None:
    first = ended(service.reply(ANNA, None, "Hello", OPTIONS))
    ended(service.reply(ANNA, first.conversation_id, "And again", OPTIONS))
    assert texts(service, first.conversation_id) == [
        "Hello", "You said: Hello", "And again", "You said: And again",
    ]  # fmt: skip
    assert [c.title for c in service.conversations(ANNA)] == ["Hello"]


def test_a_deleted_conversation_comes_back(service: ChatService) -> None:
    c = ended(service.reply(ANNA, None, "Hello", OPTIONS)).conversation_id
    service.delete_conversation(ANNA, c)
    assert service.conversations(ANNA) == []
    with pytest.raises(NotFoundError):
        service.conversation(ANNA, c)
    service.restore_conversation(ANNA, c)
    assert texts(service, c) == ["Hello", "You said: Hello"]


def test_many_deletions_begin_one_thread_and_are_all_purged(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [ended(service.reply(ANNA, None, text, OPTIONS)).conversation_id for text in "abc"]
    monkeypatch.setattr(purge, "UNDO_S", 0.3)
    before = threading.active_count()
    for one in made:
        service.delete_conversation(ANNA, one)
    assert threading.active_count() <= before + 1
    store = service._store
    assert store.list.has_deleted()
    wait_until(lambda: not store.list.has_deleted())
    for one in made:
        with pytest.raises(NotFoundError):
            service.restore_conversation(ANNA, one)


def test_deleting_a_conversation_ends_its_answer(service: ChatService) -> None:
    reply = service.reply(ANNA, None, "slow", OPTIONS)
    service.delete_conversation(ANNA, reply.conversation_id)
    assert ended(reply).snapshot().state == "stopped"


def test_another_s_conversation_is_neither_named_nor_pinned_nor_deleted(
    service: ChatService,
) -> None:
    annas = ended(service.reply(ANNA, None, "Hello", OPTIONS)).conversation_id
    service.rename_conversation(ANNA, annas, "Cats")
    service.pin_conversation(ANNA, annas, True)
    for call in (
        lambda: service.rename_conversation(BEN, annas, "x"),
        lambda: service.pin_conversation(BEN, annas, False),
        lambda: service.delete_conversation(BEN, annas),
        lambda: service.restore_conversation(BEN, annas),
    ):
        with pytest.raises(NotFoundError):
            call()
    [one] = service.search_conversations(ANNA, "cats")
    assert (one.id, one.title, one.is_pinned) == (annas, "Cats", True)
    assert service.search_conversations(BEN, "cats") == []


def test_the_message_is_stored_before_it_is_answered(
    service: ChatService, loader: FakeLoader
) -> None:
    loader.gate.clear()
    reply = service.reply(ANNA, None, "Hello", OPTIONS)
    wait_until(lambda: reply.snapshot().phase == "loading")
    assert texts(service, reply.conversation_id) == ["Hello", ""]
    loader.gate.set()
    assert ended(reply).snapshot().state == "complete"


def test_numbers_say_what_they_are(service: ChatService) -> None:
    options = ReplyOptions(config=GenerationConfig(max_new_tokens=50))
    reply = ended(service.reply(ANNA, None, "slow is long enough", options))
    numbers = service.conversation(ANNA, reply.conversation_id).path()[-1].numbers
    assert numbers.completion_tokens == 50
    assert numbers.precision == "full"
    assert numbers.model is not None
    assert numbers.model.startswith("Pocket Guide")
    assert numbers.seed is not None
    assert numbers.first_token_s is not None
    assert numbers.first_token_s > 0
    # The fake never writes faster than its pace, so neither may the number claim it.
    assert numbers.decode_tokens_per_s is not None
    assert 0 < numbers.decode_tokens_per_s <= 201


def test_the_text_is_stored_while_it_grows(service: ChatService) -> None:
    reply = service.reply(ANNA, None, "slow", OPTIONS)
    store = service._store

    def stored() -> str:
        return store.conversation(ANNA, reply.conversation_id).path()[-1].content

    wait_until(lambda: len(stored()) > 20)
    assert store.conversation(ANNA, reply.conversation_id).path()[-1].state == "writing"
    reply.stop()
    ended(reply)
    assert stored() == reply.snapshot().text


def test_stop_keeps_what_was_written_and_leaves_others_alone(service: ChatService) -> None:
    mine = service.reply(ANNA, None, "slow", OPTIONS)
    other = service.reply(BEN, None, "slow", OPTIONS)
    wait_until(lambda: bool(mine.snapshot().text and other.snapshot().text))
    service.stop_reply(BEN, mine.conversation_id)  # not his: nothing happens
    assert not mine.is_stopping
    service.stop_reply(ANNA, mine.conversation_id)
    ended(mine)
    assert mine.snapshot().state == "stopped"
    assert texts(service, mine.conversation_id)[-1] == mine.snapshot().text != ""
    before = len(other.snapshot().text)
    wait_until(lambda: len(other.snapshot().text) > before)
    assert other.snapshot().state == "writing"


def test_a_second_message_waits_for_the_first_answer(service: ChatService) -> None:
    reply = service.reply(ANNA, None, "slow", OPTIONS)
    with pytest.raises(BusyError, match="press Stop"):
        service.reply(ANNA, reply.conversation_id, "too soon", OPTIONS)
    with pytest.raises(BusyError):
        service.regenerate(ANNA, reply.conversation_id, OPTIONS)
    wait_until(lambda: bool(reply.snapshot().text))
    reply.stop()
    assert reply.ended.wait(20)
    # Not `stored`: who sees the answer's end may send at once.
    ended(service.reply(ANNA, reply.conversation_id, "now", OPTIONS))
    assert texts(service, reply.conversation_id)[-1] == "You said: now"


def test_a_failed_answer_says_why_and_the_next_message_works(service: ChatService) -> None:
    reply = ended(service.reply(ANNA, None, "fail", OPTIONS))
    message = service.conversation(ANNA, reply.conversation_id).path()[-1]
    assert (message.state, message.content) == ("failed", "One two")
    assert message.error == "The fake engine failed. Try again."
    again = ended(service.reply(ANNA, reply.conversation_id, "Hello", OPTIONS))
    assert again.snapshot().state == "complete"


def test_regenerate_writes_beside_the_old_answer(service: ChatService) -> None:
    first = ended(service.reply(ANNA, None, "Hello", OPTIONS))
    second = ended(service.regenerate(ANNA, first.conversation_id, OPTIONS))
    conversation = service.conversation(ANNA, first.conversation_id)
    assert len(conversation.messages) == 3
    assert conversation.path()[-1].id == second.message_id != first.message_id
    assert texts(service, first.conversation_id) == ["Hello", "You said: Hello"]


def test_an_answer_remembers_how_it_was_asked_for(service: ChatService) -> None:
    config = GenerationConfig(temperature=0.3, stop=("END",))
    first = ended(service.reply(ANNA, None, "Hello", ReplyOptions("Be brief.", config)))
    ended(service.regenerate(ANNA, first.conversation_id, ReplyOptions("Be long.", config)))
    question, *answers = service.conversation(ANNA, first.conversation_id).messages
    assert question.recipe is None
    for answer, prompt in zip(answers, ("Be brief.", "Be long."), strict=True):
        # The seed is the one that was drawn, so that the answer can be had again.
        assert answer.numbers.seed is not None
        drawn = replace(config, seed=answer.numbers.seed)
        assert answer.recipe == Recipe(prompt, drawn)
        assert answer.numbers.model_id == "pocket-guide"


def given(text: str, **config: Any) -> ReplyOptions:
    return ReplyOptions(config=GenerationConfig(**config), begins_with=text)


def test_an_answer_begins_with_what_it_is_given(service: ChatService, loader: FakeLoader) -> None:
    loader._answer = lambda prompt: Script(f"and so on, {prompt}")
    reply = ended(service.reply(ANNA, None, "Hello", given("Well, ")))
    now = reply.snapshot()
    assert (now.text, now.state) == ("Well, and so on, Hello", "complete")
    assert now.numbers.completion_tokens == 4, "of the model's own tokens"
    message = service.conversation(ANNA, reply.conversation_id).path()[-1]
    assert message.content == now.text
    assert message.recipe is not None
    assert message.recipe.given == "Well, "
    again = ended(service.regenerate(ANNA, reply.conversation_id, given("No: ")))
    assert again.snapshot().text == "No: and so on, Hello"


def test_what_is_given_is_shown_and_stored_before_the_model_begins(
    service: ChatService, loader: FakeLoader
) -> None:
    loader.gate.clear()
    reply = service.reply(ANNA, None, "Hello", given("Well, "))
    assert reply.snapshot().text == "Well, "
    assert service._store.conversation(ANNA, reply.conversation_id).path()[-1].content == "Well, "
    reply.stop()
    loader.gate.set()
    assert ended(reply).snapshot().state == "stopped"
    assert texts(service, reply.conversation_id) == ["Hello", "Well, "]


@pytest.mark.parametrize(("text", "state"), [("fail", "failed"), ("hang", "stopped")])
def test_an_answer_without_a_token_keeps_what_it_was_given(
    service: ChatService, loader: FakeLoader, text: str, state: str
) -> None:
    loader._answer = lambda prompt: Script(fails_at=0, hangs=prompt == "hang")
    reply = service.reply(ANNA, None, text, given("Well, "))
    if text == "hang":
        wait_until(lambda: reply.snapshot().phase == "reading")
        reply.stop()
    assert ended(reply).snapshot().state == state
    message = service.conversation(ANNA, reply.conversation_id).path()[-1]
    assert (message.content, message.state) == ("Well, ", state)
    assert message.numbers.completion_tokens is None


def test_the_model_is_shown_the_beginning_as_its_own(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    start = FakeEngine.start

    def note(engine: FakeEngine, request: Request, sink: Sink) -> Cancel:
        asked.append(request)
        return start(engine, request, sink)

    monkeypatch.setattr(FakeEngine, "start", note)
    ended(service.reply(ANNA, None, "Hello", given("Well, ")))
    ended(service.reply(ANNA, None, "Hello", given(" \n")))
    assert bytes(asked[0].prompt_ids).endswith(b"assistant:Well, ")
    assert asked[0].is_begun
    # Blanks alone are what is left of a beginning that was deleted.
    assert b"assistant" not in bytes(asked[1].prompt_ids)
    assert not asked[1].is_begun


def test_a_beginning_over_the_limit_is_refused(service: ChatService) -> None:
    with pytest.raises(InvalidRequestError, match="beginning of the answer"):
        service.reply(ANNA, None, "Hello", given("x" * 32_001))
    assert service.conversations(ANNA) == []
    assert ended(service.reply(ANNA, None, "x", given("\ud800"))).snapshot().text[0] == "\ufffd"


def test_nothing_to_regenerate_is_a_sentence(service: ChatService) -> None:
    service.start()
    empty = service._store.create(ANNA, "", "")
    with pytest.raises(InvalidRequestError, match="Send a message first"):
        service.regenerate(ANNA, empty.id, OPTIONS)
    assert service.running(ANNA, empty.id) is None


@pytest.mark.parametrize("text", ["", "  \n\t ", None, 7])
def test_an_empty_message_is_refused_and_nothing_stored(service: ChatService, text: str) -> None:
    with pytest.raises(InvalidRequestError, match="empty"):
        service.reply(ANNA, None, text, OPTIONS)
    assert service.conversations(ANNA) == []


def test_a_message_over_the_limit_is_refused_with_the_numbers(service: ChatService) -> None:
    with pytest.raises(InvalidRequestError, match=r"32,001 characters; 32,000 is the limit"):
        service.reply(ANNA, None, "x" * 32_001, OPTIONS)
    with pytest.raises(InvalidRequestError, match="system prompt"):
        service.reply(ANNA, None, "x", ReplyOptions(system_prompt="x" * 32_001))
    assert service.conversations(ANNA) == []


def test_half_a_surrogate_pair_is_no_text_and_does_no_harm(service: ChatService) -> None:
    reply = ended(service.reply(ANNA, None, "a\ud800b", OPTIONS))
    assert texts(service, reply.conversation_id)[0] == "a\ufffdb"


def test_a_foreign_conversation_and_an_unknown_one_answer_alike(service: ChatService) -> None:
    annas = service.reply(ANNA, None, "slow", OPTIONS).conversation_id
    for conversation_id in (annas, "0" * 32, "", "../x"):
        assert service.running(BEN, conversation_id) is None
        for call in (
            lambda c=conversation_id: service.conversation(BEN, c),
            lambda c=conversation_id: service.reply(BEN, c, "mine?", OPTIONS),
            lambda c=conversation_id: service.regenerate(BEN, c, OPTIONS),
        ):
            with pytest.raises(NotFoundError) as refusal:
                call()
            assert str(refusal.value) == str(NotFoundError())
    assert service.conversations(BEN) == []
    service.stop_reply(ANNA, annas)


def test_the_oldest_turns_leave_and_the_answer_says_so(
    make_service: Callable[..., ChatService], loader: FakeLoader
) -> None:
    loader._window_tokens = 400
    service = make_service()
    options = ReplyOptions("Be brief.", GenerationConfig(max_new_tokens=100))
    reply = ended(service.reply(ANNA, None, "first " * 20, options))
    for number in range(3):
        reply = ended(service.reply(ANNA, reply.conversation_id, f"message {number}", options))
    numbers = reply.snapshot().numbers
    assert reply.snapshot().state == "complete"
    assert numbers.dropped_messages == 2
    assert numbers.prompt_tokens is not None
    assert numbers.prompt_tokens <= 300
    too_long = ended(service.reply(ANNA, reply.conversation_id, "x" * 400, options))
    assert too_long.snapshot().state == "failed"
    assert "Shorten the message" in (too_long.snapshot().error or "")
    assert texts(service, reply.conversation_id)[-2] == "x" * 400  # the message isn't lost


def test_a_reply_waits_for_its_turn_until_the_engine_has_started(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Request, Sink]] = []

    def hold(engine: FakeEngine, request: Request, sink: Sink) -> Cancel:
        asked.append((request, sink))
        return lambda: sink(Finished("cancelled"))

    monkeypatch.setattr(FakeEngine, "start", hold)
    reply = service.reply(ANNA, None, "Hello", OPTIONS)
    wait_until(lambda: bool(asked))
    assert reply.snapshot().phase == "queued"
    request, sink = asked[0]
    assert request.owner == ANNA
    sink(Started(5))
    assert reply.snapshot().phase == "reading"
    assert reply.snapshot().numbers.reused_tokens == 5
    sink(Delta("Hi", 1))
    assert reply.snapshot().phase == "writing"
    sink(Finished("stop"))
    assert ended(reply).snapshot().text == "Hi"


def test_what_was_reused_and_drafted_is_stored(service: ChatService, loader: FakeLoader) -> None:
    end = Finished("stop", drafted_tokens=60, accepted_tokens=41, assisted_speedup=1.4)
    loader._answer = lambda prompt: Script("Hi", reused_tokens=12, end=end)
    reply = ended(service.reply(ANNA, None, "Hello", OPTIONS))
    numbers = service.conversation(ANNA, reply.conversation_id).path()[-1].numbers
    assert numbers.reused_tokens == 12
    assert (numbers.drafted_tokens, numbers.accepted_tokens) == (60, 41)
    assert numbers.assisted_speedup == 1.4


class Panic(BaseException):
    """What a library that is not Python's may raise."""


@pytest.mark.parametrize("method", ["encode", "start"])
@pytest.mark.parametrize("error", [RuntimeError("secret"), MemoryError(), Panic("secret")])
def test_whatever_an_engine_raises_ends_the_answer_with_a_sentence(
    service: ChatService, monkeypatch: pytest.MonkeyPatch, method: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(FakeEngine, method, fail)
        reply = ended(service.reply(ANNA, None, "Hello", OPTIONS))
    now = reply.snapshot()
    assert (now.state, now.phase) == ("failed", "done")
    assert (now.error or "").startswith("Something went wrong inside the app.")
    again = ended(service.reply(ANNA, reply.conversation_id, "once more", OPTIONS))
    assert again.snapshot().state == "complete"


def test_whatever_a_loader_raises_ends_the_answer_with_a_sentence(
    make_service: Callable[..., ChatService], loader: FakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> FakeEngine:
        raise Panic("secret")

    monkeypatch.setattr(FakeLoader, "__call__", fail)
    reply = ended(make_service().reply(ANNA, None, "Hello", OPTIONS))
    assert reply.snapshot().state == "failed"
    assert (reply.snapshot().error or "").startswith("Something went wrong inside the app.")


def test_a_reply_without_a_thread_gives_its_place_back(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ended(service.reply(ANNA, None, "Hello", OPTIONS))
    wait_until(lambda: service.running(ANNA, first.conversation_id) is None)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            service.reply(ANNA, first.conversation_id, "too many", OPTIONS)
    again = ended(service.reply(ANNA, first.conversation_id, "again", OPTIONS))
    assert again.snapshot().state == "complete"


def test_an_answer_that_no_page_follows_is_stopped_after_the_grace_period(
    make_service: Callable[..., ChatService],
) -> None:
    service = make_service(orphan_grace_s=0.0)
    followed = service.reply(ANNA, None, "slow", OPTIONS)
    with followed.followed():
        orphan = ended(service.reply(BEN, None, "slow", OPTIONS))
        assert orphan.snapshot().state == "stopped"
        if not followed.is_stopping:  # it may have been stopped before it was followed
            assert followed.snapshot().state == "writing"
    assert ended(followed).snapshot().state == "stopped"


def test_an_engine_that_hangs_does_not_keep_the_conversation(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_ui.service.replies.STOP_DEADLINE_S", 0.05)
    reply = service.reply(ANNA, None, "hang", OPTIONS)
    wait_until(lambda: reply.snapshot().phase == "reading")  # the fake says that it has started
    reply.began(lambda: None)  # an engine that does not listen
    reply.stop()
    assert ended(reply).snapshot().state == "stopped"


def test_closing_stores_what_was_written_and_a_new_service_finds_it(
    make_service: Callable[..., ChatService],
) -> None:
    service = make_service()
    reply = service.reply(ANNA, None, "slow", OPTIONS)
    wait_until(lambda: len(reply.snapshot().text) > 20)
    service.close()
    after = make_service()
    message = after.conversation(ANNA, reply.conversation_id).path()[-1]
    assert message.state == "interrupted"
    assert message.content == reply.snapshot().text
    assert len(message.content) > 20


def test_after_closing_nothing_is_taken_any_more(service: ChatService) -> None:
    ended(service.reply(ANNA, None, "Hello", OPTIONS))
    service.close()
    with pytest.raises(BusyError, match="ending"):
        service.reply(ANNA, None, "Hello?", OPTIONS)


def test_an_answer_that_ends_while_it_is_looked_at_is_never_shown_as_cut_off(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = service.reply(ANNA, None, "slow", OPTIONS)
    wait_until(lambda: bool(reply.snapshot().text))
    store, read = service._store, service._store.conversation

    def read_then_end(owner: str, conversation_id: str) -> Conversation:
        conversation = read(owner, conversation_id)
        reply.stop()
        ended(reply)
        wait_until(lambda: service.running(ANNA, reply.conversation_id) is None)
        return conversation

    monkeypatch.setattr(store, "conversation", read_then_end)
    shown = service.conversation(ANNA, reply.conversation_id).path()[-1]
    assert shown.state == "stopped"


@pytest.mark.parametrize(
    "error", [HistoryError("The disk is full.", "Free some."), NotFoundError()]
)
def test_an_answer_that_can_not_be_stored_says_so_and_frees_the_conversation(
    service: ChatService, monkeypatch: pytest.MonkeyPatch, error: ChatUIError
) -> None:
    ended(service.reply(ANNA, None, "first", OPTIONS))

    def refuse(*args: object, **kwargs: object) -> bool:
        raise error

    monkeypatch.setattr(service._store, "update_answer", refuse)
    reply = ended(service.reply(ANNA, None, "Hello", OPTIONS))
    assert reply.snapshot().error == str(error)
    assert service.running(ANNA, reply.conversation_id) is None
    monkeypatch.undo()
    again = ended(service.reply(ANNA, None, "once more", OPTIONS))
    assert again.snapshot().state == "complete"


def test_regenerate_keeps_the_system_prompt_it_used(service: ChatService) -> None:
    first = ended(service.reply(ANNA, None, "Hello", ReplyOptions("Be brief.")))
    ended(service.regenerate(ANNA, first.conversation_id, ReplyOptions("Be long.")))
    assert service.conversation(ANNA, first.conversation_id).system_prompt == "Be long."


def test_a_data_folder_in_use_is_refused_and_free_again_after_the_end(
    make_service: Callable[..., ChatService],
) -> None:
    service = make_service()
    reply = service.reply(ANNA, None, "slow", OPTIONS)
    with pytest.raises(StartupError, match="used by another chat_ui"):
        make_service().start()
    assert reply.snapshot().state == "writing"
    service.close()
    make_service().start()


def test_who_still_reads_while_the_server_ends_sees_the_end(service: ChatService) -> None:
    reply = service.reply(ANNA, None, "slow", OPTIONS)
    wait_until(lambda: bool(reply.snapshot().text))
    service.close_replies(20)
    message = service.conversation(ANNA, reply.conversation_id).path()[-1]
    assert (message.state, message.content) == ("interrupted", reply.snapshot().text)


def test_tokens_that_come_in_a_burst_say_nothing_of_the_pace(service: ChatService) -> None:
    numbers = ended(service.reply(ANNA, None, "Hello", OPTIONS)).snapshot().numbers
    assert numbers.completion_tokens == 3
    assert numbers.decode_tokens_per_s is None


def test_a_store_that_can_not_be_opened_does_not_keep_the_data_folder(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(data_dir: Path, most: int) -> Store:
        raise StartupError("The database is newer than this program.", "Update the app.")

    with monkeypatch.context() as broken:
        broken.setattr(Store, "open", refuse)
        for _ in range(2):
            with pytest.raises(StartupError, match="newer than this program"):
                service.start()
    service.start()


def test_all_answers_are_stopped_and_stored_together(service: ChatService) -> None:
    service.stop_all_replies()  # before anything is open
    replies = {owner: service.reply(owner, None, "slow", OPTIONS) for owner in (ANNA, BEN)}
    wait_until(lambda: all(reply.snapshot().text for reply in replies.values()))
    service.stop_all_replies()
    for owner, reply in replies.items():
        last = service.conversation(owner, ended(reply).conversation_id).path()[-1]
        assert last.state == "stopped"
        assert last.content.startswith("word")
    ended(service.reply(ANNA, None, "Hello", OPTIONS))


def test_a_reply_that_ended_at_once_leaves_the_next_one_its_place(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = ended(service.reply(ANNA, None, "Hello", OPTIONS)).conversation_id
    replies, asking = service._backend.replies, threading.current_thread()
    with ExitStack() as stack:

        def used(conversation_id: str) -> None:
            # The request still waits here when its answer has ended and another comes.
            if threading.current_thread() is asking:
                wait_until(lambda: replies.get(ANNA, c) is None)
                stack.enter_context(replies.reserved(ANNA, c, OPTIONS))

        with monkeypatch.context() as patched:
            patched.setattr(replies, "_used", used)
            service.reply(ANNA, c, "And again", OPTIONS)
        with pytest.raises(BusyError):
            service.reply(ANNA, c, "A third", OPTIONS)
    ended(service.reply(ANNA, c, "Now", OPTIONS))


def test_a_message_that_can_not_be_stored_leaves_no_empty_chat(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.start()
    store = service._store

    def refuse(*args: Any, **more: Any) -> None:
        raise HistoryError("It is busy." if args == ("busy",) else "The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(store, "add_question", refuse)
        with pytest.raises(HistoryError, match="full"):
            service.reply(ANNA, None, "Hello", OPTIONS)
        assert service.conversations(ANNA) == []
        # Where that fails as well, the first reason is the one that is told.
        patched.setattr(store.list, "remove", lambda ids: refuse("busy"))
        with pytest.raises(HistoryError, match="full"):
            service.reply(ANNA, None, "Hello", OPTIONS)
    ended(service.reply(ANNA, None, "Hello", OPTIONS))


def asked_while_written(service: ChatService, monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    """Have `end` called when the rows of the next message are there, and its reply is not."""
    add_question = service._store.add_question

    def add_and_end(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(service._store, "add_question", add_question)
        added = add_question(*args, **more)
        end()
        return added

    monkeypatch.setattr(service._store, "add_question", add_and_end)


@pytest.mark.parametrize("end", ["stop", "stop all", "delete", "close"])
def test_a_reply_that_is_ended_before_it_has_begun_never_has_a_model(
    service: ChatService, loader: FakeLoader, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    c = ended(service.reply(ANNA, None, "Hello", OPTIONS)).conversation_id
    ends = {
        "stop": lambda: service.stop_reply(ANNA, c),
        "stop all": service.stop_all_replies,
        "delete": lambda: service.delete_conversation(ANNA, c),
        "close": lambda: service.close_replies(0.0),
    }
    asked_while_written(service, monkeypatch, ends[end])
    reply = ended(service.reply(ANNA, c, "slow", OPTIONS))
    assert reply.snapshot().state == ("interrupted" if end == "close" else "stopped")
    assert reply.snapshot().text == ""
    assert len(loader.engines[0].prompts) == 1


def test_a_reply_that_has_not_begun_goes_with_its_forgotten_owner(
    service: ChatService, loader: FakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.start()
    forgetting = threading.Thread(target=service.forget, args=(ANNA,))

    def forget() -> None:
        forgetting.start()
        wait_until(lambda: all(it.end_state for it in service._backend.replies._places.values()))

    asked_while_written(service, monkeypatch, forget)
    reply = ended(service.reply(ANNA, None, "slow", OPTIONS))
    forgetting.join()
    assert service.conversations(ANNA) == []
    with pytest.raises(NotFoundError):
        service.conversation(ANNA, reply.conversation_id)
    assert not any(engine.prompts for engine in loader.engines)
