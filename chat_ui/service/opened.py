"""What all of the service stands on: the backend, opened on its first use and closed once."""

import threading
import time
from collections.abc import Callable

from chat_ui.engine.protocol import LoadEngine
from chat_ui.errors import BusyError
from chat_ui.history.store import Store
from chat_ui.service.backend import Backend, open_backend
from chat_ui.service.context_meter import ContextMeter
from chat_ui.service.host import ModelHost
from chat_ui.service.instruments import Instruments, RealInstruments
from chat_ui.service.rates import Rate
from chat_ui.service.stop_file import is_stopped
from chat_ui.service.tally import Figures, Tally
from chat_ui.settings import Settings


class Opened:
    """A backend's life.

    Making one opens nothing. Its first use, or `start`, opens the store and begins to load.

    Args:
        settings: the app's.
        load: loads a model.
        instruments: count models and measure this machine; the real ones if None.
    """

    def __init__(
        self, settings: Settings, load: LoadEngine, instruments: Instruments | None = None
    ) -> None:
        self.settings = settings
        self._load = load
        self._instruments = instruments or RealInstruments()
        self._meter = ContextMeter()
        self._forgetters = [self._meter.forget, self._forget_caches]
        self._opening = threading.Lock()
        self._opened: Backend | None = None
        self._is_closed = False
        self._tally = Tally()
        limit = settings.limits.files_per_minute_per_visitor
        self._files = Rate(0, limit, done="exported or imported {count} files")

    @property
    def is_paused(self) -> bool:
        """Whether the stop switch lets in only the server's owner."""
        return self.settings.is_public and is_stopped(self.settings.data_dir)

    def figures(self) -> Figures:
        """What was done since the start, in numbers; starts nothing."""
        under_way = (0, 0) if self._opened is None else self._opened.replies.under_way()
        return self._tally.figures(*under_way)

    def note_refusal(self, error: BaseException) -> None:
        """Count an event that came to nothing."""
        self._tally.refused(error)

    def start(self) -> None:
        """Open the store and begin to load the model, unless that was done already.

        Raises:
            StartupError: the data folder can't be used.
            ModelError: there is no such model, or its files are no good.
        """
        self._backend.host.start()

    def on_gone(self, forget: Callable[[], None]) -> None:
        """Have a function called, on any thread, whenever conversations are gone for good.

        For whatever keeps texts of conversations to save time: nothing of them may stay.
        """
        self._forgetters.append(forget)

    def _forget_caches(self) -> None:
        if self._opened is not None:  # while it is opened, no model has read anything
            self._opened.host.forget()

    def _forget(self) -> None:
        for forget in self._forgetters:
            forget()

    @property
    def _backend(self) -> Backend:
        with self._opening:
            if self._opened is None:
                if self._is_closed:
                    raise BusyError("The server is ending.", "Try again when it is back.")
                self._opened = open_backend(
                    self.settings, self._load, self._instruments, self._forget, self._tally
                )
            return self._opened

    @property
    def _store(self) -> Store:
        return self._backend.stores.kept

    def _store_of(self, conversation_id: object) -> Store:
        return self._backend.stores.of(conversation_id)

    @property
    def _host(self) -> ModelHost:
        return self._backend.host

    def stop_all_replies(self) -> None:
        """Stop all answers, as if each visitor had; what was written is stored. Returns at once."""
        if self._opened is not None:
            self._opened.replies.stop_all()

    def close_replies(self, deadline_s: float) -> None:
        """Take no more messages, and store what was written so far; reading still works.

        Args:
            deadline_s: seconds after which it no longer waits.
        """
        with self._opening:
            self._is_closed = True
            opened = self._opened
        if opened is not None:
            opened.purge.close()
            opened.lifetimes.close()
            opened.replies.close(deadline_s)

    def close(self, deadline_s: float = 4.0) -> None:
        """Store what was written so far, unload the model and close the store; any number of times.

        Args:
            deadline_s: seconds after which it no longer waits for replies and the model.
        """
        ends_at = time.monotonic() + deadline_s
        self.close_replies(deadline_s)
        opened = self._opened
        if opened is None:
            return
        opened.forecasts.machine.close()
        opened.stores.close()
        opened.lock.release()
        # A model in a long forward pass can't be unloaded in time; the process ends anyway.
        unload = threading.Thread(target=opened.host.close, name="model-unload", daemon=True)
        unload.start()
        unload.join(max(0.1, ends_at - time.monotonic()))
