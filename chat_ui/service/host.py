"""The models of this server: lending the one that answers to replies, unloading, asking for others.

    starting --> loading --> ready <--> loading
                    |          `--> unloaded --> loading   (by hand, or nobody used it for a while)
                    `--> failed          (only when the model before can't be put back either)

One model answers new messages: the present one. It goes on answering while another one is loaded,
and has to leave first only where both don't fit: replies that come then wait. Others stay in memory
as long as there is room, so that going back to them takes no time; those that nobody has used for
longest leave first, and one that is lent never leaves. A load can be cancelled at any moment; what
was there before it is there after it. How one is loaded is `changing.py`'s, and what all know of
it is in `state.py`. This module never calls torch.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Final

from chat_ui.engine.protocol import Engine, EngineFacts, LoadEngine
from chat_ui.errors import BusyError, EngineStoppedError, ModelError
from chat_ui.models import cached, memory
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec, find
from chat_ui.service.activity import Activity
from chat_ui.service.changing import UNLOADED_BY_HAND_NOTE, ModelChanges
from chat_ui.service.loading import Load
from chat_ui.service.residency import Fits, close_all
from chat_ui.service.state import ModelState
from chat_ui.service.status import ModelStatus

UNLOADED_NOTE: Final = "Nobody has used it for a while; the next message loads it again."


class ModelHost:
    """Holds the server's models. All methods may be called from any thread.

    Args:
        spec: the model to begin with.
        precision: its precision.
        load: loads a model; called, like `fits` and `draft_for`, on a thread that ends.
        find_model: gives the model that a person named.
        fits: whether a model can be loaded while others stay.
        draft_for: the model that drafts for another, in a load of it.
        loaded: told of each model that was loaded, and what the program took before that, in bytes.
        budget_bytes: what all models may take; None for what is free.
        unload_after_s: a model that nobody used for so long is unloaded; 0 keeps it.
        tries_again: where no model could be loaded, the next message tries it again.
        retry_pause_s: no message does so until so long after the last failure.
        asks_hub_again: whether a load that a message begins may ask the Hub, after the first one.
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
        find_model: Callable[[str], ModelSpec] = find,
        fits: Fits = memory.fits_beside,
        draft_for: Callable[[ModelSpec, Load], ModelSpec | None] = lambda spec, load: None,
        loaded: Callable[[EngineFacts, int], None] = lambda facts, bytes_before: None,
        budget_bytes: int | None = None,
        unload_after_s: float = 0.0,
        tries_again: bool = False,
        retry_pause_s: float = 0.0,
        asks_hub_again: bool = True,
        activity: Activity | None = None,
        unmeasured: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find_model = find_model
        self._unload_after_s = unload_after_s
        self._tries_again = tries_again
        self._retry_pause_s = retry_pause_s
        self._asks_hub_again = asks_hub_again
        self._activity = activity or Activity()
        self._state = ModelState(spec, precision, self._watch_idle, clock)
        self._changes = ModelChanges(
            self._state, load, fits, draft_for, loaded, budget_bytes, self._activity, unmeasured
        )
        self._timer: threading.Timer | None = None
        self.known = self._state.known

    @property
    def status(self) -> ModelStatus:
        """What the server has now."""
        load, status = self._state.loading, self._state.status
        return status if load is None else replace(status, loading=load.now)

    @property
    def engine(self) -> Engine | None:
        """The present model's, for a look: its facts, and `encode`.

        It is not lent, so it may be unloaded meanwhile; None where no model is in memory.
        """
        present = self._state.present
        return None if present is None else present.engine

    def forget(self) -> None:
        """Have all models drop what they keep of answers that have ended."""
        with self._state.changed:
            engines = [one.engine for one in self._state.residents]
        for engine in engines:
            engine.forget()

    @property
    def resident_bytes(self) -> int:
        """What the weights of the models in memory take."""
        with self._state.changed:
            return self._state.residents.weight_bytes

    @property
    def is_quiet(self) -> bool:
        """Whether no model is being loaded, and no reply has one."""
        state = self._state
        with state.changed:
            return state.loading is None and not any(one.users for one in state.residents)

    def start(self) -> None:
        """Begin to load the first model, unless that was begun already."""
        state = self._state
        with state.changed:
            if state.status.phase == "starting" and state.loading is None:
                self._changes.begin(Load(*state.wanted))

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
        state = self._state
        spec = self._find_model(model)
        with state.changed:
            self._refuse_while_loading("then choose again")
            kept = state.residents.find(spec.id, precision)
            if kept is None:
                self._changes.begin(Load(spec, precision, token, anyway))
            elif kept is not state.present:
                state.settle(kept, None)

    def cancel(self) -> None:
        """End the change that is under way, if any; the model before it stays, or comes back."""
        with self._state.changed:
            if self._state.loading is not None:
                self._state.loading.cancel()
                self._state.changed.notify_all()

    def unload(self) -> None:
        """Unload all models that no reply has; the next message loads the present one again.

        Raises:
            BusyError: the present model is answering, or another one is being loaded.
        """
        state = self._state
        with state.changed:
            self._refuse_while_loading("or cancel it")
            if state.present is not None and state.present.users:
                raise BusyError(
                    "The model is writing answers.", "Wait until they have ended, or stop them."
                )
            idle = [one for one in state.residents if not one.users]
            leaving = state.taken_out(idle, UNLOADED_BY_HAND_NOTE)
        with self._changes.work:
            close_all(leaving)

    def _refuse_while_loading(self, next_step: str) -> None:
        if self._state.loading is not None:
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
        state = self._state
        self.start()
        with state.changed:
            # Who has waited for a change in vain gets its reason and does not begin another.
            may_begin = state.loading is None
            self._wait_for_model(gives_up)
            phase = state.status.phase
            is_lost = phase == "failed" and may_begin and self._tries_again
            is_gone = phase == "unloaded" and (may_begin or not state.status.error)
            if (is_lost or is_gone) and self._is_here() and self._has_paused():
                self._changes.begin(Load(*state.wanted, asks_hub=self._asks_hub_again))
                self._wait_for_model(gives_up)
            if state.is_closed or gives_up():
                raise EngineStoppedError
            lent = state.present
            if lent is None:
                raise self._no_model()
            lent.users += 1
        self._activity.note_answer()
        try:
            yield lent.engine
        finally:
            self._activity.note_answer()
            with state.changed:
                lent.users -= 1
                state.residents.touch(lent)
                state.changed.notify_all()

    def _is_here(self) -> bool:
        """Whether a message may load the wanted model: it is on this machine, or may come here."""
        spec = self._state.wanted[0]
        is_here = self._asks_hub_again or spec.folder is not None
        return is_here or cached.find(spec.id) is not None

    def _has_paused(self) -> bool:
        return self._state.is_past_failure(self._retry_pause_s)

    def _no_model(self) -> ModelError:
        reason = self._state.status.error or "No model is loaded."
        if not self._is_here():
            return ModelError(reason, "The server's owner can load one.")
        if not self._has_paused():
            return ModelError(reason, "Send the message again in a minute: it is tried again then.")
        if self._state.status.phase == "unloaded" or self._tries_again:
            return ModelError(reason, "Send the message again: the model is then loaded again.")
        return ModelError(reason, "Choose another model or precision.")

    def close(self) -> None:
        """Unload all models; replies that still have one get `EngineStoppedError`."""
        state = self._state
        with state.changed:
            state.is_closed = True
            if state.loading is not None:
                state.loading.cancel()
            state.present = None
            leaving = list(state.residents)
            for one in leaving:
                state.residents.remove(one)
            if self._timer is not None:
                self._timer.cancel()
            state.changed.notify_all()
        close_all(leaving)

    def _wait_for_model(self, gives_up: Callable[[], bool]) -> None:
        state = self._state

        def is_there() -> bool:
            return state.loading is None or (state.present is not None and not state.is_clearing)

        while not is_there() and not state.is_closed and not gives_up():
            state.changed.wait(0.1)

    def _watch_idle(self) -> None:
        state = self._state
        if self._unload_after_s and state.residents and not (self._timer or state.is_closed):
            due_s = max(0.05, state.residents.next_due_s(self._unload_after_s))
            self._timer = threading.Timer(due_s, self.unload_idle)
            self._timer.daemon = True
            self._timer.start()

    def unload_idle(self) -> None:
        """Unload the models that nobody used for `unload_after_s`; a timer calls it."""
        state = self._state
        with self._changes.work:
            with state.changed:
                self._timer = None
                is_quiet = state.loading is None and not state.is_closed
                overdue = state.residents.overdue(self._unload_after_s) if is_quiet else []
                leaving = state.taken_out(overdue, UNLOADED_NOTE)
            close_all(leaving)
        with state.changed:
            self._watch_idle()
