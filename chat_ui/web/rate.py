"""How often something may happen: so many times in a minute that slides."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

MINUTE_S: Final = 60.0


class Rate:
    """Counts what happens, on the event loop alone: there is no lock.

    Args:
        per_minute: how often it may happen; 0 for any number of times.
        clock: monotonic, in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._times: deque[float] = deque()

    def takes(self) -> bool:
        """Whether it may happen once more now; it counts if so."""
        if self._per_minute == 0:
            return True
        now = self._clock()
        while self._times and self._times[0] <= now - MINUTE_S:
            self._times.popleft()
        if len(self._times) >= self._per_minute:
            return False
        self._times.append(now)
        return True
