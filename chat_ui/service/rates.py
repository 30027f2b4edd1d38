"""How often something may happen in a minute that slides: of one visitor, and in all."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from chat_ui.errors import BusyError

MINUTE_S: Final = 60.0


class Rate:
    """Counts what happened in the last minute; who did nothing in it is forgotten. Any thread.

    Args:
        in_all: how often it may happen; 0 for any number of times.
        of_one: how often of one visitor; 0 for any number of times.
        clock: monotonic, in seconds.
        done: what is counted, for sentences: "begun {count} answers".
        again: how the sentence begins that says when it may happen again.
    """

    def __init__(
        self,
        in_all: int,
        of_one: int = 0,
        clock: Callable[[], float] = time.monotonic,
        *,
        done: str = "done this {count} times",
        again: str = "Try again",
    ) -> None:
        self._in_all, self._of_one = in_all, of_one
        self._clock = clock
        self._done, self._again = done, again
        self._lock = threading.Lock()
        self._times: deque[tuple[float, str]] = deque()  # when, and whose; the oldest first

    def takes(self, owner: str = "") -> bool:
        """Whether it may happen once more now; it counts if so."""
        try:
            self.take(owner)
        except BusyError:
            return False
        return True

    def take(self, owner: str = "") -> None:
        """It happens once more, if it may; see `refuse_surplus`."""
        with self._lock:
            self._refuse_surplus(owner)
            self._count(owner)

    def refuse_surplus(self, owner: str) -> None:
        """See that it may happen once more.

        Raises:
            BusyError: it did too often, and in how many seconds it may.
        """
        with self._lock:
            self._refuse_surplus(owner)

    def count(self, owner: str) -> None:
        """It happens once more."""
        with self._lock:
            self._count(owner)

    def _refuse_surplus(self, owner: str) -> None:
        before = self._clock() - MINUTE_S
        while self._times and self._times[0][0] <= before:
            self._times.popleft()
        own = [at for at, whose in self._times if whose == owner] if self._of_one else []
        if self._of_one and len(own) >= self._of_one:
            done = self._done.format(count=len(own))
            raise BusyError(
                f"You have {done} in a minute, as many as one may here.",
                self._when(own[-self._of_one]),
            )
        if self._in_all and len(self._times) >= self._in_all:
            done = self._done.format(count=len(self._times))
            raise BusyError(
                f"The server has {done} in a minute, as many as it may.",
                self._when(self._times[-self._in_all][0]),
            )

    def _count(self, owner: str) -> None:
        if self._in_all or self._of_one:
            self._times.append((self._clock(), owner))

    def _when(self, earlier: float) -> str:
        seconds = max(1, math.ceil(earlier + MINUTE_S - self._clock()))
        return f"{self._again} in {seconds} s."
