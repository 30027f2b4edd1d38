"""The transactions of a database: each is committed at its end, or has changed nothing.

What a failure means is said by `database.py`. Nothing here knows what a conversation is.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from chat_ui.history.database import (
    BUSY_TIMEOUT_S,
    history_error,
    memory_engine,
    reading_engine,
    writing_engine,
)

_LOG_WAIT_MS: Final = 500


class Transactions:
    """Begins them; all methods may be called from any thread.

    Args:
        reading: its connections read.
        writing: its connection writes.
        in_memory: both are `memory_engine`'s.
    """

    def __init__(self, reading: Engine, writing: Engine, *, in_memory: bool = False) -> None:
        self.reading = reading
        self.writing = writing
        self.in_memory = in_memory

    @classmethod
    def of_file(cls, path: Path) -> "Transactions":
        """Of a file that is there."""
        return cls(reading_engine(path), writing_engine(path))

    @classmethod
    def of_memory(cls) -> "Transactions":
        """Of an empty database in memory, which ends with it."""
        engine = memory_engine()
        return cls(engine, engine, in_memory=True)

    def read(self) -> AbstractContextManager[Connection]:
        """One that reads.

        Raises:
            HistoryError: the database fails.
        """
        return self._transaction(self.reading)

    def write(self) -> AbstractContextManager[Connection]:
        """One that writes, when the others have ended.

        Raises:
            HistoryError: the database fails, and nothing has changed.
        """
        return self._transaction(self.writing)

    def close(self) -> None:
        """Close the database; SQLite then moves its write-ahead log into the file."""
        self.reading.dispose()
        self.writing.dispose()

    def empty_log(self) -> bool:
        """Move the write-ahead log into the file: what was deleted is in the log still.

        Returns:
            Whether it is empty now. It is not while somebody reads what was there before; then it
            is to be tried again.
        """
        if self.in_memory:
            return True
        try:
            connection = self.writing.raw_connection()  # it may not be in a transaction
            try:
                cursor = connection.cursor()
                cursor.execute(f"PRAGMA busy_timeout = {_LOG_WAIT_MS}")  # writers wait meanwhile
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                [is_busy, *_] = cursor.fetchone() or [1]
                cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
            finally:
                connection.close()
        except (sqlite3.Error, SQLAlchemyError):
            return False
        return not is_busy

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.connect() as connection:
                try:
                    with connection.begin():
                        yield connection
                except SQLAlchemyError:
                    if not self.in_memory:
                        connection.invalidate()
                    raise
        except SQLAlchemyError as error:
            if self.in_memory:  # what it was is undone, and all there is is in the connection
                raise history_error(error, in_memory=True) from error
            # One connection from the time when the file was read-only makes SQLite refuse to write
            # through any other of this process, so the idle readers are closed too.
            self.reading.dispose()
            raise history_error(error) from error
