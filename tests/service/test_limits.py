"""What a visitor may ask of the service: turns in a minute, tokens, time, conversations."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Numbers
from chat_ui.engine.protocol import Started
from chat_ui.errors import BusyError, NotAllowedError
from chat_ui.service import ChatService, Reply, ReplyOptions
from chat_ui.service.rates import Rate
from chat_ui.service.stop_file import FILE_NAME
from tests.service.conftest import ended
from tests.service.test_waiting import ANNA, BEN, CARL, OPTIONS, Clock

Make = Callable[..., ChatService]


def rate(clock: Clock, in_all: int = 0, of_one: int = 0) -> Rate:
    return Rate(in_all, of_one, clock, done="begun {count} answers", again="Send it again")


def test_a_minute_slides() -> None:
    clock = Clock()
    turns = rate(clock, of_one=2)
    for _ in range(2):
        turns.refuse_surplus(ANNA)
        turns.count(ANNA)
        clock.now += 10
    with pytest.raises(BusyError, match=r"2 answers in a minute.*again in 40 s\."):
        turns.refuse_surplus(ANNA)
    turns.refuse_surplus(BEN)
    clock.now += 40
    turns.refuse_surplus(ANNA)
    turns.count(ANNA)
    with pytest.raises(BusyError, match=r"again in 10 s\."):
        turns.refuse_surplus(ANNA)


def test_all_visitors_have_a_minute_together_and_are_forgotten_after_it() -> None:
    clock = Clock()
    turns = rate(clock, in_all=2)
    for owner in (ANNA, BEN):
        turns.refuse_surplus(owner)
        turns.count(owner)
    with pytest.raises(BusyError, match=r"The server has begun 2 answers.*again in 60 s\."):
        turns.refuse_surplus(CARL)
    clock.now += 60
    turns.refuse_surplus(CARL)
    assert not turns._times


def test_without_a_limit_nothing_is_remembered() -> None:
    turns = rate(Clock())
    turns.count(ANNA)
    assert not turns._times


def test_every_way_to_begin_an_answer_is_a_turn(make_service: Make) -> None:
    service = make_service(limits={"turns_per_minute_per_visitor": 4})
    first = ended(service.reply(ANNA, None, "Hello", OPTIONS))
    chat = first.conversation_id
    ended(service.regenerate(ANNA, chat, OPTIONS))
    ended(service.continue_answer(ANNA, chat, None, OPTIONS))
    question = service.conversation(ANNA, chat).path()[0].id
    ended(service.edit_question(ANNA, chat, question, "Hi", OPTIONS))
    before = len(service.conversation(ANNA, chat).messages)
    with pytest.raises(BusyError, match="You have begun 4 answers in a minute"):
        service.regenerate(ANNA, chat, OPTIONS)
    with pytest.raises(BusyError, match="in a minute"):
        service.reply(ANNA, None, "Hello", OPTIONS)
    assert len(service.conversation(ANNA, chat).messages) == before
    assert len(service.conversations(ANNA)) == 1
    assert ended(service.reply(BEN, None, "Hello", OPTIONS)).snapshot().state == "complete"


def asked_from(address: str) -> ReplyOptions:
    return ReplyOptions(address=address)


def test_one_address_has_a_third_of_all_turns_as_however_many_visitors(make_service: Make) -> None:
    service = make_service("share", {"turns_per_minute": 9})
    for number in range(3):
        ended(service.reply(f"{number}" * 64, None, "Hello", asked_from("8.8.4.4")))
    with pytest.raises(BusyError, match="with your network address have begun 3 answers"):
        service.reply("4" * 64, None, "Hello", asked_from("8.8.4.4"))
    for owner, address in ((ANNA, "9.9.9.9"), (BEN, ""), (CARL, "")):
        ended(service.reply(owner, None, "Hello", asked_from(address)))


def test_the_owner_begins_answers_where_visitors_have_used_up_all_turns(
    make_service: Make,
) -> None:
    service = make_service("share", {"turns_per_minute": 2})
    options = ReplyOptions(is_owner=True)
    for _ in range(3):  # which are none of the visitors'
        chat = ended(service.reply(CARL, None, "Hello", options)).conversation_id
    for owner in (ANNA, BEN):
        ended(service.reply(owner, None, "Hello", OPTIONS))
    with pytest.raises(BusyError, match="The server has begun 2 answers"):
        service.reply(ANNA, None, "Hello", OPTIONS)
    question = service.conversation(CARL, chat).path()[0].id
    ended(service.regenerate(CARL, chat, options))
    ended(service.continue_answer(CARL, chat, None, options))
    ended(service.edit_question(CARL, chat, question, "Hi", options))


def test_at_home_limits_that_were_set_hold_for_the_owner(make_service: Make) -> None:
    service = make_service(limits={"turns_per_minute": 1})
    ended(service.reply(ANNA, None, "Hello", ReplyOptions(is_owner=True)))
    with pytest.raises(BusyError, match="The server has begun 1 answers"):
        service.reply(ANNA, None, "Hello", ReplyOptions(is_owner=True))


def test_a_visitor_s_request_that_ends_while_the_chat_is_paused_begins_no_answer(
    make_service: Make, tmp_path: Path
) -> None:
    service = make_service("share")
    chat = ended(service.reply(ANNA, None, "Hello", OPTIONS)).conversation_id
    question, answer = service.conversation(ANNA, chat).path()
    (tmp_path / FILE_NAME).touch()
    for begin in (
        lambda: service.reply(ANNA, None, "Hello", OPTIONS),
        lambda: service.reply(ANNA, chat, "Hello", OPTIONS),
        lambda: service.regenerate(ANNA, chat, OPTIONS),
        lambda: service.continue_answer(ANNA, chat, answer.id, OPTIONS),
        lambda: service.edit_question(ANNA, chat, question.id, "Hi", OPTIONS),
    ):
        with pytest.raises(NotAllowedError, match="closed for a while"):
            begin()
    assert len(service.conversation(ANNA, chat).messages) == 2
    assert len(service.conversations(ANNA)) == 1
    ended(service.reply(BEN, None, "Hello", ReplyOptions(is_owner=True)))
    (tmp_path / FILE_NAME).unlink()
    ended(service.regenerate(ANNA, chat, OPTIONS))


def test_at_home_the_stop_switch_s_file_is_any_file(make_service: Make, tmp_path: Path) -> None:
    service = make_service()
    (tmp_path / FILE_NAME).touch()
    ended(service.reply(ANNA, None, "Hello", OPTIONS))


def test_more_new_tokens_than_may_be_are_lowered_and_the_answer_says_so(
    make_service: Make,
) -> None:
    service = make_service(limits={"new_tokens": 5})
    options = ReplyOptions(config=GenerationConfig(max_new_tokens=50, seed=1))
    reply = ended(service.reply(ANNA, None, "slow", options))
    [_, answer] = service.conversation(ANNA, reply.conversation_id).path()
    assert (answer.state, answer.numbers.completion_tokens) == ("length", 5)
    assert answer.recipe is not None
    assert answer.recipe.config.max_new_tokens == 5


def test_an_answer_ends_after_its_time_and_can_go_on(make_service: Make) -> None:
    service = make_service(limits={"answer_seconds": 1})
    reply = ended(service.reply(ANNA, None, "slow", OPTIONS))
    [_, answer] = service.conversation(ANNA, reply.conversation_id).path()
    assert (answer.state, answer.error) == ("length", None)
    assert answer.numbers.time_limit_s == 1
    assert answer.content.startswith("word")
    further = service.continue_answer(ANNA, reply.conversation_id, None, OPTIONS)
    further.stop()
    further = ended(further)
    assert further.snapshot().state == "stopped"
    assert further.snapshot().numbers.time_limit_s is None


def test_waiting_is_no_writing() -> None:
    reply = Reply("c", "m", Numbers(), 0.0)
    reply.enter("queued")
    assert reply.written_s() == 0
    reply.take(Started(0))
    assert reply.written_s() > 0


@pytest.fixture
def full(make_service: Make) -> ChatService:
    """A service that keeps two conversations of a visitor, and has them."""
    service = make_service(limits={"conversations_per_visitor": 2})
    for text in ("one", "two"):
        ended(service.reply(ANNA, None, text, OPTIONS))
    return service


FULL = r"keeps 2 conversations for one visitor\. Delete some first"


def test_a_conversation_too_many_is_refused_however_it_comes(full: ChatService) -> None:
    [newest, _] = full.conversations(ANNA)
    answer = full.conversation(ANNA, newest.id).path()[-1].id
    _, file = full.export_json(ANNA, newest.id)
    for call in (
        lambda: full.reply(ANNA, None, "three", OPTIONS),
        lambda: full.branch(ANNA, newest.id, answer),
        lambda: full.add_conversations(ANNA, file),
    ):
        with pytest.raises(NotAllowedError, match=FULL):
            call()
    assert [c.title for c in full.conversations(ANNA)] == ["two", "one"]
    # What is there goes on, and others and temporary ones have room.
    ended(full.reply(ANNA, newest.id, "more", OPTIONS))
    ended(full.reply(BEN, None, "Hello", OPTIONS))
    ended(full.reply(ANNA, None, "Hello", OPTIONS, is_temporary=True))


def test_a_deleted_conversation_makes_room_which_an_undo_has_to_find_again(
    full: ChatService,
) -> None:
    [newest, _] = full.conversations(ANNA)
    full.delete_conversation(ANNA, newest.id)
    ended(full.reply(ANNA, None, "three", OPTIONS))
    with pytest.raises(NotAllowedError, match=FULL):
        full.restore_conversation(ANNA, newest.id)
    assert [c.title for c in full.conversations(ANNA)] == ["three", "one"]
    full.delete_conversation(ANNA, full.conversations(ANNA)[0].id)
    full.restore_conversation(ANNA, newest.id)
    assert [c.title for c in full.conversations(ANNA)] == ["two", "one"]


ROOM = r"keeps 1 MB of conversations for one visitor\. Delete a chat first"


def taken(call: Callable[[], object], refusal: str) -> int:
    """How often it can be called before it is refused, for good."""
    for count in range(100):
        try:
            call()
        except NotAllowedError as error:
            if re.search(refusal, str(error)):
                return count
            raise
    raise AssertionError("it is never refused")


def test_bytes_too_many_are_refused_however_they_come(make_service: Make) -> None:
    service = make_service(limits={"kept_mb_per_visitor": 1})
    reply = ended(service.reply(ANNA, None, "x" * 30_000, OPTIONS))
    c, answer = reply.conversation_id, reply.message_id
    question = service.conversation(ANNA, c).path()[0].id
    _, file = service.export_json(ANNA, c)
    assert taken(lambda: service.branch(ANNA, c, answer), ROOM) == 15  # of 60 kB each
    assert taken(lambda: service.add_conversations(ANNA, file), ROOM) == 0
    # A message is taken as long as there is any room.
    assert taken(lambda: service.edit_answer(ANNA, c, answer, "x" * 30_000), ROOM) == 1
    for call in (
        lambda: service.reply(ANNA, None, "more", OPTIONS),
        lambda: service.reply(ANNA, c, "more", OPTIONS),
        lambda: service.regenerate(ANNA, c, OPTIONS),
        lambda: service.edit_question(ANNA, c, question, "more", OPTIONS),
    ):
        assert taken(call, ROOM) == 0
    ended(service.reply(BEN, None, "Hello", OPTIONS))
    *_, oldest = service.conversations(ANNA)
    service.delete_conversation(ANNA, oldest.id)
    taken(lambda: service.edit_answer(ANNA, c, answer, "x" * 30_000), ROOM)
    assert taken(lambda: service.restore_conversation(ANNA, oldest.id), ROOM) == 0


@pytest.mark.parametrize("is_temporary", [False, True])
def test_who_copies_and_deletes_in_turns_does_not_fill_the_server(
    make_service: Make, is_temporary: bool
) -> None:
    service = make_service(limits={"kept_mb_per_visitor": 1})
    begun = service.reply(ANNA, None, "x" * 30_000, OPTIONS, is_temporary=is_temporary)
    reply = ended(begun)

    def copy_and_delete() -> None:
        copy = service.branch(ANNA, reply.conversation_id, reply.message_id)
        service.delete_conversation(ANNA, copy)

    # Of 60 kB each: twice what is kept of them.
    assert taken(copy_and_delete, "that you deleted still take up your room") == 31


def test_bytes_of_other_alphabets_and_of_recipes_count(make_service: Make) -> None:
    service = make_service(limits={"kept_mb_per_visitor": 1})
    options = ReplyOptions(system_prompt="x" * 30_000)
    # Of 90 kB each: the question, the answer that repeats it, its recipe.
    assert taken(lambda: ended(service.reply(ANNA, None, "\u65e5" * 10_000, options)), ROOM) == 11


def test_temporary_conversations_have_their_bytes_too(make_service: Make) -> None:
    service = make_service(limits={"kept_mb_per_visitor": 1})
    reply = ended(service.reply(ANNA, None, "x" * 30_000, OPTIONS, is_temporary=True))
    c, answer = reply.conversation_id, reply.message_id
    assert taken(lambda: service.edit_answer(ANNA, c, answer, "x" * 30_000), ROOM) == 31


def test_no_visitor_grows_the_database_beyond_its_size(make_service: Make) -> None:
    service = make_service(limits={"kept_mb": 1})
    owners = iter(f"{number:064}" for number in range(100))
    refusal = "no room for more conversations"
    count = taken(lambda: ended(service.reply(next(owners), None, "x" * 30_000, OPTIONS)), refusal)
    assert 10 < count < 17
    service.forget(f"{0:064}")
    service.forget(f"{1:064}")
    ended(service.reply(ANNA, None, "Hello", OPTIONS))


def test_no_visitors_fill_the_memory_with_temporary_conversations(make_service: Make) -> None:
    service = make_service(limits={"kept_mb": 1})
    owners = iter(f"{number:064}" for number in range(100))

    def reply() -> None:
        ended(service.reply(next(owners), None, "x" * 30_000, OPTIONS, is_temporary=True))

    assert 10 < taken(reply, "no room for more conversations") < 18


def test_a_deleted_conversation_comes_back_though_the_server_is_full(make_service: Make) -> None:
    service = make_service(limits={"kept_mb": 1})
    reply = ended(service.reply(ANNA, None, "x" * 30_000, OPTIONS))
    c, answer = reply.conversation_id, reply.message_id
    taken(lambda: service.branch(ANNA, c, answer), "no room for more conversations")
    taken(lambda: service.edit_answer(ANNA, c, answer, "x"), "no room for more conversations")
    service.delete_conversation(ANNA, c)
    service.restore_conversation(ANNA, c)
    assert c in [one.id for one in service.conversations(ANNA)]


def test_files_are_exported_and_imported_so_often_in_a_minute(make_service: Make) -> None:
    service = make_service(limits={"files_per_minute_per_visitor": 3})
    c = ended(service.reply(ANNA, None, "Hello", OPTIONS)).conversation_id
    _, file = service.export_json(ANNA, None)
    service.export_markdown(ANNA, c)
    service.add_conversations(ANNA, file)
    for call in (
        lambda: service.export_json(ANNA, c),
        lambda: service.export_markdown(ANNA, c),
        lambda: service.add_conversations(ANNA, file),
    ):
        with pytest.raises(BusyError, match=r"exported or imported 3 files.*Try again in"):
            call()
    service.export_json(BEN, None)
