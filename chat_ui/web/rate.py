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
        of_one: how often to one and the same; 0 for as often as to all.
    """

    def __init__(
        self, per_minute: int, clock: Callable[[], float] = time.monotonic, of_one: int = 0
    ) -> None:
        self._per_minute, self._of_one, self._clock = per_minute, of_one, clock
        self._times: deque[tuple[float, str]] = deque()  # and to whom

    def wait_s(self, whose: str = "") -> float:
        """Seconds until it may happen once more; 0 for now.

        Args:
            whose: to whom; "" where that is not known.
        """
        now = self._clock()
        while self._times and self._times[0][0] <= now - MINUTE_S:
            self._times.popleft()
        in_all = [at for at, _ in self._times]
        own = [at for at, one in self._times if one == whose != ""]
        full = [
            times[0]
            for times, most in ((in_all, self._per_minute), (own, self._of_one))
            if most and len(times) >= most
        ]
        return max((at + MINUTE_S - now for at in full), default=0.0)

    def takes(self, whose: str = "") -> bool:
        """Whether it may happen once more now, to whom it may be; it counts if so."""
        if self._per_minute == 0:
            return True
        if self.wait_s(whose):
            return False
        self._times.append((self._clock(), whose))
        return True
