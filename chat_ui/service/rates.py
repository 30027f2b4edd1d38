"""How many answers are begun in a minute: of one visitor, and in all."""

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from chat_ui.errors import BusyError
from chat_ui.limits import Limits

WINDOW_S: Final = 60.0


class Rates:
    """The turns of the last minute; who had none in it is forgotten. The caller takes care that no
    two threads are in it at once.

    Args:
        limits: how many there may be.
        clock: gives seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._of_all = limits.turns_per_minute
        self._of_one = limits.turns_per_minute_per_visitor
        self._clock = clock
        self._turns: deque[tuple[float, str]] = deque()  # when, and whose; the oldest first

    def refuse_surplus(self, owner: str) -> None:
        """See that another turn may begin.

        Raises:
            BusyError: too many did, and in how many seconds one may.
        """
        self._forget()
        own = [at for at, whose in self._turns if whose == owner]
        if self._of_one and len(own) >= self._of_one:
            raise BusyError(
                f"You have begun {len(own)} answers in a minute, as many as one may here.",
                self._when(own[-self._of_one]),
            )
        if self._of_all and len(self._turns) >= self._of_all:
            raise BusyError(
                f"The server has begun {len(self._turns)} answers in a minute, as many as it may.",
                self._when(self._turns[-self._of_all][0]),
            )

    def count(self, owner: str) -> None:
        """Another turn begins."""
        if self._of_all or self._of_one:
            self._turns.append((self._clock(), owner))

    def _forget(self) -> None:
        before = self._clock() - WINDOW_S
        while self._turns and self._turns[0][0] <= before:
            self._turns.popleft()

    def _when(self, earlier: float) -> str:
        seconds = max(1, math.ceil(earlier + WINDOW_S - self._clock()))
        return f"Send your message again in {seconds} s."
