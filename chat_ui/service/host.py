"""The models of this server: loading them, changing the one that answers, lending it to replies.

    starting --> loading --> ready <--> loading
                    |          `--> unloaded --> loading        (nobody used it for a while)
                    `--> failed          (only when the model before can't be put back either)

One model answers new messages: the present one. Others stay in memory as long as there is room, so
that going back to them takes no time; those that nobody has used for longest leave first, and one
that is lent never leaves. A change waits for running replies only where their model has to leave;
replies that come during a change wait for it. This module never calls torch.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from chat_ui.engine.protocol import Engine, LoadEngine
from chat_ui.errors import BusyError, ChatUIError, EngineStoppedError, ModelError, as_shown
from chat_ui.models import hub, memory
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec, find
from chat_ui.service.residency import Fits, Resident, Residents
from chat_ui.service.status import NO_MODEL, ModelStatus, named, of_facts

log = logging.getLogger(__name__)

UNLOADED_NOTE: Final = "Nobody has used it for a while; the next message loads it again."


class ModelHost:
    """Holds the server's models. All methods may be called from any thread.

    Args:
        spec: the model to begin with.
        precision: its precision.
        load: loads a model; called, like `fits` and `draft_for`, on a thread that ends.
        fits: whether a model can be loaded while others stay.
        draft_for: the model that drafts for another.
        budget_bytes: what all models may take; None for what is free.
        unload_after_s: a model that nobody used for so long is unloaded; 0 keeps it.
        clock: gives seconds.

    Attributes:
        known: the models that were loaded here, by their ids.
    """

    def __init__(
        self,
        spec: ModelSpec,
        precision: Precision,
        load: LoadEngine,
        fits: Fits = memory.fits_beside,
        draft_for: Callable[[ModelSpec], ModelSpec | None] = lambda spec: None,
        budget_bytes: int | None = None,
        unload_after_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._fits = fits
        self._draft_for = draft_for
        self._budget_bytes = budget_bytes
        self._unload_after_s = unload_after_s
        self._wanted = (spec, precision)  # the present model, or the one to load next
        # Held while models are loaded and closed, so that memory is measured between the two.
        self._work = threading.Lock()
        self._changed = threading.Condition()  # guards all that follows
        self._residents = Residents(clock)
        self._present: Resident | None = None
        self._is_changing = False
        self._is_unloaded = False  # for want of work; the model can be had again
        self._is_closed = False
        self._timer: threading.Timer | None = None
        self._status = ModelStatus(0, "starting", spec.id, spec.label, precision)
        self.known = {spec.id: spec}

    @property
    def status(self) -> ModelStatus:
        """What the server has now."""
        return self._status

    def start(self) -> None:
        """Begin to load the first model, unless that was begun already."""
        with self._changed:
            if self._status.phase == "starting" and not self._is_changing:
                self._begin(*self._wanted)

    def switch(self, model: str, precision: Precision) -> None:
        """Change to another model or precision: at once where it is in memory, else begin to.

        Raises:
            ModelError: there is no such model, or its files are no good; nothing changes.
            BusyError: another change is under way.
        """
        spec = find(model)
        with self._changed:
            if self._is_changing:
                raise BusyError(
                    "Another model is being loaded.", "Wait until it is there, then choose again."
                )
            kept = self._residents.find(spec.id, precision)
            if kept is None:
                self._begin(spec, precision)
            elif kept is not self._present:
                self._settle(kept, None)

    @contextmanager
    def lend(self, gives_up: Callable[[], bool]) -> Iterator[Engine]:
        """The present model, as soon as there is one; it stays as long as it is lent.

        Args:
            gives_up: asked while waiting; once true, waiting ends with an error.

        Raises:
            ModelError: no model could be loaded.
            EngineStoppedError: `gives_up` said so, or the server is ending.
        """
        self.start()
        with self._changed:
            # Who has waited for a change in vain gets its reason and does not begin another.
            may_begin = not self._is_changing
            self._wait_for_change(gives_up)
            if self._status.phase == "unloaded" and (may_begin or not self._status.error):
                self._begin(*self._wanted)
                self._wait_for_change(gives_up)
            if self._is_closed or gives_up():
                raise EngineStoppedError
            lent = self._present
            if lent is None:
                reason = self._status.error or "No model is loaded."
                raise ModelError(reason, "Choose another model or precision.")
            lent.users += 1
        try:
            yield lent.engine
        finally:
            with self._changed:
                lent.users -= 1
                self._residents.touch(lent)
                self._changed.notify_all()

    def close(self) -> None:
        """Unload all models; replies that still have one get `EngineStoppedError`."""
        with self._changed:
            self._is_closed = True
            self._present = None
            leaving = list(self._residents)
            for one in leaving:
                self._residents.remove(one)
            if self._timer is not None:
                self._timer.cancel()
            self._changed.notify_all()
        _close_all(leaving)

    def _wait_for_change(self, gives_up: Callable[[], bool]) -> None:
        while self._is_changing and not self._is_closed and not gives_up():
            self._changed.wait(0.1)

    def _begin(self, spec: ModelSpec, precision: Precision) -> None:
        self._is_changing = True
        self._show(phase="loading", note=f"Loading {named(spec, precision)}…", error=None)
        threading.Thread(
            target=self._change, args=(spec, precision), name="model-change", daemon=True
        ).start()

    def _change(self, spec: ModelSpec, precision: Precision) -> None:
        with self._work:
            before = self._present
            try:
                engine = self._loaded(spec, precision)
            except BaseException as error:  # a library's panic is no Exception, and ends no less
                if not isinstance(error, ChatUIError):
                    log.exception("loading %s failed", spec.id)
                self._put_back(before, as_shown(error))
            else:
                self._take(engine, None)

    def _loaded(self, spec: ModelSpec, precision: Precision) -> Engine:
        if spec.folder is None:  # nothing is unloaded for a model that can't be had
            spec = replace(spec, folder=hub.download(spec.id))
        draft = self._draft_for(spec)
        self._make_room(spec, precision, draft)
        return self._load(spec, precision, draft=draft)

    def _make_room(self, spec: ModelSpec, precision: Precision, draft: ModelSpec | None) -> None:
        """Close models until this one fits, or none is left: then the loader has the numbers."""
        while (self._residents or self._budget_bytes) and not self._fits(
            spec,
            precision,
            draft,
            resident_bytes=self._residents.weight_bytes,
            budget_bytes=self._budget_bytes,
        ):
            leaving = self._next_to_leave(named(spec, precision))
            if leaving is None:
                break
            _close_all([leaving])
        if self._is_closed:
            raise EngineStoppedError

    def _next_to_leave(self, name: str) -> Resident | None:
        """Take a model out of the residents, once one is not lent; None when all are gone."""
        with self._changed:
            while self._residents and not self._is_closed:
                found = self._residents.first_to_leave(self._present)
                if found is not None:
                    self._residents.remove(found)
                    if found is self._present:
                        self._present = None
                    self._show(note=f"Loading {name}…", others=self._others())
                    return found
                note = f"{name} is loaded when the answers that are being written have ended."
                if self._status.note != note:
                    self._show(note=note)
                self._changed.wait(0.5)
        return None

    def _put_back(self, before: Resident | None, reason: str) -> None:
        """After a failed change: the model before it again, loaded anew if it had to leave."""
        with self._changed:
            if self._is_closed or before is None or before in self._residents:
                self._settle(None if self._is_closed else before, reason)
                return
        facts = before.engine.facts
        self._show(note=f"Loading {named(facts.spec, facts.precision)} again…")
        try:
            engine = self._load(facts.spec, facts.precision, draft=self._draft_for(facts.spec))
        except BaseException as error:
            log.exception("putting back %s failed", facts.spec.id)
            again = f"The model before it couldn't be loaded again: {as_shown(error)}"
            self._settle(None, f"{reason} {again}")
        else:
            self._take(engine, reason)

    def _take(self, engine: Engine, error: str | None) -> None:
        with self._changed:
            if not self._is_closed:
                self._settle(self._residents.add(engine), error)
                return
        # The server ended while the model was loading: nobody else will unload it.
        engine.close()

    def _settle(self, present: Resident | None, error: str | None) -> None:
        """End a change: this model answers from now on; None for none."""
        with self._changed:
            self._is_changing = False
            self._present = present
            if present is not None:
                facts = present.engine.facts
                self._is_unloaded = False
                self._wanted = facts.spec, facts.precision
                self.known[facts.spec.id] = facts.spec
                self._residents.touch(present)
                self._show(phase="ready", error=error, others=self._others(), **of_facts(facts))
                self._watch_idle()
            elif self._is_unloaded:
                self._show(phase="unloaded", error=error, **NO_MODEL | {"note": UNLOADED_NOTE})
            else:
                self._show(phase="failed", error=error, **NO_MODEL)
            self._changed.notify_all()

    def _watch_idle(self) -> None:
        if self._unload_after_s and self._residents and not (self._timer or self._is_closed):
            due_s = max(0.05, self._residents.next_due_s(self._unload_after_s))
            self._timer = threading.Timer(due_s, self.unload_idle)
            self._timer.daemon = True
            self._timer.start()

    def unload_idle(self) -> None:
        """Unload the models that nobody used for `unload_after_s`; a timer calls it."""
        with self._work:
            with self._changed:
                self._timer = None
                is_quiet = not (self._is_changing or self._is_closed)
                leaving = self._residents.overdue(self._unload_after_s) if is_quiet else []
                for one in leaving:
                    self._residents.remove(one)
                if self._present in leaving:
                    self._is_unloaded = True
                    self._settle(None, None)
                if leaving:
                    self._show(others=self._others())
            _close_all(leaving)
        with self._changed:
            self._watch_idle()

    def _others(self) -> tuple[str, ...]:
        beside = [one.engine.facts for one in self._residents if one is not self._present]
        return tuple(named(facts.spec, facts.precision) for facts in beside)

    def _show(self, **changes: object) -> None:
        with self._changed:
            revision = self._status.revision + 1
            self._status = replace(self._status, revision=revision, **changes)  # type: ignore[arg-type]


def load_model(spec: ModelSpec, precision: Precision, *, draft: ModelSpec | None = None) -> Engine:
    """Load a model through transformers, which takes seconds to import: the page need not wait."""
    from chat_ui.engine.load import load_engine  # noqa: PLC0415

    return load_engine(spec, precision, draft=draft)


def _close_all(residents: Sequence[Resident]) -> None:
    for one in residents:
        try:
            one.engine.close()
        except Exception:  # it is gone for us, whatever became of it
            log.exception("unloading %s failed", one.engine.facts.spec.id)
