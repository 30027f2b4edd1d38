"""Places for what is heavy: one of each visitor, few in all; who holds one in vain gives way."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chat_ui.errors import BusyError
from chat_ui.web.sockets import Connection


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What one request has.

    Attributes:
        connection: by which it comes.
        since_s: when it got the place, by the clock.
    """

    connection: Connection
    since_s: float


def _never(place: Place, now_s: float) -> bool:
    return False


class Places:
    """Who has a place at present, by owner. Only the event loop asks.

    Args:
        most: how many do at once.
        what: is told to whoever gets none: "Another file is being imported."
        gives_way: whether a place may be taken away for another request at this time, in seconds
            of the clock; its connection is then dropped.
        clock: gives seconds.
    """

    def __init__(
        self,
        most: int,
        what: str,
        gives_way: Callable[[Place, float], bool] = _never,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._what = most, what
        self._gives_way, self._clock = gives_way, clock
        self._places: dict[str, Place | None] = {}  # the oldest first

    def __len__(self) -> int:
        """How many have one."""
        return len(self._places)

    @contextmanager
    def one_of(self, owner: str, connection: Connection | None = None) -> Iterator[None]:
        """Hold one while something is done.

        Args:
            owner: for whom.
            connection: by which the request comes; None for one that doesn't give way.

        Raises:
            BusyError: this owner has one, or all are taken.
        """
        if owner in self._places or not self._has_room():
            raise BusyError(self._what, "Try again in a moment.")
        place = None if connection is None else Place(connection, self._clock())
        self._places[owner] = place
        try:
            yield
        finally:
            if owner in self._places and self._places[owner] is place:  # else it gave way before
                del self._places[owner]

    def _has_room(self) -> bool:
        if len(self._places) < self._most:
            return True
        for owner, place in self._places.items():
            if place is not None and self._gives_way(place, self._clock()):
                place.connection.drop()
                del self._places[owner]
                return True
        return False
