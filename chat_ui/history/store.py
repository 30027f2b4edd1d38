"""What can be asked of the history. Every call is one transaction, committed before it returns.

Calls block, and may come from any number of threads. Whose a conversation is, the SQL itself asks,
so that a foreign id and an unknown one are one case. Nothing is cached.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

from sqlalchemy import insert, select, update

from chat_ui.chat.messages import (
    TEMPORARY_MARK,
    Conversation,
    Message,
    MessageState,
    Numbers,
    Role,
    title_of,
)
from chat_ui.chat.recipe import Recipe
from chat_ui.errors import NotFoundError
from chat_ui.history import rows
from chat_ui.history.conversation_list import ConversationList
from chat_ui.history.database import open_database
from chat_ui.history.measurements import Measurements
from chat_ui.history.room import UNLIMITED, Room
from chat_ui.history.tables import conversations, messages
from chat_ui.history.transactions import Transactions
from chat_ui.history.versions import Versions

ROOT: Final = "root"
"""As a question's parent: none, for another beginning of the conversation beside its first."""


class Store:
    """The conversations of all owners.

    Attributes:
        notice: a sentence for people when the history was damaged and a new one begun, else "".
        list: the owners' lists of conversations: finding, naming, pinning and deleting them.
        versions: the versions of messages, and which are shown.
        measurements: how fast models ran on this machine, which is no owner's.

    Any method raises `HistoryError` when the database fails (full, locked, read-only), and has then
    changed nothing. When the cause is gone, they work again.

    Args:
        transactions: of the database. Where it is in memory, ids of conversations begin with
            `TEMPORARY_MARK`.
        notice: see above.
        room: how much may be kept.
    """

    def __init__(
        self, transactions: Transactions, notice: str = "", room: Room = UNLIMITED
    ) -> None:
        self.notice = notice
        self._room = room
        self._mark = TEMPORARY_MARK if transactions.in_memory else ""
        self._transactions = transactions
        self._read, self._write = transactions.read, transactions.write
        self.list = ConversationList(self._read, self._write, self._mark, room)
        self.versions = Versions(self._write, room)
        self.measurements = Measurements(self._read, self._write)

    @classmethod
    def open(cls, data_dir: Path, room: Room = UNLIMITED) -> "Store":
        """The store in a folder, which is made where it is missing.

        Args:
            data_dir: the folder.
            room: how much may be kept.

        Raises:
            StartupError: the folder can't be written, or a newer version of the app made it.
        """
        path, notice = open_database(data_dir)
        return cls(Transactions.of_file(path), notice, room)

    @classmethod
    def beside(cls, file: Path) -> "Store":
        """The store in a file that another process may have open: nothing is made or upgraded."""
        return cls(Transactions.of_file(file))

    @classmethod
    def in_memory(cls, room: Room = UNLIMITED) -> "Store":
        """A store of temporary conversations: nothing of it is on a disk, and it ends with it."""
        return cls(Transactions.of_memory(), room=room)

    def close(self) -> None:
        """Close the database; SQLite then moves its write-ahead log into the file."""
        self._transactions.close()

    def empty_log(self) -> bool:
        """Move the write-ahead log into the file; whether it is empty now, see `Transactions`."""
        return self._transactions.empty_log()

    def create(self, owner: str, title: str, system_prompt: str) -> Conversation:
        """A new conversation without messages.

        Raises:
            NotAllowedError: the owner would have too many, or there is no room for more.
        """
        now = datetime.now(UTC)
        title, system_prompt = rows.storable(title), rows.storable(system_prompt)
        conversation = Conversation(rows.new_id(self._mark), title, system_prompt, now, now)
        with self._write() as connection:
            self._room.refuse_surplus(connection, owner, conversations=1)
            connection.execute(
                insert(conversations).values(
                    id=conversation.id,
                    owner=owner,
                    recency=rows.next_recency(connection, owner),
                    title=title,
                    system_prompt=system_prompt,
                    created_at=now,
                    updated_at=now,
                    used_at=now,
                )
            )
        return conversation

    def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """A whole conversation.

        Raises:
            NotFoundError: there is none with this id, or it is another's.
        """
        with self._read() as connection:
            found = rows.find(connection, owner, conversation_id)
            tree = connection.execute(
                select(messages)
                .join(conversations, conversations.c.id == messages.c.conversation_id)
                .where(conversations.c.id == found.id, conversations.c.owner == owner)
                .order_by(messages.c.sequence)
            ).all()
        return Conversation(
            id=found.id,
            title=found.title,
            system_prompt=found.system_prompt,
            created_at=found.created_at,
            updated_at=found.updated_at,
            head_id=found.head_id,
            messages=tuple(rows.message_of(row) for row in tree),
        )

    def add_question(
        self,
        owner: str,
        conversation_id: str,
        text: str,
        parent_id: str | None,
        system_prompt: str,
        numbers: Numbers = rows.NOTHING_KNOWN,
        recipe: Recipe | None = None,
    ) -> tuple[Message, Message]:
        """Store a user's message and, as its child and the new head, the answer to be written.

        The first message gives the conversation its title. NUL and lone surrogates, which not every
        database takes, become U+FFFD.

        Args:
            owner: whose conversation it is.
            conversation_id: the conversation.
            text: the user's message.
            parent_id: the message it follows; None means the head, `ROOT` none.
            system_prompt: the conversation's from now on.
            numbers: what is known of the answer beforehand.
            recipe: how it is asked for. The answer begins with the text that it gives.

        Returns:
            The question and the answer, whose state is "writing".

        Raises:
            NotFoundError: no such conversation for this owner, or no such message in it.
            NotAllowedError: there is no room for more.
        """
        with self._write() as connection:
            found = rows.find(connection, owner, conversation_id)
            self._room.refuse_surplus(connection, owner)
            if parent_id is None:
                parent_id = found.head_id
            elif parent_id == ROOT:
                parent_id = None
            else:
                rows.require(connection, owner, found.id, parent_id, *get_args(Role))
            question = rows.append(connection, found.id, parent_id, "user", rows.storable(text))
            answer = rows.begin_answer(connection, found.id, question.id, numbers, recipe)
            title = found.title if found.head_id else title_of(question.content)
            rows.show(connection, owner, found.id, answer, title, rows.storable(system_prompt))
        return question, answer

    def add_answer(
        self,
        owner: str,
        conversation_id: str,
        question_id: str,
        system_prompt: str | None = None,
        numbers: Numbers = rows.NOTHING_KNOWN,
        recipe: Recipe | None = None,
    ) -> Message:
        """Another answer to a question, to be written; it becomes the head.

        Args:
            owner: whose conversation it is.
            conversation_id: the conversation.
            question_id: the user's message.
            system_prompt: the conversation's from now on; None keeps the present one.
            numbers: what is known of the answer beforehand.
            recipe: how it is asked for. The answer begins with the text that it gives.

        Raises:
            NotFoundError: no such conversation for this owner, or no such question in it.
            NotAllowedError: there is no room for more.
        """
        with self._write() as connection:
            found = rows.find(connection, owner, conversation_id)
            self._room.refuse_surplus(connection, owner)
            rows.require(connection, owner, found.id, question_id, "user")
            answer = rows.begin_answer(connection, found.id, question_id, numbers, recipe)
            prompt = found.system_prompt if system_prompt is None else rows.storable(system_prompt)
            rows.show(connection, owner, found.id, answer, found.title, prompt)
        return answer

    def update_answer(
        self,
        message_id: str,
        content: str,
        state: MessageState,
        error: str | None = None,
        numbers: Numbers | None = None,
    ) -> bool:
        """Store an answer's text so far, or its end. For the service, which knows whose it is.

        An answer that has ended stays as it ended, so a partial text that comes late does no harm.
        "interrupted" may still end otherwise: a second process, started on the same folder, says it
        of the answers that the first one is writing.

        Args:
            message_id: the answer.
            content: its whole text so far.
            state: "writing", or how it ended.
            error: what a person is told of a failure.
            numbers: None keeps the stored ones.

        Returns:
            Whether it was stored.

        Raises:
            NotFoundError: no such answer.
        """
        answer = messages.c.id == rows.checked(message_id), messages.c.role == "assistant"
        before = ["writing"] if state == "writing" else ["writing", "interrupted"]
        values: dict[str, object] = {
            "content": rows.storable(content),
            "state": state,
            "error": None if error is None else rows.storable(error),
        }
        if numbers is not None:
            values["numbers"] = asdict(numbers)
        with self._write() as connection:
            stored = connection.execute(
                update(messages).where(*answer, messages.c.state.in_(before)).values(values)
            ).rowcount
            if not stored and connection.scalar(select(messages.c.id).where(*answer)) is None:
                raise NotFoundError
        return stored > 0

    def interrupt_writing(self) -> int:
        """Mark the answers that an ended process left unfinished; their texts stay.

        Returns:
            How many there were.
        """
        unfinished = messages.c.state == "writing"
        with self._write() as connection:
            return connection.execute(
                update(messages).where(unfinished).values(state="interrupted")
            ).rowcount
