"""Changing the model that answers: its files, room for it, loading it, and the way back.

One change at a time, on a thread of its own. What was there before it is there after one that
failed or was cancelled. This module never calls torch.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

from chat_ui.engine.protocol import Engine, EngineFacts, LoadEngine
from chat_ui.errors import (
    ChatUIError,
    EngineStoppedError,
    HubError,
    LoadCancelledError,
    as_shown,
)
from chat_ui.models import admission, cached, checkpoint, hub
from chat_ui.models.progress import LoadProgress
from chat_ui.models.spec import ModelSpec
from chat_ui.service.activity import Activity
from chat_ui.service.loading import Load
from chat_ui.service.residency import Fits, Resident, close_all
from chat_ui.service.state import ModelState

log = logging.getLogger(__name__)

UNLOADED_BY_HAND_NOTE: Final = "It was unloaded; the next message loads it again."


class ModelChanges:
    """Changes the present model of `state`.

    Args:
        state: what the server has.
        load, fits, draft_for, loaded, budget_bytes, activity, unmeasured: as of `ModelHost`.

    Attributes:
        work: held while models are loaded and closed, so that memory is measured between the two.
    """

    def __init__(
        self,
        state: ModelState,
        load: LoadEngine,
        fits: Fits,
        draft_for: Callable[[ModelSpec, Load], ModelSpec | None],
        loaded: Callable[[EngineFacts, int], None],
        budget_bytes: int | None,
        activity: Activity,
        unmeasured: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._state = state
        self._load = load
        self._fits = fits
        self._draft_for = draft_for
        self._tell_loaded = loaded
        self._budget_bytes = budget_bytes
        self._activity = activity
        self._unmeasured = unmeasured
        self.work = threading.Lock()

    def begin(self, load: Load) -> None:
        """Begin a change, under the state's lock; there must be none under way."""
        state = self._state
        # First: where no thread can be had, nothing has begun. It waits for the lock that is held.
        threading.Thread(
            target=self._change, args=(load,), name="model-change", daemon=True
        ).start()
        state.loading = load
        if state.present is None:
            state.show(phase="loading", note=f"Loading {load.name}…", error=None)
        else:
            state.show(error=None)

    def _change(self, load: Load) -> None:
        with self.work:
            with self._state.changed:  # which whoever began it holds until everything is said
                before = self._state.present
            try:
                self._prepare(load)
                engine = self._read(load)
            except LoadCancelledError:
                self._put_back(before, None, note=f"Loading {load.name} was cancelled.")
            except BaseException as error:  # a library's panic is no Exception, and ends no less
                if not isinstance(error, ChatUIError):
                    log.exception("loading %s failed", load.spec.id)
                self._state.note_failure()
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
        if load.spec.folder is None and not load.asks_hub:
            load.spec = _on_this_machine(load.spec)
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
        while (self._state.residents or self._budget_bytes) and not self._fits(
            load.spec,
            load.precision,
            load.draft,
            resident_bytes=self._state.residents.weight_bytes,
            budget_bytes=self._budget_bytes,
        ):
            load(LoadProgress("making room"))
            leaving = self._next_to_leave(load)
            if leaving is None:
                break
            close_all([leaving])
        if self._state.is_closed:
            raise EngineStoppedError

    def _next_to_leave(self, load: Load) -> Resident | None:
        """Take a model out of the residents, once one is not lent; None when all are gone.

        Raises:
            LoadCancelledError: somebody has cancelled the load while it waited.
        """
        state = self._state
        with state.changed:
            while state.residents and not state.is_closed:
                load.check()
                found = state.residents.first_to_leave(state.present)
                if found is not None:
                    state.residents.remove(found)
                    if found is state.present:
                        state.present = None
                        state.show(phase="loading", note=f"Loading {load.name}…")
                    load.note = ""
                    state.show(others=state.others())
                    return found
                state.is_clearing = True  # else new replies could keep it for ever
                load.note = "It is loaded when the answers that are being written have ended."
                state.changed.wait(0.5)
        return None

    def _put_back(self, before: Resident | None, reason: str | None, note: str = "") -> None:
        """After a failed change: the model before it again, loaded anew if it had to leave.

        Args:
            before: the present model when the change began; None for none.
            reason: why it failed; None where somebody cancelled it.
            note: a sentence instead.
        """
        state = self._state
        with state.changed:
            if state.is_closed or before is None or before in state.residents:
                if before is None and reason is None:
                    # An error, so that replies that wait for it end, and don't begin it again.
                    state.unloaded_note, reason = "The next message loads it again.", note
                state.settle(None if state.is_closed else before, reason, note)
                return
            facts = before.engine.facts
            again = state.loading = Load(facts.spec, facts.precision)
            state.show(note=f"Loading {again.name} again…")
        try:
            draft = self._draft_for(facts.spec, again)
            engine = self._load(facts.spec, facts.precision, draft=draft, progress=again)
        except LoadCancelledError:
            state.unloaded_note = UNLOADED_BY_HAND_NOTE
            state.settle(None, reason or f"Loading {again.name} was cancelled.")
        except BaseException as error:
            log.exception("putting back %s failed", facts.spec.id)
            failed = f"The model before it couldn't be loaded again: {as_shown(error)}"
            state.settle(None, f"{reason or note} {failed}")
        else:
            self._take(engine, reason, note)

    def _take(self, engine: Engine, error: str | None, note: str = "") -> None:
        with self._state.changed:
            if not self._state.is_closed:
                self._state.settle(self._state.residents.add(engine), error, note)
                return
        # The server ended while the model was loading: nobody else will unload it.
        engine.close()


def _on_this_machine(spec: ModelSpec) -> ModelSpec:
    """A Hub model with the folder that it has in the cache. The network is never asked.

    Raises:
        HubError: it isn't there.
    """
    here = cached.find(spec.id)
    if here is None:
        raise HubError(f"{spec.id} is not on this machine.", "The server's owner can load it.")
    return replace(spec, folder=here.folder)
