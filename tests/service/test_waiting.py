"""Turns: who writes, who waits, and who is sent away."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chat_ui.engine.fake import FakeEngine
from chat_ui.errors import BusyError
from chat_ui.limits import LIMITS
from chat_ui.service import ChatService, Reply, ReplyOptions
from chat_ui.service.waiting import Place, Ticket, WaitingRoom
from tests.service.conftest import ended, wait_until

ANNA, BEN, CARL = "a" * 64, "b" * 64, "c" * 64
OPTIONS = ReplyOptions()
ONE_TURN = {"replies": 1, "replies_per_visitor": 1, "waiting": 4, "waiting_per_visitor": 2}

Make = Callable[..., ChatService]


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def room(clock: Clock | None = None, **limits: int) -> WaitingRoom:
    return WaitingRoom(replace(LIMITS["share"], **{**ONE_TURN, **limits}), clock or Clock())


def has_turn(ticket: Ticket) -> bool:
    return ticket.place is None


def test_visitors_take_turns() -> None:
    turns = room(waiting_per_visitor=4)
    first = turns.enter(CARL)
    annas = [turns.enter(ANNA) for _ in range(3)]
    bens = [turns.enter(BEN)]
    waiting, order = [*annas, *bens], []
    while waiting:
        turns.leave(first)
        [first] = [ticket for ticket in waiting if has_turn(ticket)]
        waiting.remove(first)
        order.append(first)
    assert order == [annas[0], bens[0], annas[1], annas[2]]


def test_the_owner_waits_where_visitors_take_all_places() -> None:
    turns = room(waiting=1)
    turns.enter(ANNA)
    turns.enter(BEN)
    with pytest.raises(BusyError, match="as many as it takes"):
        turns.enter(CARL)
    for _ in range(2):
        assert turns.enter(CARL, is_let_in=True).place is not None
    with pytest.raises(BusyError, match="2 of your messages are waiting"):
        turns.enter(CARL, is_let_in=True)


def test_a_visitor_with_all_their_turns_holds_up_nobody() -> None:
    turns = room(replies=2)
    first, second = turns.enter(ANNA), turns.enter(ANNA)
    assert second.place == Place(0, None, is_own=True)
    assert has_turn(turns.enter(BEN))
    turns.leave(first)
    assert has_turn(second)


def test_places_and_guesses_follow_those_who_leave() -> None:
    clock = Clock()
    turns = room(clock)
    first = turns.enter(ANNA)
    second, third = turns.enter(BEN), turns.enter(CARL)
    # Nothing is known of how long it takes.
    assert (second.place, third.place) == (Place(0, None, False), Place(1, None, False))
    clock.now += 10
    turns.leave(first)
    assert has_turn(second)
    assert third.place == Place(0, 10.0, False)
    clock.now += 4
    own = turns.enter(BEN)
    assert third.place == Place(0, 6.0, False)
    assert own.place == Place(1, 16.0, True)
    turns.give_up(third)
    assert own.place == Place(0, 6.0, True)
    clock.now += 60  # longer than ever: it may end at any moment
    assert turns.enter(CARL).place == Place(1, 10.0, False)


def test_two_turns_at_once_halve_the_wait() -> None:
    clock = Clock()
    turns = room(clock, replies=2)
    first = turns.enter("z")
    clock.now += 10
    turns.leave(first)
    waiting = [turns.enter(one) for one in "abcdef"][2:]
    places = [one.place for one in waiting]
    assert [one.wait_s for one in places if one] == [10.0, 10.0, 20.0, 20.0]


def test_who_is_sent_away_hears_how_long_it_takes() -> None:
    clock = Clock()
    turns = room(clock, waiting=2, waiting_per_visitor=1)
    first = turns.enter(ANNA)
    turns.enter(ANNA)
    with pytest.raises(BusyError, match=r"One of your messages is waiting.* in a moment, or press"):
        turns.enter(ANNA)
    turns.enter(BEN)
    with pytest.raises(BusyError, match=r"2 messages waiting, as many as it takes.* in a moment"):
        turns.enter(CARL)
    clock.now += 30
    turns.leave(first)
    turns.enter(CARL)
    with pytest.raises(BusyError, match="Send yours again in about 30 s"):
        turns.enter("d")


def test_leaving_twice_gives_one_turn_back() -> None:
    turns = room()
    first, second, third = turns.enter(ANNA), turns.enter(BEN), turns.enter(CARL)
    turns.leave(first)
    turns.leave(first)
    assert has_turn(second)
    assert not has_turn(third)
    turns.leave(third)
    turns.leave(second)
    assert turns.running == 0


def waiting(reply: Reply) -> Place:
    """The place of one that waits."""
    now = reply.snapshot()
    assert now.phase == "waiting"
    assert now.place is not None
    return now.place


def test_what_is_beyond_the_limit_waits_is_stored_and_is_answered(make_service: Make) -> None:
    service = make_service(limits=ONE_TURN)
    first = service.reply(ANNA, None, "hang", OPTIONS)
    second = service.reply(BEN, None, "Hello", OPTIONS)
    third = service.reply(CARL, None, "Hello", OPTIONS)
    assert (waiting(second).before, waiting(third).before) == (0, 1)
    stored = service._store.conversation(BEN, second.conversation_id).path()
    # "writing" is what a restart makes "interrupted".
    assert [(one.content, one.state) for one in stored] == [("Hello", "complete"), ("", "writing")]
    first.stop()
    assert ended(second).snapshot().text == "You said: Hello"
    assert ended(third).snapshot().state == "complete"
    assert third.snapshot().place is None


def test_the_place_shown_follows_those_who_leave(make_service: Make) -> None:
    service = make_service(limits=ONE_TURN)
    service.reply(ANNA, None, "hang", OPTIONS)
    second = service.reply(BEN, None, "Hello", OPTIONS)
    third = service.reply(CARL, None, "Hello", OPTIONS)
    second.stop()
    wait_until(lambda: waiting(third).before == 0)


def test_stop_ends_one_that_waits_and_it_never_reaches_the_model(
    make_service: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(limits=ONE_TURN, store_every_s=3600.0)  # nothing wakes it but Stop
    first = service.reply(ANNA, None, "hang", OPTIONS)
    wait_until(lambda: first.snapshot().phase == "reading")
    monkeypatch.delattr(FakeEngine, "start")
    second = service.reply(BEN, None, "Hello", OPTIONS)
    service.stop_reply(BEN, second.conversation_id)
    assert ended(second).snapshot().state == "stopped"
    assert service.conversation(BEN, second.conversation_id).path()[-1].state == "stopped"
    assert not first.ended.is_set()


def test_one_that_waits_is_interrupted_when_the_server_ends(make_service: Make) -> None:
    service = make_service(limits=ONE_TURN)
    service.reply(ANNA, None, "hang", OPTIONS)
    second = service.reply(BEN, None, "Hello", OPTIONS)
    service.close_replies(20.0)
    assert ended(second).snapshot().state == "interrupted"


def test_one_that_waits_and_that_nobody_follows_is_stopped(make_service: Make) -> None:
    service = make_service(limits=ONE_TURN)
    first = service.reply(ANNA, None, "hang", OPTIONS)
    second = service.reply(BEN, None, "Hello", OPTIONS)
    second._left_at -= 7200  # two hours ago
    assert ended(second).snapshot().state == "stopped"
    assert not first.ended.is_set()


def test_a_message_that_is_sent_away_leaves_nothing(make_service: Make) -> None:
    service = make_service("share", ONE_TURN | {"waiting_per_visitor": 1})
    mine = service.reply(ANNA, None, "hang", OPTIONS)
    service.reply(ANNA, None, "second", OPTIONS)
    with pytest.raises(BusyError, match="One of your messages is waiting"):
        service.reply(ANNA, None, "third", OPTIONS)
    assert [c.title for c in service.conversations(ANNA)] == ["second", "hang"]
    service.stop_reply(ANNA, mine.conversation_id)


def test_a_conversation_whose_answer_waits_takes_no_other(make_service: Make) -> None:
    service = make_service(limits=ONE_TURN)
    service.reply(ANNA, None, "hang", OPTIONS)
    second = service.reply(BEN, None, "Hello", OPTIONS)
    with pytest.raises(BusyError, match="in this conversation"):
        service.reply(BEN, second.conversation_id, "again", OPTIONS)


def test_who_reads_the_end_may_send_at_once(make_service: Make) -> None:
    service = make_service(limits=ONE_TURN | {"waiting": 1, "waiting_per_visitor": 1})
    mine = service.reply(ANNA, None, "hang", OPTIONS)
    service.reply(BEN, None, "hang", OPTIONS)
    mine.stop()
    assert mine.ended.wait(20)  # not `stored`
    waiting(service.reply(ANNA, None, "now", OPTIONS))


def test_a_message_that_could_not_be_stored_gives_its_turn_back(
    make_service: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(limits=ONE_TURN)
    with monkeypatch.context() as broken:
        broken.delattr("chat_ui.history.store.Store.add_question")
        with pytest.raises(AttributeError):
            service.reply(ANNA, None, "Hello", OPTIONS)
    assert ended(service.reply(BEN, None, "Hello", OPTIONS)).snapshot().state == "complete"
