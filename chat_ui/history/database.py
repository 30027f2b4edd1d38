"""Opening the history's database: its file, the check at start, the upgrade, what a failure means.

A damaged file is set aside and never deleted. Nothing here knows what a conversation is.
"""

import json
import logging
import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError
from sqlalchemy.schema import CreateIndex, CreateTable

from chat_ui.errors import HistoryError, StartupError
from chat_ui.history.tables import metadata

FILE_NAME: Final = "chat_ui.db"
BUSY_TIMEOUT_S: Final = 5.0

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",  # NORMAL may lose a commit when the power fails
    "secure_delete = ON",  # what was deleted is overwritten
)

# Of a database in memory. Neither sorting nor undoing may need a file.
_MEMORY_PRAGMAS: Final = (
    "temp_store = MEMORY",
    "max_page_count = 65536",  # 256 MiB: strangers write into it
)

# SQLite's own files, which belong together: https://www.sqlite.org/tempfiles.html
_SUFFIXES: Final = ("", "-wal", "-shm")
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_ANOTHER_FOLDER: Final = "Give another data folder, or make this one writable."

_log = logging.getLogger(__name__)


def open_database(data_dir: Path) -> tuple[Path, str]:
    """The database in a folder, made or upgraded where needed.

    Returns:
        The file, and a sentence where a damaged database was set aside, else "".

    Raises:
        StartupError: the folder or the file can't be written, or a newer program made the tables.
    """
    path = data_dir.absolute() / FILE_NAME
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        notice = _set_aside(path) if _is_damaged(path) else ""
        _make_private(path)
        migrate(path)
    except OSError as error:
        raise StartupError(
            f"The data folder {path.parent} can't be used: {error.strerror or error}.",
            _ANOTHER_FOLDER,
        ) from error
    except (sqlite3.Error, SQLAlchemyError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise StartupError(
            f"The history in {path} can't be opened: {reason}.", _ANOTHER_FOLDER
        ) from error
    return path, notice


def reading_engine(path: Path) -> Engine:
    """For any number of threads that read at once."""
    return sqlite_engine(path, "BEGIN")


def writing_engine(path: Path) -> Engine:
    """For one writer at a time, the others waiting their turn.

    SQLite's own waiting is a lottery: among many, one may lose until its time is up.
    """
    return sqlite_engine(
        path, "BEGIN IMMEDIATE", pool_size=1, max_overflow=0, pool_timeout=BUSY_TIMEOUT_S
    )


def memory_engine() -> Engine:
    """For what must never be on a disk: the tables in memory, with one connection for everybody.

    Each connection has a database of its own, which ends with it. So there is one, and the pool
    keeps it; should it be lost nevertheless, the next one has the tables again, and they are empty.
    """
    engine = sqlite_engine(
        Path(":memory:"),
        "BEGIN",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_S,
    )
    ddl: list[CreateTable | CreateIndex] = []
    for table in metadata.sorted_tables:
        ddl += [CreateTable(table), *map(CreateIndex, table.indexes)]
    statements = [str(one.compile(engine)) for one in ddl]

    @event.listens_for(engine, "connect")
    def _make_tables(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in _MEMORY_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        for statement in statements:
            connection.execute(statement).close()

    return engine


def sqlite_engine(path: Path, begin: str, *, foreign_keys: bool = True, **options: Any) -> Engine:
    """An engine whose transactions begin when SQLAlchemy's do.

    Python's sqlite3 begins one only at the first INSERT, and so runs DDL outside of any, unless
    `isolation_level` is None; then BEGIN is ours to send.

    Args:
        path: the file, absolute; or :memory:.
        begin: the statement. A writer needs "BEGIN IMMEDIATE": a reader that turns writer is
            refused, without any waiting, where another wrote meanwhile.
        foreign_keys: whether SQLite watches them.
        options: of `create_engine`.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={
            "isolation_level": None,
            "timeout": BUSY_TIMEOUT_S,
            "check_same_thread": False,  # the pool gives a connection to one thread at a time
        },
        json_deserializer=_from_json,
        hide_parameters=True,  # an exception's text is logged, and parameters are what people wrote
        **options,
    )
    pragmas = (*_PRAGMAS, f"foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()
        # SQLite's own knows no letters but A to Z: a search for "über" would miss "Über".
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a damaged column must not hide its conversation
        return None


def _lower(text: Any) -> Any:
    return text.lower() if isinstance(text, str) else text


def migrate(path: Path) -> None:
    """Bring the tables up to date in one transaction: after a kill they are old or new.

    Raises:
        StartupError: the database was made by a newer program.
    """
    config = Config()
    config.set_main_option("script_location", "chat_ui.history:migrations")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    # To change a table SQLite needs it dropped and made again, and with foreign keys on, dropping
    # conversations deletes every message. The switch does nothing inside a transaction.
    engine = sqlite_engine(path, "BEGIN IMMEDIATE", foreign_keys=False, poolclass=NullPool)
    with engine.begin() as connection:
        if not known.issuperset(MigrationContext.configure(connection).get_current_heads()):
            raise StartupError(
                f"The history in {path} was made by a newer version of this app.",
                "Update the app, or give another data folder.",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _is_damaged(path: Path) -> bool:
    if not path.exists() or not path.stat().st_size:
        # SQLite would delete a log without its database, and messages may be in it.
        log = Path(f"{path}-wal")
        return log.exists() and log.stat().st_size > 0
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
        except sqlite3.DatabaseError as error:
            if _primary_code(error) in _DAMAGE:
                return True
            raise


def _set_aside(path: Path) -> str:
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    folder = Path(tempfile.mkdtemp(prefix=f"damaged-{day}-", dir=path.parent))
    for suffix in _SUFFIXES:
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(folder / f"{path.name}{suffix}")
    _log.error("the history was damaged and is now in %s", folder)
    return (
        "The stored conversations were damaged: they are kept in the folder "
        f"{folder.name}, and a new history was begun."
    )


def _make_private(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for suffix in _SUFFIXES:
        # SQLite gives new ones the mode of the database. Not every file system has modes.
        with suppress(FileNotFoundError, PermissionError):
            Path(f"{path}{suffix}").chmod(0o600)


def history_error(error: SQLAlchemyError, *, in_memory: bool = False) -> HistoryError:
    """What a person is told of a failure; its cause goes to the log, without what people wrote."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    _log.error("the history failed: %s", cause)
    code = _primary_code(cause)
    if code == sqlite3.SQLITE_FULL and in_memory:
        return HistoryError(
            "The server has no room for more temporary chats.",
            "Try again later, or send it in a chat that is kept.",
        )
    if code == sqlite3.SQLITE_FULL:
        return HistoryError(
            "This could not be saved: the disk is full.", "Free some space, then try again."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or isinstance(error, TimeoutError):
        return HistoryError("The history is busy and this was not saved.", "Try again in a moment.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return HistoryError(
            "The history's file can't be opened or written.",
            "Make the data folder writable, then try again.",
        )
    if code in _DAMAGE:
        return HistoryError(
            "The history's file is damaged.",
            "Restart the app: it sets the file aside and begins a new one.",
        )
    return HistoryError(
        "The history could not be read or written.", "Try again; the server's log has the cause."
    )


def _primary_code(error: BaseException | None) -> int:
    """SQLite's own, 0 for other errors. Source: https://www.sqlite.org/rescode.html."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
