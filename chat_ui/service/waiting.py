"""Who may write now: so many answers are written at once, and others wait for their turn in order.

Visitors take turns: the second waiting message of one never goes before the first of another. What
is done in a turn, this module does not know.
"""

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from chat_ui.errors import BusyError
from chat_ui.limits import Limits

# How many of the last turns the next one's length is guessed from.
REMEMBERED: Final = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A place among those who wait.

    Attributes:
        before: how many others have their turn first.
        wait_s: seconds until its turn, guessed from the last ones; None while there was none.
        is_own: it waits for an end of its owner's own, who has as many turns as one may.
    """

    before: int
    wait_s: float | None
    is_own: bool


@dataclass(eq=False, slots=True)
class Ticket:
    """One who wants a turn.

    Attributes:
        owner: whose.
        place: among those who wait; None for one who has its turn, or has left.
    """

    owner: str
    place: Place | None = None


class WaitingRoom:
    """Gives turns. All methods may be called from any thread, and none but `wait` blocks.

    Args:
        limits: how many turns there are at once, and how many may wait.
        clock: gives seconds.

    Attributes:
        turns: how many were given so far.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._changed = threading.Condition()
        self._began: dict[Ticket, float] = {}  # those who have their turn, and since when
        # Each owner's, in the order in which the owners come next; none is empty.
        self._waiting: dict[str, deque[Ticket]] = {}
        self._took_s: deque[float] = deque(maxlen=REMEMBERED)
        self.turns = 0

    @property
    def running(self) -> int:
        """How many have their turn."""
        return len(self._began)

    def enter(self, owner: str, *, is_let_in: bool = False) -> Ticket:
        """Ask for a turn, which may have come when this returns.

        Args:
            owner: who asks.
            is_let_in: also where as many wait as may in all.

        Raises:
            BusyError: as many wait already as may, in all or of this owner.
        """
        with self._changed:
            running, own = len(self._began), self._running()[owner]
            must_wait = running >= self._limits.replies or own >= self._limits.replies_per_visitor
            if must_wait:
                self._refuse_own_surplus(owner)
                if not is_let_in:
                    self._refuse_surplus()
            ticket = Ticket(owner)
            self._waiting.setdefault(owner, deque()).append(ticket)
            self._give_turns()
            return ticket

    def wait(self, ticket: Ticket, seen: Place | None, timeout_s: float) -> Place | None:
        """Wait until a place is another than the one seen, or for so long; the place there is.

        Returns:
            None for one who has its turn, or has left.
        """
        with self._changed:
            self._changed.wait_for(lambda: ticket.place is None or ticket.place != seen, timeout_s)
            return ticket.place

    def give_up(self, ticket: Ticket) -> None:
        """Wait no more; one who has its turn keeps it."""
        with self._changed:
            queue = self._waiting.get(ticket.owner)
            if queue is None or ticket not in queue:
                return
            queue.remove(ticket)
            if not queue:
                del self._waiting[ticket.owner]
            ticket.place = None
            self._give_turns()

    def leave(self, ticket: Ticket, *, counts: bool = True) -> None:
        """Give a turn back, or the place of one who waits; any number of times.

        Args:
            ticket: whose.
            counts: the turn's length says something about the next ones.
        """
        self.give_up(ticket)
        with self._changed:
            began_at = self._began.pop(ticket, None)
            if began_at is None:
                return
            if counts:
                self._took_s.append(self._clock() - began_at)
            self._give_turns()

    def _running(self) -> Counter[str]:
        return Counter(ticket.owner for ticket in self._began)

    def _refuse_own_surplus(self, owner: str) -> None:
        own = self._waiting.get(owner, deque())
        if len(own) >= self._limits.waiting_per_visitor:
            raise BusyError(
                "One of your messages is waiting for its answer already."
                if len(own) == 1
                else f"{len(own)} of your messages are waiting for their answers already.",
                f"Send this one again {_in_about(own[0].place)}, or press Stop in another chat.",
            )

    def _refuse_surplus(self) -> None:
        waiting = list(self._in_order())
        if len(waiting) >= self._limits.waiting:
            raise BusyError(
                f"The server has {len(waiting)} messages waiting, as many as it takes.",
                f"Send yours again {_in_about(waiting[0].place)}.",
            )

    def _give_turns(self) -> None:
        """Give the turns that are free, and tell all who wait."""
        running = self._running()
        while len(self._began) < self._limits.replies:
            free = (o for o in self._waiting if running[o] < self._limits.replies_per_visitor)
            owner = next(free, None)
            if owner is None:
                break
            queue = self._waiting.pop(owner)
            ticket = queue.popleft()
            if queue:
                self._waiting[owner] = queue  # behind the others
            ticket.place = None
            self._began[ticket] = self._clock()
            running[owner] += 1
            self.turns += 1
        self._give_places()
        self._changed.notify_all()

    def _in_order(self) -> Iterator[Ticket]:
        """Those who wait, in the order in which their turns come while nobody else comes."""
        queues = [list(queue) for queue in self._waiting.values()]
        for nth in range(max(map(len, queues), default=0)):
            yield from (queue[nth] for queue in queues if nth < len(queue))

    def _give_places(self) -> None:
        running = self._running()
        for before, ticket in enumerate(self._in_order()):
            is_own = running[ticket.owner] >= self._limits.replies_per_visitor
            ticket.place = Place(before, None, is_own)
        if not self._took_s:
            return
        # As if each turn took as long as the last ones did: when every turn, of all and of an
        # owner, is free again. One that took longer already may end at any moment.
        now, typical_s = self._clock(), fmean(self._took_s)
        of_all = [now] * (self._limits.replies - len(self._began))
        of_owner: dict[str, list[float]] = {
            owner: [now] * (self._limits.replies_per_visitor - running[owner])
            for owner in self._waiting
        }
        for ticket, began_at in self._began.items():
            for ends in (of_all, of_owner.get(ticket.owner, [])):
                heapq.heappush(ends, max(now, began_at + typical_s))
        for ticket in self._in_order():
            mine = of_owner[ticket.owner]
            at = max(heapq.heappop(of_all), heapq.heappop(mine))
            for ends in (of_all, mine):
                heapq.heappush(ends, at + typical_s)
            if ticket.place is not None:
                ticket.place = replace(ticket.place, wait_s=at - now)


def _in_about(place: Place | None) -> str:
    if place is None or place.wait_s is None:
        return "in a moment"
    return f"in about {max(1, round(place.wait_s))} s"
