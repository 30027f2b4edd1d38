"""A process that lets children use the history, and kills them: `test_kill` runs it.

It forks, which a process with other threads (pytest's may have torch's) should not, and has
imported everything once, so that a child costs milliseconds. Prints how many were killed, and how
many acknowledged writes were lost.
"""

import itertools
import os
import signal
import sqlite3
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from sqlalchemy import Engine, event

from chat_ui.history.database import migrate
from chat_ui.history.store import Store

OWNER = "0" * 64
ROUNDS = 6


def fork(work) -> int:
    """The child's id; it ends with 0, or with 1 after a traceback."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def was_killed(child: int) -> bool:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        checks = [
            connection.execute(f"PRAGMA {check}").fetchall()
            for check in ("integrity_check", "foreign_key_check")
        ]
    return checks == [[("ok",)], []]


def write(data_dir: Path, conversation_id: str, acknowledge: int) -> None:
    """Write until killed; every line is sent after the call it names has returned."""
    store = Store.open(data_dir)
    for number in range(1_000_000):
        question, answer = store.add_question(OWNER, conversation_id, f"q{number}", None, "")
        os.write(acknowledge, f"{question.id} q{number}\n{answer.id} \n".encode())
        for text in ("a", "ab"):
            store.update_answer(answer.id, text, "writing")
            os.write(acknowledge, f"{answer.id} {text}\n".encode())


def kill_during_writes(folder: Path) -> tuple[int, int]:
    data_dir = folder / "data"
    store = Store.open(data_dir)
    c = store.create(OWNER, "New chat", "").id
    store.close()
    killed = lost = 0
    acknowledged: dict[str, str] = {}

    def note(line: str) -> None:
        id_, text = line.rstrip("\n").split(" ")
        acknowledged[id_] = text

    for number in range(ROUNDS):
        reader, writer = os.pipe()
        child = fork(partial(write, data_dir, c, writer))
        os.close(writer)
        with os.fdopen(reader) as lines:
            # The child does not wait while we read: the kill meets it anywhere in its work.
            for _ in range(1 + number):
                note(next(lines))
            os.kill(child, signal.SIGKILL)
            killed += was_killed(child)
            for line in lines:
                note(line)
        assert whole(data_dir / "chat_ui.db")
        store = Store.open(data_dir)
        assert not store.notice
        assert store.interrupt_writing() >= 1
        conversation = store.conversation(OWNER, c)
        stored = {message.id: message for message in conversation.messages}
        # The last update may have been stored and not acknowledged any more.
        lost += sum(
            id_ not in stored or not stored[id_].content.startswith(text)
            for id_, text in acknowledged.items()
        )
        assert all(message.state != "writing" for message in conversation.messages)
        assert conversation.path() == conversation.messages
        store.close()
    return killed, lost


def migrate_until(path: Path, statement: int) -> None:
    """Migrate, and be killed before this statement, counted from 1; the commit is the last."""
    count = 0

    @event.listens_for(Engine, "before_cursor_execute")
    def _(*_args) -> None:
        nonlocal count
        count += 1
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "commit")
    def _(_connection) -> None:
        if count == statement - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    migrate(path)


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def kill_during_migration(folder: Path) -> tuple[int, int]:
    finished = folder / "finished.db"
    migrate(finished)
    new = tables(finished)
    killed = 0
    path = folder / "killed.db"
    for statement in itertools.count(1):
        if not was_killed(fork(partial(migrate_until, path, statement))):
            break
        killed += 1
        assert tables(path) in (set(), new), tables(path)
        assert whole(path)
    # The one that was not killed came after all those: it found what they had left.
    assert tables(path) == new
    return killed, 0


if __name__ == "__main__":
    parts = {"writes": kill_during_writes, "migration": kill_during_migration}
    print(*parts[sys.argv[1]](Path(sys.argv[2])))  # noqa: T201
