"""What counts models and measures this machine: torch for real, a script in tests.

Every call may take seconds, of all cores, and is made on a thread that ends: whatever has called
torch keeps a pool of other threads as long as it lives.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from chat_ui.models import architecture, hardware, memory
from chat_ui.models.architecture import Architecture
from chat_ui.models.hardware import PrecisionSpeed
from chat_ui.models.libraries import import_transformers
from chat_ui.models.memory import DeviceKind

T = TypeVar("T")


class Instruments(Protocol):
    """See the module's docstring."""

    def device_kind(self) -> DeviceKind:
        """Where models run on this machine."""
        ...

    def machine_name(self, kind: DeviceKind) -> str:
        """The name of its processor or card."""
        ...

    def count(self, config: Mapping[str, Any]) -> Architecture:
        """What a config.json describes.

        Raises:
            ModelError: nothing that can be loaded.
        """
        ...

    def read_bandwidth(self, kind: DeviceKind) -> float:
        """Bytes that are read from memory in a second."""
        ...

    def probe_precision(self, name: str, kind: DeviceKind) -> PrecisionSpeed:
        """How fast a precision is here, and whether it works at all; never raises."""
        ...


class RealInstruments:
    """torch, transformers, and the app's own kernels; importing them takes seconds."""

    def device_kind(self) -> DeviceKind:
        """See `Instruments`."""
        return memory.device_kind()

    def machine_name(self, kind: DeviceKind) -> str:
        """See `Instruments`."""
        return hardware.machine_name(kind)

    def count(self, config: Mapping[str, Any]) -> Architecture:
        """See `Instruments`."""
        return architecture.walk(config)

    def read_bandwidth(self, kind: DeviceKind) -> float:
        """See `Instruments`."""
        import_transformers()
        from chat_ui.engine import probe  # noqa: PLC0415

        return probe.read_bandwidth("cuda:0" if kind == "cuda" else kind)

    def probe_precision(self, name: str, kind: DeviceKind) -> PrecisionSpeed:
        """See `Instruments`."""
        import_transformers()
        from chat_ui.engine import probe  # noqa: PLC0415

        return probe.probe_precision(name, kind)


def on_thread_that_ends(function: Callable[[], T]) -> T:
    """Run a function there, and return or raise what it does."""
    with ThreadPoolExecutor(1, thread_name_prefix="instrument") as pool:
        return pool.submit(function).result()
