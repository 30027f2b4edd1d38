"""ChatService: what a page can ask of the backend. Its methods block: call them off the event loop.

It never calls torch; engines do that on threads of their own.
"""

import logging
import secrets
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from chat_ui.chat.generation import MAX_SEED
from chat_ui.chat.messages import (
    Conversation,
    ConversationSummary,
    Message,
    title_of,
)
from chat_ui.engine.protocol import LoadEngine
from chat_ui.errors import (
    BusyError,
    ChatUIError,
    EngineError,
    InvalidRequestError,
    NotAllowedError,
)
from chat_ui.history.store import Store
from chat_ui.models.quantization import precision as checked_precision
from chat_ui.service.backend import Backend, open_backend
from chat_ui.service.cards import Choice, ChoiceGroup, ModelCard
from chat_ui.service.context_meter import ContextMeter, ContextUse
from chat_ui.service.forecasts import precision_name
from chat_ui.service.host import ModelHost
from chat_ui.service.instruments import Instruments, RealInstruments
from chat_ui.service.replies import Job, ReplyOptions
from chat_ui.service.reply import Reply
from chat_ui.service.status import ModelStatus
from chat_ui.settings import Settings

log = logging.getLogger(__name__)

# How long a deleted conversation can be brought back.
UNDO_S: Final = 120.0


class ChatService:
    """Conversations, replies and the model, for all visitors.

    Making one opens nothing. Its first use, or `start`, opens the store and begins to load.

    Args:
        settings: the app's.
        load: loads a model.
        instruments: count models and measure this machine; the real ones if None.
    """

    def __init__(
        self, settings: Settings, load: LoadEngine, instruments: Instruments | None = None
    ) -> None:
        self.settings = settings
        self._load = load
        self._instruments = instruments or RealInstruments()
        self._meter = ContextMeter()
        self._opening = threading.Lock()
        self._opened: Backend | None = None
        self._is_closed = False
        self._purging = threading.Lock()
        self._is_purge_due = False

    def start(self) -> None:
        """Open the store and begin to load the model, unless that was done already.

        Raises:
            StartupError: the data folder can't be used.
            ModelError: there is no such model, or its files are no good.
        """
        self._backend.host.start()

    @property
    def _backend(self) -> Backend:
        with self._opening:
            if self._opened is None:
                if self._is_closed:
                    raise BusyError("The server is ending.", "Try again when it is back.")
                self._opened = open_backend(self.settings, self._load, self._instruments)
            return self._opened

    @property
    def _store(self) -> Store:
        return self._backend.store

    @property
    def _host(self) -> ModelHost:
        return self._backend.host

    # ---- the model ----

    @property
    def model(self) -> ModelStatus:
        """Which model the server has, and what it is doing with it. Starts nothing."""
        if self._opened is None:
            name = self.settings.model
            return ModelStatus(0, "starting", name, name, self.settings.precision)
        return self._opened.host.status

    def measured_model(self) -> ModelStatus:
        """The same, with what the model took and did; it may read the database."""
        status = self.model
        if self._opened is None or status.phase != "ready" or status.dtype is None:
            return status
        name = precision_name(status.precision, status.dtype)
        return replace(status, measured=self._opened.forecasts.measured(status.model_id, name))

    @property
    def notice(self) -> str:
        """A sentence for every page, such as that a damaged database was set aside; or ""."""
        return self._opened.store.notice if self._opened else ""

    def switch_model(
        self, model: str, precision: str, token: str = "", *, anyway: bool = False
    ) -> None:
        """Begin to change the server's model; returns at once, `model` shows how it goes.

        Args:
            model: as the picker takes it.
            precision: in which precision.
            token: of the Hub, for this download alone.
            anyway: try it, though memory seems too short.

        Raises:
            NotAllowedError: visitors may not, here.
            ModelError: there is no such model, or its files are no good.
            BusyError: another change is under way.
            InvalidRequestError: there is no such precision.
        """
        self._refuse_where_fixed()
        self._host.switch(model, checked_precision(precision), token or None, anyway=anyway)

    def cancel_load(self) -> None:
        """End the change that is under way, if any; what was there before it stays.

        Raises:
            NotAllowedError: visitors may not, here.
        """
        self._refuse_where_fixed()
        self._host.cancel()
        self._backend.choosing.forget_downloads()

    def unload_model(self) -> None:
        """Give the models' memory back; the next message loads the present one again.

        Raises:
            NotAllowedError: visitors may not, here.
            BusyError: it is answering, or another one is being loaded.
        """
        self._refuse_where_fixed()
        self._host.unload()

    def model_choices(self) -> list[ChoiceGroup]:
        """The models to choose from, in groups; none where visitors may not choose."""
        return [] if self.settings.model_is_fixed else self._backend.choosing.choices()

    def search_models(self, text: str, token: str = "") -> list[Choice]:
        """Models of the Hub by a part of their id.

        Raises:
            NotAllowedError: visitors may not choose, here.
            ModelError: the Hub can't be asked.
        """
        self._refuse_where_fixed()
        return self._backend.choosing.search(text, token or None)

    def model_card(
        self, model: str, context_tokens: int | None = None, token: str = ""
    ) -> ModelCard:
        """What a model is, takes and does, before it is loaded.

        Args:
            model: as the picker takes it.
            context_tokens: for which it is forecast; None for a usual one.
            token: of the Hub, for this call alone.

        Raises:
            NotAllowedError: visitors may not choose, here, and it is not the present one.
            ModelError: there is no such model.
        """
        if model != self.model.model_id:
            self._refuse_where_fixed()
        return self._backend.choosing.card(
            model, context_tokens, token or None, asks_hub=not self.settings.model_is_fixed
        )

    def _refuse_where_fixed(self) -> None:
        if self.settings.model_is_fixed:
            raise NotAllowedError(
                "The model is fixed on this server.", "Use the one that is loaded."
            )

    # ---- conversations ----

    def conversations(self, owner: str) -> list[ConversationSummary]:
        """The owner's conversations, newest first."""
        return self._store.list.newest(owner)

    def search_conversations(self, owner: str, words: str) -> list[ConversationSummary]:
        """The owner's conversations with these words in the title or in a message.

        Raises:
            InvalidRequestError: there are too many of them.
        """
        return self._store.list.search(owner, words)

    def rename_conversation(self, owner: str, conversation_id: str, title: str) -> None:
        """Give a conversation another title.

        Raises:
            InvalidRequestError: the title is empty or too long.
            NotFoundError: there is no such conversation of this owner.
        """
        self._store.list.rename(owner, conversation_id, title)

    def pin_conversation(self, owner: str, conversation_id: str, is_pinned: bool) -> None:
        """Put a conversation above the others of the list, or back among them.

        Raises:
            NotFoundError: there is no such conversation of this owner.
        """
        self._store.list.pin(owner, conversation_id, is_pinned)

    def delete_conversation(self, owner: str, conversation_id: str) -> None:
        """Delete a conversation, and end the answer that is being written in it.

        `restore_conversation` undoes it for `UNDO_S` seconds at least; within twice that, its rows
        are gone for good.

        Raises:
            NotFoundError: there is no such conversation of this owner.
        """
        self._store.list.delete(owner, conversation_id)
        self.stop_reply(owner, conversation_id)
        self._purge_later()

    def restore_conversation(self, owner: str, conversation_id: str) -> None:
        """Bring a deleted conversation back.

        Raises:
            NotFoundError: there is none of this owner, or it is gone for good.
        """
        self._store.list.restore(owner, conversation_id)

    def _purge_later(self) -> None:
        # One timer for all: whoever deletes a thousand must not begin a thousand threads.
        with self._purging:
            if self._is_purge_due:
                return
            purge = threading.Timer(UNDO_S, self._purge)
            purge.daemon = True
            purge.start()
            self._is_purge_due = True

    def _purge(self) -> None:
        with self._purging:
            self._is_purge_due = False
        if self._is_closed:
            return  # the next start does it
        try:
            self._store.list.purge(datetime.now(UTC) - timedelta(seconds=UNDO_S))
            if self._store.list.has_deleted():  # some were deleted while this one waited
                self._purge_later()
        except ChatUIError as error:
            log.warning("deleted conversations are not purged yet: %s", error)
            self._purge_later()

    def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """One conversation; an answer that is being written has its text of this moment.

        Raises:
            NotFoundError: there is none of this owner.
        """
        # The reply first: one that ends in between has its end in both places by then.
        reply = self.running(owner, conversation_id)
        conversation = self._store.conversation(owner, conversation_id)
        if reply is None:
            return conversation
        now = reply.snapshot()
        return replace(
            conversation,
            messages=tuple(
                replace(m, content=now.text, state=now.state, error=now.error, numbers=now.numbers)
                if m.id == reply.message_id
                else m
                for m in conversation.messages
            ),
        )

    def running(self, owner: str, conversation_id: str) -> Reply | None:
        """The reply that is being written in this owner's conversation, if any."""
        return self._backend.replies.get(owner, conversation_id)

    def context_use(
        self, owner: str, conversation_id: str | None, draft: str, options: ReplyOptions
    ) -> ContextUse | None:
        """What of the model's context window a message would take, if it were sent now.

        It loads nothing. After the first time, typing costs the draft's tokens, and 16 ms of the
        database for a conversation of 1,000 messages.

        Args:
            owner: whose conversation.
            conversation_id: which; None for a new one.
            draft: the message as it is typed; may be empty.
            options: how it would be answered.

        Returns:
            None while no model is ready, and where its chat template does not take it.

        Raises:
            InvalidRequestError: the system prompt is too long.
            NotFoundError: there is no such conversation of this owner.
        """
        opened, options = self._opened, self._checked_options(options)
        engine = None if opened is None else opened.host.engine
        if opened is None or engine is None:
            return None
        path: tuple[Message, ...] = ()
        if conversation_id is not None:
            path = opened.store.conversation(owner, conversation_id).path()
        # What is too long to be sent need not be counted to its end.
        draft = draft[: self.settings.max_message_chars].encode("utf-8", "replace").decode()
        try:
            return self._meter.use(
                engine,
                conversation_id,
                path,
                draft,
                system_prompt=options.system_prompt,
                config=options.config,
                thinking=options.thinking,
            )
        except EngineError:  # who sends the message reads the reason
            return None

    # ---- replies ----

    def reply(
        self, owner: str, conversation_id: str | None, text: str, options: ReplyOptions
    ) -> Reply:
        """Store a message and begin to answer it. The message is committed when this returns.

        Args:
            owner: whose conversation.
            conversation_id: which; None begins a new one.
            text: the message.
            options: how to answer.

        Raises:
            InvalidRequestError: the message is empty or too long.
            NotFoundError: there is no such conversation of this owner.
            BusyError: an answer is being written there already, or too many are.
            HistoryError: it could not be stored.
        """
        sent_at = time.monotonic()
        text, options = self._checked_text(text), self._checked_options(options)
        with self._backend.replies.reserved(owner, conversation_id) as begin:
            if conversation_id is None:  # not before: a refused message leaves no empty chat
                made = self._store.create(owner, title_of(text), options.system_prompt)
                conversation_id = made.id
            question, answer = self._store.add_question(
                owner,
                conversation_id,
                text,
                None,
                options.system_prompt,
                recipe=options.recipe,
            )
            return begin(Job(owner, question.id, options, sent_at), conversation_id, answer)

    def regenerate(self, owner: str, conversation_id: str, options: ReplyOptions) -> Reply:
        """Answer the newest question again, beside the answers it has.

        Raises:
            InvalidRequestError: there is no question yet.
            NotFoundError: there is no such conversation of this owner.
            BusyError: an answer is being written there already, or too many are.
            HistoryError: it could not be stored.
        """
        sent_at = time.monotonic()
        options = self._checked_options(options)
        with self._backend.replies.reserved(owner, conversation_id) as begin:
            path = self._store.conversation(owner, conversation_id).path()
            questions = [message for message in path if message.role == "user"]
            if not questions:
                raise InvalidRequestError(
                    "There is no answer to write again.", "Send a message first."
                )
            question_id = questions[-1].id
            answer = self._store.add_answer(
                owner,
                conversation_id,
                question_id,
                options.system_prompt,
                recipe=options.recipe,
            )
            return begin(Job(owner, question_id, options, sent_at), conversation_id, answer)

    def stop_reply(self, owner: str, conversation_id: str) -> None:
        """End the answer that is being written in this owner's conversation; its text stays."""
        reply = self.running(owner, conversation_id)
        if reply is not None:
            reply.stop()

    def stop_replies(self, deadline_s: float) -> None:
        """Take no more messages, and store what was written so far; reading still works.

        Args:
            deadline_s: seconds after which it no longer waits.
        """
        with self._opening:
            self._is_closed = True
            opened = self._opened
        if opened is not None:
            opened.replies.close(deadline_s)

    def close(self, deadline_s: float = 4.0) -> None:
        """Store what was written so far, unload the model and close the store; any number of times.

        Args:
            deadline_s: seconds after which it no longer waits for replies and the model.
        """
        ends_at = time.monotonic() + deadline_s
        self.stop_replies(deadline_s)
        opened = self._opened
        if opened is None:
            return
        opened.forecasts.machine.close()
        opened.store.close()
        opened.lock.release()
        # A model in a long forward pass can't be unloaded in time; the process ends anyway.
        unload = threading.Thread(target=opened.host.close, name="model-unload", daemon=True)
        unload.start()
        unload.join(max(0.1, ends_at - time.monotonic()))

    # ---- checks ----

    def _checked_text(self, text: str) -> str:
        limit = self.settings.max_message_chars
        if not isinstance(text, str) or not text.strip():
            raise InvalidRequestError("The message is empty.", "Type something first.")
        if len(text) > limit:
            raise InvalidRequestError(
                f"The message has {len(text):,} characters; {limit:,} is the limit.",
                "Shorten it, or send it in parts.",
            )
        # Half of a surrogate pair is no text: neither tokenizers nor databases take it.
        return text.encode("utf-8", "replace").decode()

    def _checked_options(self, options: ReplyOptions) -> ReplyOptions:
        limit = self.settings.max_message_chars
        if not isinstance(options.system_prompt, str) or len(options.system_prompt) > limit:
            raise InvalidRequestError(
                f"The system prompt is longer than {limit:,} characters.", "Shorten it."
            )
        begins_with = options.begins_with
        if not isinstance(begins_with, str) or len(begins_with) > limit:
            raise InvalidRequestError(
                f"The beginning of the answer is longer than {limit:,} characters.", "Shorten it."
            )
        seed = options.config.seed
        return replace(
            options,
            system_prompt=options.system_prompt.encode("utf-8", "replace").decode(),
            config=replace(
                options.config, seed=secrets.randbelow(MAX_SEED) if seed is None else seed
            ),
            begins_with=begins_with.encode("utf-8", "replace").decode()
            if begins_with.strip()
            else "",
        )
