"""Which models are in memory, and which of them leaves when room is needed. Book-keeping only.

It loads and measures nothing, and has no lock: whoever changes it holds that of `ModelState`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from chat_ui.engine.protocol import Engine
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec

log = logging.getLogger(__name__)


class Fits(Protocol):
    """Says whether a model can be loaded while others stay; see `memory.fits_beside`."""

    def __call__(
        self,
        spec: ModelSpec,
        precision: Precision,
        draft: ModelSpec | None,
        *,
        resident_bytes: int,
        budget_bytes: int | None,
    ) -> bool:
        """Whether it fits beside models whose weights take so many bytes.

        Raises:
            ModelError: it alone takes more than the budget.
        """
        ...


@dataclass(slots=True, eq=False)
class Resident:
    """A model in memory.

    Attributes:
        engine: runs it.
        used_at: when a reply last had it, or when it was chosen; the clock's seconds.
        users: replies that have it now. One that is used never leaves.
    """

    engine: Engine
    used_at: float
    users: int = 0


class Residents:
    """The models in memory.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all: list[Resident] = []

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def weight_bytes(self) -> int:
        """What their weights take."""
        return sum(one.engine.facts.weight_bytes for one in self._all)

    def find(self, model_id: str, precision: Precision) -> Resident | None:
        """This model in this precision, if it is in memory."""
        for one in self._all:
            if (one.engine.facts.spec.id, one.engine.facts.precision) == (model_id, precision):
                return one
        return None

    def add(self, engine: Engine) -> Resident:
        """A model that was just loaded."""
        self._all.append(Resident(engine, self._clock()))
        return self._all[-1]

    def touch(self, resident: Resident) -> None:
        """Note that it is used now."""
        resident.used_at = self._clock()

    def remove(self, resident: Resident) -> None:
        """Forget it; closing its engine is the caller's."""
        self._all.remove(resident)

    def first_to_leave(self, present: Resident | None) -> Resident | None:
        """The one that nobody has used for longest, the present model last of all; or None."""
        idle = [one for one in self._all if not one.users]
        return min(idle, key=lambda one: (one is present, one.used_at), default=None)

    def overdue(self, after_s: float) -> list[Resident]:
        """Those that nobody has used for so many seconds."""
        now = self._clock()
        return [one for one in self._all if not one.users and now - one.used_at >= after_s]

    def next_due_s(self, after_s: float) -> float:
        """Seconds until one of them may be overdue; `after_s` where all are used, or none is."""
        idle = [one.used_at for one in self._all if not one.users]
        return max(0.0, min(idle, default=self._clock()) + after_s - self._clock())


def close_all(residents: Sequence[Resident]) -> None:
    """Unload models that nobody uses; whatever becomes of one, the others are unloaded."""
    for one in residents:
        try:
            one.engine.close()
        except Exception:  # it is gone for us, whatever became of it
            log.exception("unloading %s failed", one.engine.facts.spec.id)
