"""One load that is under way: how far it is, how fast it goes, and whether it was cancelled.

The host hands it to the download and the loader, which tell it of their progress.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from chat_ui.engine.protocol import Engine, LoadEngine
from chat_ui.errors import LoadCancelledError
from chat_ui.models import memory
from chat_ui.models.libraries import import_transformers
from chat_ui.models.progress import LoadProgress, Progress, ignore
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import FoldersByName, ModelSpec
from chat_ui.service.status import Loading, named
from chat_ui.settings import Settings

# A rate is that of the last seconds: a connection changes.
_WINDOW_S: Final = 5.0
_MIN_RATE_S: Final = 0.5


class Load:
    """A load; it is a `Progress`. All methods may be called from any thread.

    Args:
        spec: what is loaded.
        precision: in which precision.
        token: of the Hub, for this load alone; never shown.
        anyway: try it, though memory seems too short.
        asks_hub: False to take only what is on this machine.
        clock: gives seconds.

    Attributes:
        spec: as given, with its folder once the files are here.
        draft: a model that drafts for it, once that is known.
        bytes_before: what the program took when it began to read weights, the libraries that it
            had to import first included; None before that.
        note: a sentence on what it waits for; may be empty.
    """

    def __init__(
        self,
        spec: ModelSpec,
        precision: Precision,
        token: str | None = None,
        anyway: bool = False,
        asks_hub: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.precision = precision
        self.token = token
        self.anyway = anyway
        self.asks_hub = asks_hub
        self.draft: ModelSpec | None = None
        self.bytes_before: int | None = None
        self.note = ""
        self._clock = clock
        self._is_cancelled = False
        self._progress = LoadProgress("checking")
        self._samples: deque[tuple[float, int]] = deque()

    @property
    def name(self) -> str:
        """The model and its precision, as a person reads them."""
        return named(self.spec, self.precision)

    @property
    def now(self) -> Loading:
        """How far it is."""
        at = self._progress
        rate = self._rate()
        left = None if not rate or at.total is None else max(at.total - at.done, 0) / rate
        return Loading(
            model_id=self.spec.id,
            name=self.name,
            precision=self.precision,
            stage=at.stage,
            done=at.done,
            total=at.total,
            bytes_per_s=rate,
            left_s=left,
            note=self.note,
            is_cancelled=self._is_cancelled,
        )

    def __call__(self, progress: LoadProgress) -> None:
        """Note the progress.

        Raises:
            LoadCancelledError: somebody has cancelled it.
        """
        if progress.stage == "downloading":
            now = self._clock()
            self._samples.append((now, progress.done))
            while now - self._samples[0][0] > _WINDOW_S:
                self._samples.popleft()
        elif self._samples:
            self._samples = deque()
        if progress.stage == "reading" and self.bytes_before is None:
            self.bytes_before = memory.process_bytes()
        self._progress = progress
        self.check()

    def check(self) -> None:
        """Nothing, as long as the model is wanted.

        Raises:
            LoadCancelledError: somebody has cancelled it.
        """
        if self._is_cancelled:
            raise LoadCancelledError

    def cancel(self) -> None:
        """End it at its next word of progress; any number of times."""
        self._is_cancelled = True

    def _rate(self) -> float | None:
        samples = list(self._samples)  # its thread may add one meanwhile
        if len(samples) < 2 or samples[-1][0] - samples[0][0] < _MIN_RATE_S:
            return None
        return (samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0])


def loader(settings: Settings) -> LoadEngine:
    """What loads models here. Call it on the main thread, before the page is built.

    On ZeroGPU the model is loaded now: a GPU can be prepared for at no other time.

    Raises:
        ModelError: on ZeroGPU, the model can't be loaded.
    """
    if not settings.is_zero_gpu:
        return load_model
    from chat_ui.engine.zerogpu import load_at_start  # noqa: PLC0415  where `spaces` is installed

    return load_at_start(FoldersByName()(settings.model), settings.precision)


def load_model(
    spec: ModelSpec,
    precision: Precision,
    *,
    draft: ModelSpec | None = None,
    progress: Progress = ignore,
    anyway: bool = False,
) -> Engine:
    """Load a model through transformers, which takes seconds to import: the page need not wait."""
    import_transformers()
    from chat_ui.engine.load import load_engine  # noqa: PLC0415

    return load_engine(spec, precision, draft=draft, progress=progress, anyway=anyway)
