"""The replies that are being written: one for a conversation, each with a thread of its own.

The thread waits for its turn and for the model, fits the conversation to the context, starts the
engine, stores the answer while it grows, and stores how it ended, whatever happens. It never calls
torch.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from chat_ui.chat.context import fit
from chat_ui.chat.messages import Message, MessageState, Numbers, PromptMessage, prompt_messages
from chat_ui.engine.protocol import Engine, EngineFacts, Finished, Request
from chat_ui.errors import (
    BusyError,
    ChatUIError,
    EngineStoppedError,
    NotAllowedError,
    NotFoundError,
    as_shown,
)
from chat_ui.limits import of_one_address
from chat_ui.service.activity import Activity
from chat_ui.service.context_meter import reserve_tokens
from chat_ui.service.host import ModelHost
from chat_ui.service.job import Job, ReplyOptions
from chat_ui.service.rates import Rate
from chat_ui.service.reply import Reply
from chat_ui.service.stop_file import is_stopped
from chat_ui.service.tally import Tally
from chat_ui.service.temporary import Stores
from chat_ui.service.waiting import Ticket, WaitingRoom
from chat_ui.settings import Settings

log = logging.getLogger(__name__)

STORE_DEADLINE_S: Final = 10.0
STOP_DEADLINE_S: Final = 10.0


@dataclass(slots=True, eq=False)
class _Place:
    """A reply's, from before its rows are written until it is stored as it ended.

    Attributes:
        reply: None until it has begun.
        end_state: it was asked to end, so; one that has not begun then does so as soon as it has.
        over: set when it is stored as it ended, or never began.
    """

    reply: Reply | None = None
    end_state: MessageState | None = None
    over: threading.Event = field(default_factory=threading.Event)


Begin = Callable[[Job, str, Message], Reply]


class Replies:
    """The running replies of all conversations.

    Args:
        settings: the app's.
        stores: where answers are kept.
        host: lends the model.
        answered: told of each answer that had the machine for itself, once it is stored.
        activity: knows whether a load or a probe came in between.
        used: told of a conversation when an answer begins or has ended in it.
        tally: told of each answer that has ended.
    """

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        host: ModelHost,
        answered: Callable[[EngineFacts, Numbers], None] = lambda facts, numbers: None,
        activity: Activity | None = None,
        used: Callable[[str], None] = lambda conversation_id: None,
        tally: Tally | None = None,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._host = host
        self._answered = answered
        self._activity = activity or Activity()
        self._used = used
        self._tally = tally or Tally()
        self._lock = threading.Lock()
        # By owner and conversation, so that nobody learns from "busy" that a foreign one exists.
        self._places: dict[tuple[str, str], _Place] = {}
        self._room = WaitingRoom(settings.limits)
        limits = settings.limits
        rate = partial(Rate, done="begun {count} answers", again="Send your message again")
        self._rate = rate(limits.turns_per_minute, limits.turns_per_minute_per_visitor)
        self._rate_of_address = rate(
            0,
            of_one_address(limits.turns_per_minute),
            who="Visitors with your network address have",
        )
        self._is_closed = False

    def get(self, owner: str, conversation_id: str) -> Reply | None:
        """The reply that is being written in this owner's conversation, if any."""
        place = self._place(owner, conversation_id)
        return None if place is None else place.reply

    @property
    def conversation_ids(self) -> frozenset[str]:
        """The conversations in which answers are being written."""
        with self._lock:
            return frozenset(id_ for _, id_ in self._places)

    def under_way(self) -> tuple[int, int]:
        """How many a model is writing now, and how many wait for a model or for their turn."""
        with self._lock:
            begun = [place.reply for place in self._places.values() if place.reply is not None]
        running = [reply for reply in begun if not reply.ended.is_set()]
        waiting = sum(one.snapshot().phase in ("waiting", "queued", "loading") for one in running)
        return len(running) - waiting, waiting

    def stop(self, owner: str, conversation_id: str) -> None:
        """Stop the one in this owner's conversation, if any; it is stored by itself."""
        place = self._place(owner, conversation_id)
        if place is not None:
            self._ask_to_end([place], "stopped")

    def stop_all(self, owner: str | None = None, deadline_s: float = 0.0) -> None:
        """Stop all, or all of an owner's, and wait until they are stored, at most so many
        seconds; those whose rows are still being written are among them.
        """
        with self._lock:
            places = [it for (whose, _), it in self._places.items() if owner in (None, whose)]
        self._ask_to_end(places, "stopped", deadline_s)

    def close(self, deadline_s: float) -> None:
        """Take no more, end those that run as "interrupted", and wait until they are stored."""
        with self._lock:
            self._is_closed = True
            places = list(self._places.values())
        self._ask_to_end(places, "interrupted", deadline_s)

    def _place(self, owner: str, conversation_id: object) -> _Place | None:
        is_id = isinstance(conversation_id, str)  # what a page sends may be anything
        return self._places.get((owner, str(conversation_id))) if is_id else None

    def _ask_to_end(
        self, places: list[_Place], state: MessageState, deadline_s: float = 0.0
    ) -> None:
        ends_at = time.monotonic() + deadline_s
        for place in places:
            with self._lock:
                place.end_state = place.end_state or state
            if place.reply is not None:
                place.reply.stop(state)
        for place in places:
            place.over.wait(max(0.0, ends_at - time.monotonic()))

    @contextmanager
    def reserved(
        self, owner: str, conversation_id: str | None, options: ReplyOptions
    ) -> Iterator[Begin]:
        """Keep a place for one new reply while its rows are written; `begin` starts it.

        Args:
            owner: whose reply.
            options: say who asks for it.
            conversation_id: nobody else may begin one there meanwhile; None for a conversation that
                is yet to be made, whose id `begin` gets.

        Raises:
            NotFoundError: that is no id.
            NotAllowedError: the stop switch keeps visitors out.
            BusyError: an answer is being written there already, too many wait for their turn, or
                too many were begun in the last minute: of this owner's, or in all.
        """
        if not isinstance(conversation_id, str | None):
            raise NotFoundError  # what a page sends may be anything
        key = (owner, conversation_id or secrets.token_hex(16))
        before = self._places.get(key)
        if before is not None and before.reply is not None and before.reply.ended.is_set():
            before.over.wait(STORE_DEADLINE_S)
        with self._lock:
            self._refuse(key)
            # At home everybody is the owner, who has set the limits for themselves.
            is_let_in = options.is_owner and self._settings.is_public
            if not is_let_in:
                self._refuse_visitor(owner, options.address)
            ticket = self._room.enter(owner, is_let_in=is_let_in)
            if not is_let_in:
                self._rate.count(owner)
                self._rate_of_address.count(options.address)
            place = self._places[key] = _Place()

        def begin(job: Job, conversation_id: str, answer: Message) -> Reply:
            numbers = Numbers(seed=job.options.config.seed)
            reply = Reply(
                conversation_id,
                answer.id,
                numbers,
                job.sent_at,
                job.options.begins_with,
                job.earlier,
                # Not when it is stored: who reads its end may send at once.
                at_end=lambda: self._room.leave(ticket),
            )
            reply.waits(ticket.place)
            # In its starter's context, which says of whom an engine may borrow a GPU.
            context = copy_context()
            thread = threading.Thread(
                target=context.run, args=(self._run, reply, job, ticket), name="reply", daemon=True
            )
            with self._lock:
                if place.end_state is not None:  # meanwhile: it ends before it has a model
                    reply.stop(place.end_state)
                thread.start()  # before the rest: where no thread can be had, nothing has begun
                del self._places[key]
                self._places[owner, conversation_id] = place
                place.reply = reply
            self._used(conversation_id)
            return reply

        try:
            yield begin
        finally:
            # What is there after it has begun may be another request's: it may have ended already.
            if place.reply is None:
                with self._lock:
                    del self._places[key]
                self._room.leave(ticket, counts=False)
                place.over.set()

    def _refuse(self, key: tuple[str, str]) -> None:
        if self._is_closed:
            raise BusyError("The server is ending.", "Send your message when it is back.")
        if key in self._places:
            raise BusyError(
                "An answer is being written in this conversation.", "Wait for it, or press Stop."
            )

    def _refuse_visitor(self, owner: str, address: str) -> None:
        # Here, too: a request that was let in may come to its end only now. Under the lock, so that
        # each answer is refused, or among those that the switch stops.
        if self._settings.is_public and is_stopped(self._settings.data_dir):
            raise NotAllowedError(
                "This chat is closed for a while by its owner.", "Come back later."
            )
        self._rate.refuse_surplus(owner)
        self._rate_of_address.refuse_surplus(address)

    def _run(self, reply: Reply, job: Job, ticket: Ticket) -> None:
        facts, was_alone = None, False
        try:
            self._wait_for_turn(reply, ticket)
            reply.enter("queued" if self._host.status.phase == "ready" else "loading")
            with self._host.lend(lambda: reply.is_stopping) as engine:
                facts, mark = engine.facts, (self._room.turns, self._activity.work)
                was_alone = self._room.running == 1 and not self._activity.is_working
                self._answer(engine, reply, job)
                was_alone &= mark == (self._room.turns, self._activity.work)
        except ChatUIError as error:
            reply.fail(error)
        except BaseException as error:  # a library's panic is no Exception, and ends it no less
            log.exception("a reply failed")
            reply.fail(error)
        finally:
            self._store_reply(reply)
            self._tally.answered(
                reply.snapshot().state,
                reply.own_numbers,
                reply.error_kind,
                time.monotonic() - job.sent_at,
            )
            self._used(reply.conversation_id)
            with self._lock:
                place = self._places.pop((job.owner, reply.conversation_id))
            reply.stored.set()
            place.over.set()
        # The numbers of one that went on are of parts that may not all have been alone.
        was_alone &= job.earlier is None
        if facts is not None and was_alone and reply.snapshot().state == "complete":
            self._answered(facts, reply.snapshot().numbers)

    def _wait_for_turn(self, reply: Reply, ticket: Ticket) -> None:
        reply.began(lambda: self._room.give_up(ticket))
        place = ticket.place
        while place := self._room.wait(ticket, place, self._settings.store_every_s):
            reply.waits(place)
            self._stop_orphan(reply)
        if reply.is_stopping:
            raise EngineStoppedError  # as the host does; the reply knows why

    def _answer(self, engine: Engine, reply: Reply, job: Job) -> None:
        facts, config, thinking = engine.facts, job.options.config, job.options.thinking
        given = job.options.begins_with
        store = self._stores.of(reply.conversation_id)
        conversation = store.conversation(job.owner, reply.conversation_id)
        turns = prompt_messages(conversation.path(job.question_id))
        if given:
            turns.append(PromptMessage("assistant", given))
        fitted = fit(
            job.options.system_prompt,
            turns,
            count=lambda messages: len(engine.encode(messages, thinking)),
            window_tokens=facts.window_tokens,
            reserve_tokens=reserve_tokens(config, facts),
        )
        room = facts.window_tokens - fitted.prompt_tokens
        reply.enter(
            "queued",  # until the engine says that it has started
            model=facts.spec.label,
            model_id=facts.spec.id,
            precision=facts.precision,
            prompt_tokens=fitted.prompt_tokens,
            dropped_messages=fitted.dropped,
        )
        request = Request(
            engine.encode(fitted.messages, thinking),
            replace(config, max_new_tokens=min(config.max_new_tokens, room)),
            job.owner,
            is_begun=bool(given),
        )
        reply.opens_with(facts.thinking.opening_with(thinking))
        reply.began(engine.start(request, reply.take))
        self._watch(reply)

    def _watch(self, reply: Reply) -> None:
        """Store the reply while it grows, until it has ended."""
        stopping_since: float | None = None
        stored_revision = -1
        while not reply.ended.wait(self._settings.store_every_s):
            if reply.revision != stored_revision:
                stored_revision = reply.revision
                self._store_reply(reply)
            now, limit_s = time.monotonic(), self._settings.limits.answer_seconds
            self._stop_orphan(reply)
            if limit_s and reply.written_s() > limit_s:
                reply.stop_at_limit(limit_s)
            if reply.is_stopping:
                stopping_since = stopping_since or now
                # An engine ends within a token. One that hangs must not keep the conversation.
                if now - stopping_since > STOP_DEADLINE_S:
                    reply.take(Finished("cancelled"))

    def _stop_orphan(self, reply: Reply) -> None:
        if reply.orphaned_s() > self._settings.orphan_grace_s:
            reply.stop()

    def _store_reply(self, reply: Reply) -> None:
        now = reply.snapshot()
        try:
            self._stores.of(reply.conversation_id).update_answer(
                reply.message_id, now.text, now.state, error=now.error, numbers=now.numbers
            )
        except Exception as error:
            # Whatever it was: the conversation must not stay reserved for a reply that has ended.
            log.warning("an answer could not be stored: %s", error)
            reply.warn(as_shown(error))
