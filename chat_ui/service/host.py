"""The models of this server: loading them, changing the one that answers, lending it to replies.

    starting --> loading --> ready <--> loading
                    |          `--> unloaded --> loading   (by hand, or nobody used it for a while)
                    `--> failed          (only when the model before can't be put back either)

One model answers new messages: the present one. It goes on answering while another one is loaded,
and has to leave first only where both don't fit: replies that come then wait. Others stay in memory
as long as there is room, so that going back to them takes no time; those that nobody has used for
longest leave first, and one that is lent never leaves. A load can be cancelled at any moment; what
was there before it is there after it. This module never calls torch.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Final

from chat_ui.engine.protocol import Engine, EngineFacts, LoadEngine
from chat_ui.errors import (
    BusyError,
    ChatUIError,
    EngineStoppedError,
    LoadCancelledError,
    ModelError,
    as_shown,
)
from chat_ui.models import admission, checkpoint, hub, memory
from chat_ui.models.progress import LoadProgress, Progress
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec, find
from chat_ui.service.activity import Activity
from chat_ui.service.loading import Load
from chat_ui.service.residency import Fits, Resident, Residents, close_all
from chat_ui.service.status import NO_MODEL, ModelStatus, named, of_facts

log = logging.getLogger(__name__)

UNLOADED_NOTE: Final = "Nobody has used it for a while; the next message loads it again."
UNLOADED_BY_HAND_NOTE: Final = "It was unloaded; the next message loads it again."


class ModelHost:
    """Holds the server's models. All methods may be called from any thread.

    Args:
        spec: the model to begin with.
        precision: its precision.
        load: loads a model; called, like `fits` and `draft_for`, on a thread that ends.
        fits: whether a model can be loaded while others stay.
        draft_for: the model that drafts for another.
        loaded: told of each model that was loaded, and what the program took before that, in bytes.
        budget_bytes: what all models may take; None for what is free.
        unload_after_s: a model that nobody used for so long is unloaded; 0 keeps it.
        tries_again: where no model could be loaded, the next message tries it again.
        activity: told of loads, and of replies that have a model.
        unmeasured: entered while a model is loaded, so that nothing is measured meanwhile.
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
        draft_for: Callable[[ModelSpec, Progress], ModelSpec | None] = lambda spec, told: None,
        loaded: Callable[[EngineFacts, int], None] = lambda facts, bytes_before: None,
        budget_bytes: int | None = None,
        unload_after_s: float = 0.0,
        tries_again: bool = False,
        activity: Activity | None = None,
        unmeasured: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._fits = fits
        self._draft_for = draft_for
        self._tell_loaded = loaded
        self._budget_bytes = budget_bytes
        self._unload_after_s = unload_after_s
        self._tries_again = tries_again
        self._activity = activity or Activity()
        self._unmeasured = unmeasured
        self._wanted = (spec, precision)  # the present model, or the one to load next
        # Held while models are loaded and closed, so that memory is measured between the two.
        self._work = threading.Lock()
        self._changed = threading.Condition()  # guards all that follows
        self._residents = Residents(clock)
        self._present: Resident | None = None
        self._loading: Load | None = None  # the change that is under way
        self._is_clearing = False  # the change needs the present model's room
        self._unloaded_note = ""  # the model can be had again, and why it is not here
        self._is_closed = False
        self._timer: threading.Timer | None = None
        self._status = ModelStatus(0, "starting", spec.id, spec.label, precision)
        self.known = {spec.id: spec}

    @property
    def status(self) -> ModelStatus:
        """What the server has now."""
        load, status = self._loading, self._status
        return status if load is None else replace(status, loading=load.now)

    @property
    def engine(self) -> Engine | None:
        """The present model's, for a look: its facts, and `encode`.

        It is not lent, so it may be unloaded meanwhile; None where no model is in memory.
        """
        present = self._present
        return None if present is None else present.engine

    @property
    def resident_bytes(self) -> int:
        """What the weights of the models in memory take."""
        with self._changed:
            return self._residents.weight_bytes

    @property
    def is_quiet(self) -> bool:
        """Whether no model is being loaded, and no reply has one."""
        with self._changed:
            return self._loading is None and not any(one.users for one in self._residents)

    def start(self) -> None:
        """Begin to load the first model, unless that was begun already."""
        with self._changed:
            if self._status.phase == "starting" and self._loading is None:
                self._begin(Load(*self._wanted))

    def switch(
        self,
        model: str,
        precision: Precision,
        token: str | None = None,
        *,
        anyway: bool = False,
    ) -> None:
        """Change to another model or precision: at once where it is in memory, else begin to.

        Args:
            model: as the command line takes it.
            precision: in which precision.
            token: of the Hub, for this download alone.
            anyway: try it, though memory seems too short.

        Raises:
            ModelError: there is no such model, or its files are no good; nothing changes.
            BusyError: another change is under way.
        """
        spec = find(model)
        with self._changed:
            self._refuse_while_loading("then choose again")
            kept = self._residents.find(spec.id, precision)
            if kept is None:
                self._begin(Load(spec, precision, token, anyway))
            elif kept is not self._present:
                self._settle(kept, None)

    def cancel(self) -> None:
        """End the change that is under way, if any; the model before it stays, or comes back."""
        with self._changed:
            if self._loading is not None:
                self._loading.cancel()
                self._changed.notify_all()

    def unload(self) -> None:
        """Unload all models that no reply has; the next message loads the present one again.

        Raises:
            BusyError: the present model is answering, or another one is being loaded.
        """
        with self._changed:
            self._refuse_while_loading("or cancel it")
            if self._present is not None and self._present.users:
                raise BusyError(
                    "The model is writing answers.", "Wait until they have ended, or stop them."
                )
            idle = [one for one in self._residents if not one.users]
            leaving = self._taken_out(idle, UNLOADED_BY_HAND_NOTE)
        with self._work:
            close_all(leaving)

    def _refuse_while_loading(self, next_step: str) -> None:
        if self._loading is not None:
            raise BusyError(
                "Another model is being loaded.", f"Wait until it is there, {next_step}."
            )

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
            may_begin = self._loading is None
            self._wait_for_model(gives_up)
            phase = self._status.phase
            is_lost = phase == "failed" and may_begin and self._tries_again
            if is_lost or (phase == "unloaded" and (may_begin or not self._status.error)):
                self._begin(Load(*self._wanted))
                self._wait_for_model(gives_up)
            if self._is_closed or gives_up():
                raise EngineStoppedError
            lent = self._present
            if lent is None:
                raise self._no_model()
            lent.users += 1
        self._activity.note_answer()
        try:
            yield lent.engine
        finally:
            self._activity.note_answer()
            with self._changed:
                lent.users -= 1
                self._residents.touch(lent)
                self._changed.notify_all()

    def _no_model(self) -> ModelError:
        reason = self._status.error or "No model is loaded."
        if self._status.phase == "unloaded" or self._tries_again:
            return ModelError(reason, "Send the message again: the model is then loaded again.")
        return ModelError(reason, "Choose another model or precision.")

    def close(self) -> None:
        """Unload all models; replies that still have one get `EngineStoppedError`."""
        with self._changed:
            self._is_closed = True
            if self._loading is not None:
                self._loading.cancel()
            self._present = None
            leaving = list(self._residents)
            for one in leaving:
                self._residents.remove(one)
            if self._timer is not None:
                self._timer.cancel()
            self._changed.notify_all()
        close_all(leaving)

    def _wait_for_model(self, gives_up: Callable[[], bool]) -> None:
        def is_there() -> bool:
            return self._loading is None or (self._present is not None and not self._is_clearing)

        while not is_there() and not self._is_closed and not gives_up():
            self._changed.wait(0.1)

    def _begin(self, load: Load) -> None:
        # First: where no thread can be had, nothing has begun. It waits for the lock that is held.
        threading.Thread(
            target=self._change, args=(load,), name="model-change", daemon=True
        ).start()
        self._loading = load
        if self._present is None:
            self._show(phase="loading", note=f"Loading {load.name}…", error=None)
        else:
            self._show(error=None)

    def _change(self, load: Load) -> None:
        with self._work:
            with self._changed:  # which whoever began it holds until everything is said
                before = self._present
            try:
                self._prepare(load)
                engine = self._read(load)
            except LoadCancelledError:
                self._put_back(before, None, note=f"Loading {load.name} was cancelled.")
            except BaseException as error:  # a library's panic is no Exception, and ends no less
                if not isinstance(error, ChatUIError):
                    log.exception("loading %s failed", load.spec.id)
                self._put_back(before, as_shown(error))
            else:
                # Before anybody can answer with it.
                if load.bytes_before is not None and load.draft is None:
                    self._tell_loaded(engine.facts, load.bytes_before)
                self._take(engine, None)

    def _read(self, load: Load) -> Engine:
        self._activity.note_load()
        try:
            with self._unmeasured():
                return self._load(
                    load.spec,
                    load.precision,
                    draft=load.draft,
                    progress=load,
                    anyway=load.anyway,
                )
        finally:
            self._activity.note_load()

    def _prepare(self, load: Load) -> None:
        """Bring the files here, and make room.

        Nothing is downloaded or unloaded for a model that can't be had.
        """
        load(LoadProgress("checking"))
        if load.spec.folder is None:
            admission.refuse(hub.fetch_config(load.spec.id, load.token), load.precision)
            folder = hub.download(load.spec.id, load, load.token)
            load.spec = replace(load.spec, folder=folder)
        elif load.spec.kind != "built-in":
            admission.refuse(checkpoint.read_config(load.spec.folder), load.precision)
        load.draft = self._draft_for(load.spec, load)
        load.check()
        self._make_room(load)

    def _make_room(self, load: Load) -> None:
        """Close models until this one fits, or none is left: then the loader has the numbers."""
        while (self._residents or self._budget_bytes) and not self._fits(
            load.spec,
            load.precision,
            load.draft,
            resident_bytes=self._residents.weight_bytes,
            budget_bytes=self._budget_bytes,
        ):
            load(LoadProgress("making room"))
            leaving = self._next_to_leave(load)
            if leaving is None:
                break
            close_all([leaving])
        if self._is_closed:
            raise EngineStoppedError

    def _next_to_leave(self, load: Load) -> Resident | None:
        """Take a model out of the residents, once one is not lent; None when all are gone.

        Raises:
            LoadCancelledError: somebody has cancelled the load while it waited.
        """
        with self._changed:
            while self._residents and not self._is_closed:
                load.check()
                found = self._residents.first_to_leave(self._present)
                if found is not None:
                    self._residents.remove(found)
                    if found is self._present:
                        self._present = None
                        self._show(phase="loading", note=f"Loading {load.name}…")
                    load.note = ""
                    self._show(others=self._others())
                    return found
                self._is_clearing = True  # else new replies could keep it for ever
                load.note = "It is loaded when the answers that are being written have ended."
                self._changed.wait(0.5)
        return None

    def _put_back(self, before: Resident | None, reason: str | None, note: str = "") -> None:
        """After a failed change: the model before it again, loaded anew if it had to leave.

        Args:
            before: the present model when the change began; None for none.
            reason: why it failed; None where somebody cancelled it.
            note: a sentence instead.
        """
        with self._changed:
            if self._is_closed or before is None or before in self._residents:
                if before is None and reason is None:
                    # An error, so that replies that wait for it end, and don't begin it again.
                    self._unloaded_note, reason = "The next message loads it again.", note
                self._settle(None if self._is_closed else before, reason, note)
                return
            facts = before.engine.facts
            again = self._loading = Load(facts.spec, facts.precision)
            self._show(note=f"Loading {again.name} again…")
        try:
            draft = self._draft_for(facts.spec, again)
            engine = self._load(facts.spec, facts.precision, draft=draft, progress=again)
        except LoadCancelledError:
            self._unloaded_note = UNLOADED_BY_HAND_NOTE
            self._settle(None, reason or f"Loading {again.name} was cancelled.")
        except BaseException as error:
            log.exception("putting back %s failed", facts.spec.id)
            failed = f"The model before it couldn't be loaded again: {as_shown(error)}"
            self._settle(None, f"{reason or note} {failed}")
        else:
            self._take(engine, reason, note)

    def _take(self, engine: Engine, error: str | None, note: str = "") -> None:
        with self._changed:
            if not self._is_closed:
                self._settle(self._residents.add(engine), error, note)
                return
        # The server ended while the model was loading: nobody else will unload it.
        engine.close()

    def _settle(self, present: Resident | None, error: str | None, note: str = "") -> None:
        """End a change: this model answers from now on; None for none.

        Args:
            present: the model.
            error: why the change failed; None for one that did not.
            note: a sentence on how it ended, before what the model says of itself.
        """
        with self._changed:
            self._loading = None
            self._is_clearing = False
            self._present = present
            if present is not None:
                facts = present.engine.facts
                self._unloaded_note = ""
                self._wanted = facts.spec, facts.precision
                self.known[facts.spec.id] = facts.spec
                self._residents.touch(present)
                self._show(phase="ready", error=error, others=self._others(), **of_facts(facts))
                if note:
                    self._show(note=f"{note} {facts.dtype_reason}".rstrip())
                self._watch_idle()
            elif self._unloaded_note:
                gone = NO_MODEL | {"note": self._unloaded_note}
                self._show(phase="unloaded", error=error, **gone)
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
                is_quiet = self._loading is None and not self._is_closed
                overdue = self._residents.overdue(self._unload_after_s) if is_quiet else []
                leaving = self._taken_out(overdue, UNLOADED_NOTE)
            close_all(leaving)
        with self._changed:
            self._watch_idle()

    def _taken_out(self, leaving: list[Resident], note: str) -> list[Resident]:
        """Take models out of the residents, under the lock; closing them is the caller's."""
        for one in leaving:
            self._residents.remove(one)
        if self._present in leaving:
            self._unloaded_note = note
            self._settle(None, None)
        if leaving:
            self._show(others=self._others())
        return leaving

    def _others(self) -> tuple[str, ...]:
        beside = [one.engine.facts for one in self._residents if one is not self._present]
        return tuple(named(facts.spec, facts.precision) for facts in beside)

    def _show(self, **changes: object) -> None:
        with self._changed:
            revision = self._status.revision + 1
            self._status = replace(self._status, revision=revision, **changes)  # type: ignore[arg-type]
