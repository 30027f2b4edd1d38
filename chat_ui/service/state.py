"""What the server has of models at this moment, under one lock: the one part that all others share.

It loads and closes nothing: `changing.py` loads and makes room, `host.py` lends and unloads.
"""

import threading
from collections.abc import Callable
from dataclasses import replace

from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec
from chat_ui.service.loading import Load
from chat_ui.service.residency import Resident, Residents
from chat_ui.service.status import NO_MODEL, ModelStatus, named, of_facts


class ModelState:
    """The models in memory, the present one, and what every page is told of it.

    Args:
        spec: the model to begin with.
        precision: its precision.
        settled: told, under the lock, that a model answers from now on.
        clock: gives seconds.

    Attributes:
        changed: guards all that follows, and is notified of all that somebody may wait for.
        residents: the models in memory.
        present: the one that answers new messages; None for none.
        loading: the change that is under way.
        is_clearing: that change needs the present model's room.
        unloaded_note: the model can be had again, and why it is not here; "" where it can't.
        is_closed: the server is ending.
        wanted: the present model, or the one to load next.
        failed_at_s: when a load failed last, by the clock; None once one has not.
        status: the newest, but for how far a load is.
        known: the models that were loaded here, by their ids.
    """

    def __init__(
        self,
        spec: ModelSpec,
        precision: Precision,
        settled: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._settled, self._clock = settled, clock
        self.changed = threading.Condition()
        self.residents = Residents(clock)
        self.present: Resident | None = None
        self.loading: Load | None = None
        self.is_clearing = False
        self.unloaded_note = ""
        self.is_closed = False
        self.wanted = (spec, precision)
        self.failed_at_s: float | None = None
        self.status = ModelStatus(0, "starting", spec.id, spec.label, precision)
        self.known = {spec.id: spec}

    def settle(self, present: Resident | None, error: str | None, note: str = "") -> None:
        """End a change: this model answers from now on; None for none.

        Args:
            present: the model.
            error: why the change failed; None for one that did not.
            note: a sentence on how it ended, before what the model says of itself.
        """
        with self.changed:
            self.loading = None
            self.is_clearing = False
            self.present = present
            if present is not None:
                facts = present.engine.facts
                self.failed_at_s = None
                self.unloaded_note = ""
                self.wanted = facts.spec, facts.precision
                self.known[facts.spec.id] = facts.spec
                self.residents.touch(present)
                self.show(phase="ready", error=error, others=self.others(), **of_facts(facts))
                if note:
                    self.show(note=f"{note} {facts.dtype_reason}".rstrip())
                self._settled()
            elif self.unloaded_note:
                gone = NO_MODEL | {"note": self.unloaded_note}
                self.show(phase="unloaded", error=error, **gone)
            else:
                self.show(phase="failed", error=error, **NO_MODEL)
            self.changed.notify_all()

    def note_failure(self) -> None:
        """A load has failed, just now."""
        self.failed_at_s = self._clock()

    def is_past_failure(self, seconds: float) -> bool:
        """Whether the last load did not fail, or longer ago than so many seconds."""
        return self.failed_at_s is None or self._clock() - self.failed_at_s >= seconds

    def taken_out(self, leaving: list[Resident], note: str) -> list[Resident]:
        """Take models out of the residents, under the lock; closing them is the caller's."""
        for one in leaving:
            self.residents.remove(one)
        if self.present in leaving:
            self.unloaded_note = note
            self.settle(None, None)
        if leaving:
            self.show(others=self.others())
        return leaving

    def others(self) -> tuple[str, ...]:
        """Names of the models in memory beside the present one."""
        beside = [one.engine.facts for one in self.residents if one is not self.present]
        return tuple(named(facts.spec, facts.precision) for facts in beside)

    def show(self, **changes: object) -> None:
        """Tell every page; the changes are by the names of ModelStatus."""
        with self.changed:
            revision = self.status.revision + 1
            self.status = replace(self.status, revision=revision, **changes)  # type: ignore[arg-type]
