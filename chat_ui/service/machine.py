"""This machine as forecasts need it: its free memory now, its speeds once they were measured.

    instruments --once, when nobody is being answered--> file in the data folder --> Machine

Measuring takes some seconds of all cores, so it begins when somebody looks at a forecast, goes on
one precision at a time, and waits while answers are being written. What was measured while other
programs, an answer or a load had the cores is used until the end, and measured again after the next
start. This module never calls torch.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

import psutil

from chat_ui.models import hardware
from chat_ui.models.hardware import Kept, Machine, PrecisionSpeed
from chat_ui.models.memory import DeviceKind
from chat_ui.service.activity import Activity
from chat_ui.service.instruments import Instruments, on_thread_that_ends

log = logging.getLogger(__name__)

FILE_NAME: Final = "machine.json"
_LOOK_AGAIN_S: Final = 0.5
_SEEN_S: Final = 0.5
# Of all cores, what other programs may take while something is measured that is kept.
_OTHERS_SHARE: Final = 0.2


class ThisMachine:
    """See the module's docstring. All methods may be called from any thread.

    Args:
        data_dir: where the measurements are kept.
        instruments: measure it.
        is_quiet: nobody is being answered now, and nothing is being loaded.
        activity: told of what is measured, and knows what else begins.
        watch_others: see `others_share`.
    """

    def __init__(
        self,
        data_dir: Path,
        instruments: Instruments,
        is_quiet: Callable[[], bool],
        activity: Activity | None = None,
        watch_others: Callable[[], Callable[[], float]] | None = None,
    ) -> None:
        self._file = data_dir / FILE_NAME
        self._instruments = instruments
        self._is_quiet = is_quiet
        self._activity = activity or Activity()
        self._probing = threading.Lock()
        self._seen: tuple[float, Machine | None] = 0.0, None
        self._watch_others = watch_others or others_share
        self._lock = threading.Lock()
        self._bandwidth = 0.0  # that is not kept, as are the speeds
        self._speeds: dict[str, PrecisionSpeed] = {}
        self._is_measuring = False
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()

    @cached_property
    def kind(self) -> DeviceKind:
        """Where models run."""
        return on_thread_that_ends(self._instruments.device_kind)

    @cached_property
    def key(self) -> str:
        """What its measurements are kept under."""
        return hardware.machine_key(self._name)

    @cached_property
    def _name(self) -> str:
        kind = self.kind
        return on_thread_that_ends(lambda: self._instruments.machine_name(kind))

    @cached_property
    def _kept(self) -> Kept:
        return Kept(self._file, self.key)

    @contextmanager
    def unmeasured(self) -> Iterator[None]:
        """While this is entered nothing is measured; what is being measured ends first."""
        with self._probing:
            yield

    def now(self) -> Machine:
        """The machine as it is now; speeds that were not measured yet are missing.

        The same for a moment, so that what belongs together is forecast of one machine.
        """
        at, machine = self._seen
        if machine is None or time.monotonic() - at > _SEEN_S:
            machine = self._look()
            self._seen = time.monotonic(), machine
        return replace(
            machine,
            bandwidth_bytes_per_s=machine.bandwidth_bytes_per_s or self._bandwidth,
            speeds={**self._speeds, **machine.speeds},
        )

    def _look(self) -> Machine:
        measured, kind = self._kept.measured, self.kind
        machine = on_thread_that_ends(lambda: hardware.describe(kind, measured))
        return replace(machine, name=self._name)

    @property
    def is_measured(self) -> bool:
        """Whether there is nothing left to measure."""
        return not self._missing()

    def begin_measuring(self) -> None:
        """Measure what is missing, on a thread of its own; returns at once."""
        with self._lock:
            if self._is_measuring or self._is_closed.is_set() or self.is_measured:
                return
            thread = threading.Thread(target=self._measure, name="machine-probe", daemon=True)
            self._is_measuring, self._thread = True, thread
            try:
                thread.start()
            except RuntimeError:  # no thread can be had
                self._is_measuring, self._thread = False, None
                raise

    def wait_measured(self) -> None:
        """Return when measuring that was begun has ended."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Begin no more measurements."""
        self._is_closed.set()

    def _missing(self) -> list[str]:
        """What is to be measured: "" for the bandwidth, then precisions, the likeliest first."""
        known = self._kept.measured
        names = ["bfloat16", "8bit", "4bit", "float32"]
        if self.kind == "cpu":
            names.insert(1, "8bit-cpu")
        missing = [name for name in names if name not in {**known.speeds, **self._speeds}]
        return missing if known.bandwidth_bytes_per_s or self._bandwidth else ["", *missing]

    def _measure(self) -> None:
        try:
            while missing := self._missing():
                while not self._is_quiet():
                    if self._is_closed.wait(_LOOK_AGAIN_S):
                        return
                self._measure_one(missing[0])
        except Exception:  # forecasts go without
            log.exception("this machine could not be measured")
        finally:
            self._is_measuring = False

    def _measure_one(self, name: str) -> None:
        kind, measure = self.kind, self._instruments
        with self._probing, self._undisturbed() as is_undisturbed:
            if not name:
                self._bandwidth = on_thread_that_ends(lambda: measure.read_bandwidth(kind))
                if is_undisturbed():
                    self._kept.keep_bandwidth(self._bandwidth)
                return
            speed = on_thread_that_ends(lambda: measure.probe_precision(name, kind))
            self._speeds[name] = speed
            if is_undisturbed():
                self._kept.keep_speed(name, speed)

    @contextmanager
    def _undisturbed(self) -> Iterator[Callable[[], bool]]:
        """Gives what tells whether nothing else had the cores since."""
        others = self._watch_others()
        self._activity.note_probe()
        marks = self._activity.work, self._activity.answers

        def is_undisturbed() -> bool:
            now = self._activity.work, self._activity.answers
            return now == marks and self._is_quiet() and others() < _OTHERS_SHARE

        try:
            yield is_undisturbed
        finally:
            self._activity.note_probe()


def others_share() -> Callable[[], float]:
    """Begin to watch; what is returned says what other programs took of all cores since, 0 to 1."""
    began = _busy_s()

    def share() -> float:
        busy_s, own_s, all_s = (now - before for now, before in zip(_busy_s(), began, strict=True))
        return max(busy_s - own_s, 0.0) / all_s if all_s > 0 else 0.0

    return share


def _busy_s() -> tuple[float, float, float]:
    """Seconds that all cores were busy, that this program had of them, and in all."""
    whole, own = psutil.cpu_times(), psutil.Process().cpu_times()
    all_s = sum(whole) - getattr(whole, "guest", 0.0) - getattr(whole, "guest_nice", 0.0)
    idle_s = whole.idle + getattr(whole, "iowait", 0.0)
    return all_s - idle_s, own.user + own.system, all_s
