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
from typing import Final

from chat_ui.chat.context import fit
from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Message, MessageState, Numbers, PromptMessage, prompt_messages
from chat_ui.chat.recipe import Recipe
from chat_ui.engine.protocol import Engine, EngineFacts, Finished, Request
from chat_ui.errors import BusyError, ChatUIError, EngineStoppedError, NotFoundError, as_shown
from chat_ui.service.activity import Activity
from chat_ui.service.context_meter import reserve_tokens
from chat_ui.service.host import ModelHost
from chat_ui.service.rates import Rates
from chat_ui.service.reply import Reply
from chat_ui.service.tally import Tally
from chat_ui.service.temporary import Stores
from chat_ui.service.waiting import Ticket, WaitingRoom
from chat_ui.settings import Settings

log = logging.getLogger(__name__)

STORE_DEADLINE_S: Final = 10.0
STOP_DEADLINE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ReplyOptions:
    """What the page's panels say of the next answer.

    Attributes:
        system_prompt: the conversation's from now on.
        config: how it is sampled.
        begins_with: the text that it is made to begin with.
        thinking: whether to think first, where the model's template has a switch; None leaves it to
            the template.
    """

    system_prompt: str = ""
    config: GenerationConfig = field(default_factory=GenerationConfig)
    begins_with: str = ""
    thinking: bool | None = None

    @property
    def recipe(self) -> Recipe:
        """What the answer remembers of them."""
        return Recipe(self.system_prompt, self.config, self.begins_with, self.thinking)


@dataclass(frozen=True, slots=True)
class Job:
    """What a reply's thread needs to know.

    Attributes:
        owner: whose conversation.
        question_id: the message to answer.
        options: how; `options.config.seed` is a number.
        sent_at: when it was asked for, monotonic clock in seconds.
        earlier: of the answer that it goes on with, if it does.
    """

    owner: str
    question_id: str
    options: ReplyOptions
    sent_at: float
    earlier: Numbers | None = None


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
        # None while the reply's rows are being written.
        self._running: dict[tuple[str, str], Reply | None] = {}
        self._room = WaitingRoom(settings.limits)
        self._rates = Rates(settings.limits)
        self._is_closed = False

    def get(self, owner: str, conversation_id: str) -> Reply | None:
        """The reply that is being written in this owner's conversation, if any."""
        is_id = isinstance(conversation_id, str)  # what a page sends may be anything
        return self._running.get((owner, conversation_id)) if is_id else None

    @property
    def conversation_ids(self) -> frozenset[str]:
        """The conversations in which answers are being written."""
        with self._lock:
            return frozenset(id_ for _, id_ in self._running)

    def stop_of(self, owner: str, deadline_s: float) -> None:
        """End all of an owner's, and wait until they are stored, at most so many seconds."""
        with self._lock:
            replies = [one for (whose, _), one in self._running.items() if one and whose == owner]
        _end(replies, deadline_s, "stopped")

    def under_way(self) -> tuple[int, int]:
        """How many a model is writing now, and how many wait for a model or for their turn."""
        with self._lock:
            running = [one for one in self._running.values() if one and not one.ended.is_set()]
        waiting = sum(one.snapshot().phase in ("waiting", "queued", "loading") for one in running)
        return len(running) - waiting, waiting

    def stop_everybody(self) -> None:
        """Stop those that run; they are stored by themselves."""
        with self._lock:
            replies = [reply for reply in self._running.values() if reply is not None]
        for reply in replies:
            reply.stop()

    def close(self, deadline_s: float) -> None:
        """Take no more, end those that run as "interrupted", and wait until they are stored."""
        with self._lock:
            self._is_closed = True
            replies = [reply for reply in self._running.values() if reply is not None]
        _end(replies, deadline_s, "interrupted")

    @contextmanager
    def reserved(self, owner: str, conversation_id: str | None) -> Iterator[Begin]:
        """Keep a place for one new reply while its rows are written; `begin` starts it.

        Args:
            owner: whose reply.
            conversation_id: nobody else may begin one there meanwhile; None for a conversation that
                is yet to be made, whose id `begin` gets.

        Raises:
            NotFoundError: that is no id.
            BusyError: an answer is being written there already, too many wait for their turn, or
                too many were begun in the last minute: of this owner's, or in all.
        """
        if not isinstance(conversation_id, str | None):
            raise NotFoundError  # what a page sends may be anything
        key = (owner, conversation_id or secrets.token_hex(16))
        before = self._running.get(key)
        if before is not None and before.ended.is_set():
            before.stored.wait(STORE_DEADLINE_S)
        with self._lock:
            self._refuse(key)
            self._rates.refuse_surplus(owner)
            ticket = self._room.enter(owner)
            self._rates.count(owner)
            self._running[key] = None
        has_begun = False

        def begin(job: Job, conversation_id: str, answer: Message) -> Reply:
            nonlocal has_begun
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
                thread.start()  # first: where no thread can be had, nothing has begun
                self._running.pop(key)
                self._running[owner, conversation_id] = reply
                has_begun = True
            if self._is_closed:
                reply.stop("interrupted")
            self._used(conversation_id)
            return reply

        try:
            yield begin
        finally:
            # What is there after it has begun may be another request's: it may have ended already.
            if not has_begun:
                with self._lock:
                    del self._running[key]
                self._room.leave(ticket, counts=False)

    def _refuse(self, key: tuple[str, str]) -> None:
        if self._is_closed:
            raise BusyError("The server is ending.", "Send your message when it is back.")
        if key in self._running:
            raise BusyError(
                "An answer is being written in this conversation.", "Wait for it, or press Stop."
            )

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
                self._running.pop((job.owner, reply.conversation_id), None)
            reply.stored.set()
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


def _end(replies: list[Reply], deadline_s: float, state: MessageState) -> None:
    ends_at = time.monotonic() + deadline_s
    for reply in replies:
        reply.stop(state)
    for reply in replies:
        reply.stored.wait(max(0.0, ends_at - time.monotonic()))
