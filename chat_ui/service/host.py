"""The one model of this server: loading it, changing it, and lending it to replies.

    starting --> loading --> ready --> loading --> ready
                    `--> failed <---------'  (only when the old model can't be put back either)

A change waits until the replies that are running have ended; replies that come meanwhile wait for
the change. The model itself is loaded by a `LoadEngine`; this module never calls torch.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from chat_ui.engine.protocol import Engine, LoadEngine
from chat_ui.errors import BusyError, EngineStoppedError, ModelError, as_shown
from chat_ui.models import hub, memory
from chat_ui.models.quantization import QUANTIZATIONS, Precision
from chat_ui.models.spec import ModelSpec, find

log = logging.getLogger(__name__)

FitsBeside = Callable[[ModelSpec, Precision], bool]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Which model the server has, as every page shows it.

    Attributes:
        revision: grows with every change.
        phase: what the server is doing.
        model_id: of the loaded model, or of the one that is being loaded first.
        label: its name on the page.
        precision: its precision.
        dtype: of its weights that are not quantized; None until one is loaded.
        note: a sentence on what is going on, or why the dtype is what it is; may be empty.
        error: why the last change failed; None after one that worked.
    """

    revision: int
    phase: Literal["starting", "loading", "ready", "failed"]
    model_id: str
    label: str
    precision: Precision
    dtype: str | None = None
    note: str = ""
    error: str | None = None


class ModelHost:
    """Holds the server's model. All methods may be called from any thread.

    Args:
        spec: the model to begin with.
        precision: its precision.
        load: loads a model; called, like `fits_beside`, on a thread that ends.
        fits_beside: whether a model can be loaded while the present one stays.
    """

    def __init__(
        self,
        spec: ModelSpec,
        precision: Precision,
        load: LoadEngine,
        fits_beside: FitsBeside = memory.fits_beside,
    ) -> None:
        self._load = load
        self._fits_beside = fits_beside
        self._spec = spec
        self._precision = precision
        self._changed = threading.Condition()
        self._engine: Engine | None = None
        self._users = 0
        self._is_changing = False
        self._is_closed = False
        self._thread: threading.Thread | None = None
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
                self._begin(self._spec, self._precision)

    def switch(self, model: str, precision: Precision) -> None:
        """Begin to change to another model or precision; returns at once.

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
            now = self._engine.facts if self._engine else None
            if now is None or (now.spec.id, now.precision) != (spec.id, precision):
                self._begin(spec, precision)

    @contextmanager
    def lend(self, gives_up: Callable[[], bool]) -> Iterator[Engine]:
        """The loaded model, as soon as there is one; it stays as long as it is lent.

        Args:
            gives_up: asked while waiting; once true, waiting ends with an error.

        Raises:
            ModelError: no model could be loaded.
            EngineStoppedError: `gives_up` said so, or the server is ending.
        """
        self.start()
        with self._changed:
            while self._is_changing and not self._is_closed and not gives_up():
                self._changed.wait(0.1)
            if self._is_closed or gives_up():
                raise EngineStoppedError
            if self._engine is None:
                reason = self._status.error or "No model is loaded."
                raise ModelError(reason, "Choose another model or precision.")
            self._users += 1
            engine = self._engine
        try:
            yield engine
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    @property
    def users(self) -> int:
        """How many replies have the model now."""
        return self._users

    def close(self) -> None:
        """Unload the model; replies that still have it get `EngineStoppedError`."""
        with self._changed:
            self._is_closed = True
            engine, self._engine = self._engine, None
            self._changed.notify_all()
        if engine is not None:
            engine.close()

    def _begin(self, spec: ModelSpec, precision: Precision) -> None:
        self._is_changing = True
        self._show(phase="loading", note=f"Loading {_named(spec, precision)}…", error=None)
        self._thread = threading.Thread(
            target=self._change, args=(spec, precision), name="model-change", daemon=True
        )
        self._thread.start()

    def _change(self, spec: ModelSpec, precision: Precision) -> None:
        try:
            self._wait_for_replies(spec, precision)
            self._replace(spec, precision)
        except Exception as error:
            log.exception("changing the model failed")
            self._settle(None, as_shown(error))

    def _wait_for_replies(self, spec: ModelSpec, precision: Precision) -> None:
        with self._changed:
            if self._users:
                self._show(
                    note=f"{_named(spec, precision)} is loaded when the answers that are being "
                    "written have ended."
                )
            while self._users and not self._is_closed:
                self._changed.wait(0.5)
            self._show(note=f"Loading {_named(spec, precision)}…")

    def _replace(self, spec: ModelSpec, precision: Precision) -> None:
        old = self._engine
        try:
            if spec.folder is None:  # nothing is unloaded for a model that can't be had
                spec = replace(spec, folder=hub.download(spec.id))
        except ModelError as error:
            self._settle(old, as_shown(error))
            return
        goes_first = old is not None and not self._fits_beside(spec, precision)
        if goes_first and old is not None:
            with self._changed:
                self._engine = None
            old.close()
        try:
            new = self._load(spec, precision)
        except Exception as error:
            if not isinstance(error, ModelError):
                log.exception("loading %s failed", spec.id)
            self._put_back(old if goes_first else None, as_shown(error))
            return
        if old is not None and not goes_first:
            old.close()
        self._settle(new, None)

    def _put_back(self, unloaded: Engine | None, reason: str) -> None:
        """After a failed change: the old model again, loaded anew if it had to go first."""
        if unloaded is None:
            self._settle(self._engine, reason)
            return
        facts = unloaded.facts
        self._show(note=f"Loading {_named(facts.spec, facts.precision)} again…")
        try:
            self._settle(self._load(facts.spec, facts.precision), reason)
        except Exception as error:
            log.exception("putting back %s failed", facts.spec.id)
            again = f"The model before it couldn't be loaded again: {as_shown(error)}"
            self._settle(None, f"{reason} {again}")

    def _settle(self, engine: Engine | None, error: str | None) -> None:
        with self._changed:
            self._is_changing = False
            if self._is_closed:
                self._changed.notify_all()
            else:
                self._engine = engine
                if engine is None:
                    self._show(phase="failed", note="", error=error, dtype=None)
                else:
                    facts = engine.facts
                    self.known[facts.spec.id] = facts.spec
                    self._show(
                        phase="ready",
                        model_id=facts.spec.id,
                        label=facts.spec.label,
                        precision=facts.precision,
                        dtype=facts.dtype,
                        note=facts.dtype_reason,
                        error=error,
                    )
                self._changed.notify_all()
                return
        # The server ended while the model was loading: nobody else will unload it.
        if engine is not None:
            engine.close()

    def _show(self, **changes: object) -> None:
        with self._changed:
            self._status = replace(
                self._status,
                revision=self._status.revision + 1,
                **changes,  # type: ignore[arg-type]
            )


def load_model(spec: ModelSpec, precision: Precision) -> Engine:
    """Load a model through transformers, which takes seconds to import: the page need not wait."""
    from chat_ui.engine.load import load_engine  # noqa: PLC0415

    return load_engine(spec, precision)


def _named(spec: ModelSpec, precision: Precision) -> str:
    return f"{spec.label}, {QUANTIZATIONS[precision].label}"
