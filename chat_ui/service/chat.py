"""ChatService: what a page can ask of the backend. Its methods block: call them off the event loop.

It never calls torch; engines do that on threads of their own.
"""

from contextlib import suppress
from dataclasses import replace

from chat_ui.chat import exchange, markdown_export
from chat_ui.chat.imports import MAX_CONVERSATIONS, encodable
from chat_ui.chat.messages import Conversation, ConversationSummary, Message, is_temporary
from chat_ui.errors import EngineError, NotFoundError
from chat_ui.service import files
from chat_ui.service.context_meter import ContextUse
from chat_ui.service.job import ReplyOptions
from chat_ui.service.model_access import ModelAccess
from chat_ui.service.versions import Versions


class ChatService(ModelAccess, Versions):
    """Conversations, replies and the model, for all visitors.

    See `Versions` for what is written, and `ModelAccess` for the model.

    Making one opens nothing. Its first use, or `start`, opens the store and begins to load.

    Args:
        settings: the app's.
        load: loads a model.
        instruments: count models and measure this machine; the real ones if None.
    """

    @property
    def notice(self) -> str:
        """A sentence for every page, such as that a damaged database was set aside; or ""."""
        return self._opened.stores.kept.notice if self._opened else ""

    def conversations(self, owner: str) -> list[ConversationSummary]:
        """The owner's conversations, newest first; the temporary ones are in no list."""
        return self._store.list.newest(owner)

    def summary(self, owner: str, conversation_id: str) -> ConversationSummary:
        """What a list would have of a conversation, whether it is in one or not.

        Raises:
            NotFoundError: there is no such conversation of this owner.
        """
        return self._store_of(conversation_id).list.summary(owner, conversation_id)

    def search_conversations(self, owner: str, words: str) -> list[ConversationSummary]:
        """The owner's conversations with these words in the title or in a message.

        Temporary ones are not found.

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
        self._store_of(conversation_id).list.rename(owner, conversation_id, title)

    def pin_conversation(self, owner: str, conversation_id: str, is_pinned: bool) -> None:
        """Put a conversation above the others of the list, or back among them.

        Raises:
            NotFoundError: there is no such conversation of this owner.
        """
        self._store_of(conversation_id).list.pin(owner, conversation_id, is_pinned)

    def delete_conversation(self, owner: str, conversation_id: str) -> None:
        """Delete a conversation, and end the answer that is being written in it.

        `restore_conversation` undoes it for `UNDO_S` seconds at least; within twice that, its rows
        are gone for good.

        Raises:
            NotFoundError: there is no such conversation of this owner.
        """
        self._store_of(conversation_id).list.delete(owner, conversation_id)
        self._backend.lifetimes.deleted(conversation_id)
        self.stop_reply(owner, conversation_id)
        self._backend.purge.later()

    def restore_conversation(self, owner: str, conversation_id: str) -> None:
        """Bring a deleted conversation back; the hour of a temporary one begins again.

        Raises:
            NotFoundError: there is none of this owner, or it is gone for good.
        """
        self._store_of(conversation_id).list.restore(owner, conversation_id)
        if is_temporary(conversation_id):
            self._backend.lifetimes.begun(owner, conversation_id)

    def forget(self, owner: str) -> None:
        """Delete all of an owner's conversations for good, at once; nothing undoes it.

        The temporary ones, too, and those that an undo would have brought back; answers that are
        being written end.

        Raises:
            HistoryError: they could not be deleted.
        """
        self._backend.purge.forget(owner)

    def context_use(
        self,
        owner: str,
        conversation_id: str | None,
        draft: str,
        options: ReplyOptions,
        edited_id: str | None = None,
    ) -> ContextUse | None:
        """What of the model's context window a message would take, if it were sent now.

        It loads nothing. After the first time, typing costs the draft's tokens, and 16 ms of the
        database for a conversation of 1,000 messages.

        Args:
            owner: whose conversation.
            conversation_id: which; None for a new one.
            draft: the message as it is typed; may be empty.
            options: how it would be answered.
            edited_id: the message in whose place the draft would stand; None for a new one. What
                follows it does not count, and an answer counts as history.

        Returns:
            None while no model is ready, and where its chat template does not take it.

        Raises:
            InvalidRequestError: the system prompt is too long, or the beginning of the answer.
            NotFoundError: there is no such conversation of this owner, or no such message in it.
        """
        opened, options = self._opened, self._options(options)
        engine = None if opened is None else opened.host.engine
        if opened is None or engine is None:
            return None
        path: tuple[Message, ...] = ()
        answer: Message | None = None  # the one that is edited
        if conversation_id is not None:
            conversation = opened.stores.of(conversation_id).conversation(owner, conversation_id)
            path = conversation.path()
            if edited_id is not None:
                edited = files.message_of(conversation, edited_id)
                path = conversation.path(edited.id)[:-1]
                answer = edited if edited.role == "assistant" else None
        # What is too long to be sent need not be counted to its end.
        limit = self._answer_chars(answer) if answer else self.settings.limits.message_chars
        is_draft_cut = len(draft) > limit
        draft = encodable(draft[:limit])
        if answer is not None:
            path, draft = (*path, replace(answer, content=draft)), ""
        try:
            use = self._meter.use(
                engine,
                conversation_id,
                path,
                draft,
                system_prompt=options.system_prompt,
                config=options.config,
                thinking=options.thinking,
                begins_with=options.begins_with,
            )
        except EngineError:  # who sends the message reads the reason
            return None
        return replace(use, is_draft_cut=is_draft_cut)

    # ---- conversations as files ----

    def branch(self, owner: str, conversation_id: str, message_id: str) -> str:
        """Copy the path up to a message into a new conversation, which is the newest of the list.

        An answer that is being written is copied as far as it is, and goes on where it was. Of a
        temporary conversation it is another temporary one.

        Returns:
            The new conversation's id.

        Raises:
            NotFoundError: there is no such conversation of this owner, or no such message in it.
        """
        copy = files.branch(self.conversation(owner, conversation_id), message_id)
        [new] = self._store_of(conversation_id).list.add(owner, [copy])
        if is_temporary(new):
            self._backend.lifetimes.begun(owner, new)
        return new

    def add_conversations(self, owner: str, text: str) -> files.Added:
        """Add the conversations of a file to the owner's: ours, ChatGPT's or Open WebUI's.

        They keep their times, and all that are good are stored, or none.

        Args:
            owner: whose they become.
            text: the whole file.

        Raises:
            InvalidRequestError: it is no such file, or too large, or nothing in it is good.
            NotAllowedError: the owner would have too many, or there is no room for them.
            BusyError: they imported or exported too many files in the last minute.
            HistoryError: they could not be stored.
        """
        self._files.take(owner)
        # For having come in a file, a stranger's text must not be longer than one that is sent.
        limit = self.settings.limits.message_chars if self.settings.is_public else None
        found = files.read(text, limit)
        ids = self._store.list.add(owner, found.conversations)
        return files.Added(tuple(ids), found.left_out)

    def export_json(self, owner: str, conversation_id: str | None) -> tuple[str, str]:
        """Conversations with all their versions, for `add_conversations`.

        Args:
            owner: whose.
            conversation_id: which; None for all of the owner's that are not temporary, the newest
                `MAX_CONVERSATIONS`.

        Returns:
            A name for the file, and its text.

        Raises:
            NotFoundError: there is no such conversation of this owner.
            BusyError: they imported or exported too many files in the last minute.
        """
        self._files.take(owner)
        found = self._exported(owner, conversation_id)
        if self.settings.model_is_fixed:
            found = [files.without_folders(one) for one in found]
        return _name(found, conversation_id, ".json"), exchange.to_json(found)

    def export_markdown(self, owner: str, conversation_id: str | None) -> tuple[str, str]:
        """The shown paths of conversations, to be read.

        Args:
            owner: whose.
            conversation_id: which; None for all of the owner's that are not temporary, the newest
                `MAX_CONVERSATIONS`.

        Returns:
            A name for the file, and its text.

        Raises:
            NotFoundError: there is no such conversation of this owner.
            BusyError: they imported or exported too many files in the last minute.
        """
        self._files.take(owner)
        found = self._exported(owner, conversation_id)
        texts = map(markdown_export.to_markdown, found)
        return _name(found, conversation_id, ".md"), "\n".join(texts)

    def _exported(self, owner: str, conversation_id: str | None) -> list[Conversation]:
        if conversation_id is not None:
            return [self.conversation(owner, conversation_id)]
        found = []
        for line in self._store.list.newest(owner, limit=MAX_CONVERSATIONS):
            with suppress(NotFoundError):  # it was deleted meanwhile
                found.append(self.conversation(owner, line.id))
        return found

    def python_script(self, owner: str, conversation_id: str, message_id: str) -> str:
        """A script that asks transformers for an answer again, as it was asked for.

        Raises:
            NotFoundError: there is no such conversation of this owner, or no such answer in it.
            InvalidRequestError: it is not known how the answer was asked for, or the script could
                not load its model.
            ModelError: the model's folder is not there any more.
        """
        return files.python_script(
            self.conversation(owner, conversation_id),
            message_id,
            # Visitors don't have this machine's folders, and are not told of them.
            hub_only=self.settings.model_is_fixed,
        )


def _name(found: list[Conversation], conversation_id: str | None, suffix: str) -> str:
    title = "All conversations" if conversation_id is None else found[0].title
    return markdown_export.file_name(title, suffix)
