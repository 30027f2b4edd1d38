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
        of_one: how often of one visitor, where that one is known; 0 for any number of times.
        clock: monotonic, in seconds.
        done: what is counted, for sentences: "begun {count} answers".
        who: of whom it is counted, for sentences.
        again: how the sentence begins that says when it may happen again.
    """

    def __init__(
        self,
        in_all: int,
        of_one: int = 0,
        clock: Callable[[], float] = time.monotonic,
        *,
        done: str = "done this {count} times",
        who: str = "You have",
        again: str = "Try again",
    ) -> None:
        self._in_all, self._of_one = in_all, of_one
        self._clock = clock
        self._done, self._who, self._again = done, who, again
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

    def wait_s(self, owner: str = "") -> float:
        """Seconds until it may happen once more; 0 for now."""
        with self._lock:
            return max((wait_s for wait_s, _ in self._surpluses(owner)), default=0.0)

    def _refuse_surplus(self, owner: str) -> None:
        for wait_s, sentence in self._surpluses(owner):
            raise BusyError(sentence, f"{self._again} in {max(1, math.ceil(wait_s))} s.")

    def _surpluses(self, owner: str) -> list[tuple[float, str]]:
        """Where it happened as often as it may: the seconds until it may again, and a sentence."""
        now = self._clock()
        while self._times and self._times[0][0] <= now - MINUTE_S:
            self._times.popleft()
        own = [at for at, whose in self._times if whose == owner] if owner else []
        in_all = [at for at, _ in self._times]
        limits = (
            (own, self._of_one, self._who + " {} in a minute, as many as one may here."),
            (in_all, self._in_all, "The server has {} in a minute, as many as it may."),
        )
        return [
            (times[-most] + MINUTE_S - now, sentence.format(self._done.format(count=len(times))))
            for times, most, sentence in limits
            if most and len(times) >= most
        ]

    def _count(self, owner: str) -> None:
        if self._in_all or self._of_one:
            self._times.append((self._clock(), owner))
