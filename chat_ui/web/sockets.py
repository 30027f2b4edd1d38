"""The connections under the requests: how many are open, and how long one may say nothing.

Uvicorn waits without end for a request's head, and where a process has no descriptors left, asyncio
tries to accept again and again, and logs each try. So what isn't a whole request after a while is
closed, and where all places are taken, whoever has been sending for longest gives way: one that
sends at once, as browsers do, is never that. Who a visitor is, is not known here; a body's deadline
is the guard's.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

if sys.platform != "win32":
    import resource

HEAD_S: Final = 15.0  # for a request's head; browsers also open connections that they never use
STALL_S: Final = 120.0  # for the next part of an answer to be fetched
MOST: Final = 4096
# Accepted before the first of them is looked at: with uvicorn's 2048 a rush would take all
# descriptors, though it were closed a moment later.
ACCEPTED_AT_ONCE: Final = 128
ROUNDS: Final = 4  # of the event loop, from accepting one to having closed it
OTHER_FILES: Final = 256  # the database, models, what is asked for elsewhere
NOT_HELD: Final = ROUNDS * ACCEPTED_AT_ONCE + OTHER_FILES

LOGGED_EVERY_S: Final = 60.0
# What anybody can bring about by sending nonsense, or by connecting often.
_LOGGED_SELDOM: Final = (
    "socket.accept() out of system resource",
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
    "No supported WebSocket library detected.",
)


def hold_connections() -> None:
    """Bound the connections of the server that Gradio starts next in this process."""
    http: Any = partial(Connection, most=most_connections(), head_s=HEAD_S, unsent={})
    # Gradio makes uvicorn's Config itself, and passes nothing on to it.
    uvicorn.Config = partial(  # type: ignore[assignment,misc]
        uvicorn.Config, backlog=ACCEPTED_AT_ONCE, http=http
    )
    for name in ("asyncio", "uvicorn.error"):
        logging.getLogger(name).addFilter(Seldom())


def most_connections() -> int:
    """How many connections this process can have; asks the system for more descriptors first."""
    if sys.platform == "win32":
        return MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited, wanted = resource.RLIM_INFINITY, MOST + NOT_HELD
    if soft == unlimited:
        return MOST
    more = wanted if hard == unlimited else min(wanted, hard)
    if soft < more:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            soft = more
        except (ValueError, OSError):
            pass  # the kernel has a limit of its own
    return min(MOST, max(soft // 4, soft - NOT_HELD))


def connection_of(scope: Scope) -> "Connection | None":
    """The connection that a request came by; None where no server of ours took it."""
    connection: Connection | None = scope.get("state", {}).get("connection")
    return connection


class Connection(H11Protocol):
    """One connection, as uvicorn takes it, that can't be held for nothing.

    Args:
        config: uvicorn's, as are the three after it.
        server_state: shared by all connections.
        app_state: copied into each request's scope, with this connection.
        _loop: the running one, if None.
        most: how many may be open at once.
        head_s: how long it may take for a request's head, in seconds.
        unsent: those of this server of which no whole request has come, the oldest first.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        most: int,
        head_s: float,
        unsent: "dict[Connection, None]",
    ) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, _loop)
        self._most, self._head_s, self._unsent = most, head_s, unsent
        self._head_ends: asyncio.TimerHandle | None = None
        self._stall_ends: asyncio.TimerHandle | None = None

    @property
    def is_sent(self) -> bool:
        """Whether a whole request has come, which is being answered."""
        return self._is_asked and not self.cycle.more_body

    @property
    def _is_asked(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def drop(self) -> None:
        """Close it at once; who waits for its request is told that the visitor left."""
        self._unsent.pop(self, None)
        # Not when the loop comes to it: whoever drops one counts on its place now.
        self.connections.discard(self)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio: it is open."""
        super().connection_made(transport)
        self._look()
        if len(self.connections) > self._most:
            # It is itself the oldest where all others are being answered.
            next(iter(self._unsent)).drop()

    def data_received(self, data: bytes) -> None:
        """asyncio: more has come."""
        super().data_received(data)
        if not self.transport.is_closing():
            self._look()

    def on_response_complete(self) -> None:
        """uvicorn: an answer was written."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is closed."""
        self._unsent.pop(self, None)
        _end(self._head_ends)
        _end(self._stall_ends)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """asyncio: what was written is not fetched."""
        super().pause_writing()
        self._stall_ends = self.loop.call_later(STALL_S, self.drop)

    def resume_writing(self) -> None:
        """asyncio: it was."""
        super().resume_writing()
        _end(self._stall_ends)

    def _look(self) -> None:
        """Begin or end the wait for a whole request. Between two, uvicorn's own wait, which ends
        with the first byte, is shorter.
        """
        if self.is_sent:
            self._unsent.pop(self, None)
        else:
            self._unsent.setdefault(self)
        if self._is_asked:
            _end(self._head_ends)
            self._head_ends = None
        elif self._head_ends is None:  # no byte that comes makes it longer
            self._head_ends = self.loop.call_later(self._head_s, self.drop)


class Seldom(logging.Filter):
    """Lets what strangers can have logged at will be logged once a minute.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this record is logged."""
        message = str(record.msg)
        kind = next((one for one in _LOGGED_SELDOM if message.startswith(one)), None)
        if kind is None:
            return True
        now, last = self._clock(), self._logged_at.get(kind)
        if last is not None and now - last < LOGGED_EVERY_S:
            return False
        self._logged_at[kind] = now
        return True


def _end(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
