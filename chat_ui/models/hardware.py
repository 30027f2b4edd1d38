"""What this machine can do, measured once and kept: how fast it reads weights in each precision.

Values and their file. The measuring is `engine/probe.py`, which has the kernels. Nothing here needs
torch, but for a GPU's name and memory.
"""

import importlib.metadata
import json
import logging
import math
import os
import platform
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from chat_ui import __version__
from chat_ui.models import memory
from chat_ui.models.memory import DeviceKind

log = logging.getLogger(__name__)

_CPUINFO: Final = Path("/proc/cpuinfo")
# Their kernels decide the speed.
_PACKAGES: Final = ("torch", "transformers", "bitsandbytes")
_ASKING_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class PrecisionSpeed:
    """How fast one precision runs here.

    Attributes:
        works: whether a small real layer could be run in it.
        reason: why not, as a sentence with a next step; "" where it works.
        read_bytes_per_s: weight bytes that a product with one row reads in a second.
        layer_s: seconds that a decoder layer takes for a token beside reading its weights.
        step_s: seconds that a token takes beside the layers and the head.
        prompt_flops_per_s: floating-point operations in a second while a prompt is read.
    """

    works: bool
    reason: str = ""
    read_bytes_per_s: float = 0.0
    layer_s: float = 0.0
    step_s: float = 0.0
    prompt_flops_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's free memory and speed.

    Attributes:
        kind: where models run.
        name: of the processor or card, as a person knows it.
        free_bytes: what can be had now.
        bandwidth_bytes_per_s: the memory's read bandwidth; 0 while it is not measured.
        speeds: by precision ("float32", "bfloat16", "8bit", "4bit", "8bit-cpu", ...); what was not
            measured is not there.
    """

    kind: DeviceKind
    name: str
    free_bytes: int
    bandwidth_bytes_per_s: float = 0.0
    speeds: Mapping[str, PrecisionSpeed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the file holds.

    Attributes:
        bandwidth_bytes_per_s: the memory's read bandwidth; 0 while it is not measured.
        speeds: by precision; all of them work.
    """

    bandwidth_bytes_per_s: float = 0.0
    speeds: Mapping[str, PrecisionSpeed] = field(default_factory=dict)


NOTHING: Final = Measured()


class Kept:
    """What was measured on this machine, in a file. All methods may be called from any thread.

    A file that is damaged, or of another machine, counts as empty, so that it is measured again. A
    precision that does not work is not kept: what is missing may have been installed meanwhile.

    Args:
        file: JSON; it and its folder are made with the first number.
        key: of the machine; see `machine_key`.
    """

    def __init__(self, file: Path, key: str) -> None:
        self._file = file
        self._key = key
        self._lock = threading.Lock()
        self._measured = self._read()

    @property
    def measured(self) -> Measured:
        """All that is known by now."""
        return self._measured

    def keep_bandwidth(self, bytes_per_s: float) -> None:
        """Remember the memory's read bandwidth."""
        with self._lock:
            self._store(replace(self._merged(), bandwidth_bytes_per_s=bytes_per_s))

    def keep_speed(self, precision: str, speed: PrecisionSpeed) -> None:
        """Remember how fast a precision is, if it works."""
        if not speed.works:
            return
        with self._lock:
            known = self._merged()
            self._store(replace(known, speeds={**known.speeds, precision: speed}))

    def _merged(self) -> Measured:
        """What is known here, and what another process has measured meanwhile."""
        stored, own = self._read(), self._measured
        bandwidth = own.bandwidth_bytes_per_s or stored.bandwidth_bytes_per_s
        return Measured(bandwidth, {**stored.speeds, **own.speeds})

    def _read(self) -> Measured:
        try:
            return parse(self._file.read_bytes(), self._key)
        except FileNotFoundError:
            return NOTHING
        except OSError as error:
            log.warning("What was measured here can't be read: %s", error)
            return NOTHING

    def _store(self, measured: Measured) -> None:
        """Write it beside and rename it, so that the file is old or new, never half."""
        self._measured = measured
        written = ""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, written = tempfile.mkstemp(dir=self._file.parent, prefix=self._file.name)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"machine": self._key, **asdict(measured)}, file, indent=1)
            Path(written).replace(self._file)
        except OSError as error:  # it is measured again after the next start
            log.warning("What was measured here can't be kept: %s", error)
            if written:
                Path(written).unlink(missing_ok=True)


def parse(content: bytes, key: str) -> Measured:
    """What a file says of a machine: never an error, but as much as makes sense.

    Args:
        content: of the file.
        key: of the machine; what is said of another one is nothing.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return NOTHING
    if not isinstance(found, dict) or found.get("machine") != key:
        return NOTHING
    speeds = found.get("speeds")
    parsed = {
        name: speed
        for name, fields in (speeds.items() if isinstance(speeds, dict) else ())
        if (speed := _speed(fields)) is not None
    }
    return Measured(_number(found.get("bandwidth_bytes_per_s")) or 0.0, parsed)


def machine_name(kind: DeviceKind) -> str:
    """The name of the processor or card that runs models, as a person knows it.

    For "cuda" call it on a thread that ends: it calls torch.
    """
    if kind != "cuda":
        return _processor_name()
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    counts = {name: names.count(name) for name in names}
    return ", ".join(name if n == 1 else f"{n} x {name}" for name, n in counts.items())


def cores() -> int:
    """How many this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_key(name: str) -> str:
    """What a measured speed depends on: the machine, its cores, and the versions of what computes.

    Args:
        name: of the machine; see `machine_name`.
    """
    versions = [f"{package} {_version(package)}" for package in _PACKAGES]
    return ", ".join([name, f"{cores()} cores", f"chat_ui {__version__}", *versions])


def describe(kind: DeviceKind, measured: Measured = NOTHING) -> Machine:
    """This machine as it is now.

    For "cuda" call it on a thread that ends: it calls torch.

    Args:
        kind: where models run; see `memory.device_kind`.
        measured: what is known of its speed.
    """
    return Machine(
        kind=kind,
        name=machine_name(kind),
        free_bytes=memory.free_bytes(kind),
        bandwidth_bytes_per_s=measured.bandwidth_bytes_per_s,
        speeds=measured.speeds,
    )


def _processor_name() -> str:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = _asked_name().splitlines()
    names = [value for line in lines if (value := line.partition("model name")[2].strip(" :\t"))]
    return names[0] if names else platform.processor() or platform.machine()


def _asked_name() -> str:
    """macOS's answer, as Linux writes it; "" elsewhere."""
    try:
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            timeout=_ASKING_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"model name: {asked.stdout}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _speed(fields: Any) -> PrecisionSpeed | None:
    """A speed that works and says so with numbers that can be divided by; else None."""
    if not isinstance(fields, dict) or fields.get("works") is not True:
        return None
    rate, flops = _number(fields.get("read_bytes_per_s")), _number(fields.get("prompt_flops_per_s"))
    layer_s, step_s = _number(fields.get("layer_s")), _number(fields.get("step_s"))
    if not rate or not flops or layer_s is None or step_s is None:
        return None
    return PrecisionSpeed(True, "", rate, layer_s, step_s, flops)


def _number(value: Any) -> float | None:
    """A finite number from 0 on; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
