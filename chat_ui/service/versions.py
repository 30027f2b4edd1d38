"""Questions and answers: asking, answering again, editing, going on, and which version is shown.

Whatever is done, nothing that was written is altered or lost: it becomes another version.
"""

import time
from contextlib import suppress
from dataclasses import replace
from functools import reduce

from chat_ui.chat.messages import Conversation, Message, Numbers, title_of
from chat_ui.errors import BusyError, ChatUIError, InvalidRequestError, NotFoundError
from chat_ui.service.checks import checked_options, checked_text
from chat_ui.service.files import message_of
from chat_ui.service.job import Job, ReplyOptions
from chat_ui.service.opened import Opened
from chat_ui.service.reply import Reply


class Versions(Opened):
    """What is written in conversations.

    In each, one answer is written at a time. It goes on whichever version is shown meanwhile, and
    is found where it was begun.
    """

    def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """One conversation; an answer that is being written has its text of this moment.

        Raises:
            NotFoundError: there is none of this owner.
        """
        # The reply first: one that ends in between has its end in both places by then.
        reply = self.running(owner, conversation_id)
        conversation = self._store_of(conversation_id).conversation(owner, conversation_id)
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

    def reply(
        self,
        owner: str,
        conversation_id: str | None,
        text: str,
        options: ReplyOptions,
        *,
        after_id: str | None = None,
        is_temporary: bool = False,
    ) -> Reply:
        """Store a message and begin to answer it. The message is committed when this returns.

        Args:
            owner: whose conversation.
            conversation_id: which; None begins a new one.
            text: the message.
            options: how to answer.
            after_id: the message that it follows, which may be another than the head by now; None
                for the head.
            is_temporary: a new one is kept in memory only, and gone an hour after its last message.
                One that is there stays what it is.

        Raises:
            InvalidRequestError: the message is empty or too long.
            NotFoundError: there is no such conversation of this owner, or no such message in it.
            NotAllowedError: the stop switch keeps visitors out.
            BusyError: an answer is being written there already, or too many wait.
            HistoryError: it could not be stored.
        """
        sent_at = time.monotonic()
        text, options = self._text(text), self._options(options)
        with self._backend.replies.reserved(owner, conversation_id, options) as begin:
            if conversation_id is None:  # not before: a refused message leaves no empty chat
                conversation_id, question, answer = self._new(owner, text, options, is_temporary)
            else:
                question, answer = self._ask(owner, conversation_id, text, options, after_id)
            return begin(Job(owner, question.id, options, sent_at), conversation_id, answer)

    def regenerate(
        self,
        owner: str,
        conversation_id: str,
        options: ReplyOptions,
        message_id: str | None = None,
    ) -> Reply:
        """Answer a question again, beside the answers it has.

        Args:
            owner: whose conversation.
            conversation_id: which.
            options: how to answer.
            message_id: the question, or one of its answers; None is the newest one shown.

        Raises:
            InvalidRequestError: there is no question.
            NotFoundError: there is no such conversation of this owner, or no such message in it.
            NotAllowedError: the stop switch keeps visitors out.
            BusyError: an answer is being written there already, or too many wait.
            HistoryError: it could not be stored.
        """
        sent_at = time.monotonic()
        options = self._options(options)
        with self._backend.replies.reserved(owner, conversation_id, options) as begin:
            conversation = self._store_of(conversation_id).conversation(owner, conversation_id)
            leaf = None if message_id is None else message_of(conversation, message_id).id
            question, _ = _turn(conversation, leaf)
            answer = self._store_of(conversation_id).add_answer(
                owner, conversation_id, question.id, options.system_prompt, recipe=options.recipe
            )
            return begin(Job(owner, question.id, options, sent_at), conversation_id, answer)

    def continue_answer(
        self, owner: str, conversation_id: str, message_id: str | None, options: ReplyOptions
    ) -> Reply:
        """Let the model go on with an answer, in a new version that begins with its whole text.

        Its numbers are those of the whole answer, see `Numbers.after`.

        Args:
            owner: whose conversation.
            conversation_id: which.
            message_id: the answer; None for the last message shown.
            options: how to go on; what they say of the beginning does not count.

        Raises:
            InvalidRequestError: the answer is empty, or answers no question.
            NotFoundError: there is no such conversation of this owner, or no such answer in it.
            NotAllowedError: the stop switch keeps visitors out.
            BusyError: an answer is being written there already, this one perhaps, or too many wait.
            HistoryError: it could not be stored.
        """
        sent_at = time.monotonic()
        options = self._options(replace(options, begins_with=""))
        with self._backend.replies.reserved(owner, conversation_id, options) as begin:
            conversation = self._store_of(conversation_id).conversation(owner, conversation_id)
            begun = message_of(conversation, message_id or conversation.head_id)
            if begun.role != "assistant":
                raise NotFoundError
            if not begun.content.strip():
                raise InvalidRequestError(
                    "There is nothing to go on with: the answer is empty.", "Press Regenerate."
                )
            # An imported question may have several answers, one following the other.
            question, answers = _turn(conversation, begun.id)
            text = "\n\n".join(answer.content for answer in answers if answer.content)
            options = replace(options, begins_with=text)
            earlier = reduce(lambda before, part: part.numbers.after(before), answers, Numbers())
            answer = self._store_of(conversation_id).add_answer(
                owner, conversation_id, question.id, options.system_prompt, recipe=options.recipe
            )
            job = Job(owner, question.id, options, sent_at, earlier)
            return begin(job, conversation_id, answer)

    def edit_question(
        self, owner: str, conversation_id: str, message_id: str, text: str, options: ReplyOptions
    ) -> Reply:
        """Ask something else in a question's place, and begin to answer it.

        Args:
            owner: whose conversation.
            conversation_id: which.
            message_id: the question; it stays, with what followed it, as another version.
            text: what is asked instead.
            options: how to answer.

        Raises:
            InvalidRequestError: the text is empty or too long.
            NotFoundError: there is no such conversation of this owner, or no such question in it.
            NotAllowedError: the stop switch keeps visitors out.
            BusyError: an answer is being written there already, or too many wait.
            HistoryError: it could not be stored.
        """
        sent_at = time.monotonic()
        text, options = self._text(text), self._options(options)
        with self._backend.replies.reserved(owner, conversation_id, options) as begin:
            question, answer = self._store_of(conversation_id).versions.ask(
                owner, conversation_id, message_id, text, options.system_prompt, options.recipe
            )
            return begin(Job(owner, question.id, options, sent_at), conversation_id, answer)

    def edit_answer(self, owner: str, conversation_id: str, message_id: str, text: str) -> str:
        """Write an answer oneself, beside another one; no model has a part in it.

        It has neither a recipe nor numbers, by which one knows it.

        Args:
            owner: whose conversation.
            conversation_id: which.
            message_id: the answer beside which it stands.
            text: all of it.

        Returns:
            The new message's id; it is shown now.

        Raises:
            InvalidRequestError: the text is empty or too long.
            NotFoundError: there is no such conversation of this owner, or no such answer in it.
            BusyError: this answer is still being written.
            HistoryError: it could not be stored.
        """
        reply = self.running(owner, conversation_id)
        if reply is not None and reply.message_id == message_id and not reply.ended.is_set():
            raise BusyError("This answer is still being written.", "Wait for it, or press Stop.")
        before = message_of(
            self._store_of(conversation_id).conversation(owner, conversation_id), message_id
        )
        text = checked_text(text, self._answer_chars(before))
        written = self._store_of(conversation_id).versions.write(
            owner, conversation_id, before.id, text
        )
        self._backend.lifetimes.used(conversation_id)
        return written.id

    def show_version(self, owner: str, conversation_id: str, message_id: str) -> None:
        """Show a version of a message, with the newest of what follows it.

        An answer that is being written elsewhere in the conversation goes on, and a page that
        follows it sees its end; the next message waits for it as ever.

        Raises:
            NotFoundError: there is no such conversation of this owner, or no such message in it.
            HistoryError: it could not be stored.
        """
        self._store_of(conversation_id).versions.show(owner, conversation_id, message_id)

    def stop_reply(self, owner: str, conversation_id: str) -> None:
        """End the answer that is being written in this owner's conversation; its text stays."""
        self._backend.replies.stop(owner, conversation_id)

    def _new(
        self, owner: str, text: str, options: ReplyOptions, is_temporary: bool
    ) -> tuple[str, Message, Message]:
        """A new conversation's id, its question and the answer to be written: all, or nothing."""
        stores = self._backend.stores
        store = stores.temporary if is_temporary else stores.kept
        made = store.create(owner, title_of(text), options.system_prompt)
        try:
            question, answer = self._ask(owner, made.id, text, options)
        except BaseException:
            with suppress(ChatUIError):  # why the message was refused is what is told
                store.list.remove([made.id])
            raise
        if is_temporary:  # not before: it may cost the owner their oldest one
            self._backend.lifetimes.begun(owner, made.id)
        return made.id, question, answer

    def _ask(
        self,
        owner: str,
        conversation_id: str,
        text: str,
        options: ReplyOptions,
        after_id: str | None = None,
    ) -> tuple[Message, Message]:
        return self._store_of(conversation_id).add_question(
            owner, conversation_id, text, after_id, options.system_prompt, recipe=options.recipe
        )

    def _answer_chars(self, answer: Message) -> int:
        """The most characters that an answer may have when it was edited."""
        # One that went on may be longer than a message may, and can be edited nevertheless.
        return max(self.settings.limits.message_chars, len(answer.content))

    def _text(self, text: str) -> str:
        return checked_text(text, self.settings.limits.message_chars)

    def _options(self, options: ReplyOptions) -> ReplyOptions:
        return checked_options(options, self.settings.limits)


def _turn(conversation: Conversation, leaf_id: str | None) -> tuple[Message, tuple[Message, ...]]:
    """The last question on the way to a message (the head, if None), and what answers it there.

    Raises:
        InvalidRequestError: there is none.
    """
    path = conversation.path(leaf_id)
    for place in reversed(range(len(path))):
        if path[place].role == "user":
            return path[place], path[place + 1 :]
    raise InvalidRequestError("There is no answer to write again.", "Send a message first.")
