"""Measures what this machine can do, by doing it: how fast it reads memory, and each precision.

    seconds a token = weight bytes / read_bytes_per_s + layers * layer_s + step_s

Whether a precision works, and how fast, is found by running a small model in it (`stand_in.py`),
never by a list of platforms. Everything here calls torch: call it on a thread that ends, and while
no model answers, for both would be slower. It keeps nothing (`models/hardware.py` does) and
forecasts nothing (`models/forecast.py`).
"""

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from chat_ui.engine import stand_in
from chat_ui.engine.answer import is_out_of_memory
from chat_ui.engine.loaded import give_back_memory
from chat_ui.engine.stand_in import PROMPT_TOKENS, Shape
from chat_ui.models import memory
from chat_ui.models.hardware import PrecisionSpeed
from chat_ui.models.memory import DeviceKind
from chat_ui.models.quantization import QUANTIZATIONS, precision

log = logging.getLogger(__name__)

# What is read to measure the memory: several times what caches hold.
_CPU_BYTES: Final = 2**28
_GPU_BYTES: Final = 2**30
_COLUMNS: Final = 4096
_ROUNDS: Final = 20
# Read between two timings on a CPU, so that weights come from memory, as a large model's do.
_CACHES_BYTES: Final = 2**27

# A narrow model, whose layers take most of their time beside reading, run with all of its layers
# and with few; and a layer of a wide one, whose products are mostly reading.
_NARROW: Final = Shape(width=512, inner=1536, layers=14, vocabulary=32_768)
_FEW_LAYERS: Final = 2
_CPU_WIDE: Final = Shape(width=2048, inner=5632, layers=1, vocabulary=512)
_GPU_WIDE: Final = Shape(width=4096, inner=14_336, layers=1, vocabulary=512)
_TOKENS: Final = 32
_PRODUCTS: Final = 12
# A GPU begins the next product while the last one runs.
_GPU_QUEUED: Final = 8


def read_bandwidth(device: str = "cpu") -> float:
    """The bytes per second that a device reads from its memory, at best; takes about a second.

    Call it on a thread that ends.

    Args:
        device: torch's name, such as "cpu", "cuda:1" or "mps".
    """
    size_bytes = _CPU_BYTES if device == "cpu" else _GPU_BYTES
    sums, products = bandwidth_samples(size_bytes, _ROUNDS, device)
    return max(*sums, *products)


def bandwidth_samples(
    size_bytes: int, rounds: int, device: str = "cpu"
) -> tuple[list[float], list[float]]:
    """Bytes per second of a float32 sum, and of a float32 product of a matrix with a vector.

    Neither is the faster one everywhere. Call it on a thread that ends.

    Args:
        size_bytes: of what is read; several times the processor's cache.
        rounds: how often it is read; the first time, which warms up, is not among them.
        device: torch's name.
    """
    matrix = torch.ones(max(1, size_bytes // 4 // _COLUMNS), _COLUMNS, device=device)
    vector = torch.ones(_COLUMNS, device=device)

    def rate(job: Callable[[], object]) -> float:
        return matrix.nbytes / _seconds(job, matrix.device)

    both = [(rate(matrix.sum), rate(lambda: torch.mv(matrix, vector))) for _ in range(rounds + 1)]
    return [one for one, _ in both[1:]], [other for _, other in both[1:]]


def probe_precision(name: str, kind: DeviceKind | None = None) -> PrecisionSpeed:
    """Whether a precision works here, and how fast it is; takes three to five seconds of two cores.

    Needs up to 0.7 GB for a moment. Call it on a thread that ends.

    Args:
        name: "float32", "bfloat16", "float16", or one of `QUANTIZATIONS` but "full".
        kind: where models run; None finds out.
    """
    kind = kind or memory.device_kind()
    try:
        if name in QUANTIZATIONS and QUANTIZATIONS[precision(name)].is_for_cpu and kind != "cpu":
            return PrecisionSpeed(
                False, "It is for a CPU, and this machine has a GPU. Choose 8-bit or 4-bit."
            )
        return _Probe(name, kind).speed()
    except Exception as error:
        log.info("%s does not work here: %s: %s", name, type(error).__name__, error)
        return PrecisionSpeed(False, _reason(error))
    finally:
        give_back_memory()


@dataclass(frozen=True, slots=True)
class _Products:
    """A decoder layer's Linears, timed.

    Attributes:
        weight_bytes: of all of them, without their scales.
        row_s: with one row.
        prompt_s: with the rows of a part of a prompt.
        parameters: of all of them.
    """

    weight_bytes: int
    parameters: int
    row_s: float
    prompt_s: float


@dataclass(frozen=True, slots=True)
class _Steps:
    """An answer, timed.

    Attributes:
        prompt_s: of the step that reads a part of a prompt.
        token_s: of one that makes a token.
    """

    prompt_s: float
    token_s: float


class _Probe:
    """One precision's probe.

    Args:
        name: of the precision.
        kind: where it runs.
    """

    def __init__(self, name: str, kind: DeviceKind) -> None:
        self._name = name
        self._kind = kind
        self._device = torch.device("cuda:0" if kind == "cuda" else kind)
        self._caches = torch.ones(_CACHES_BYTES // 4 if kind == "cpu" else 1)

    def speed(self) -> PrecisionSpeed:
        """Raises whatever the library raises where the precision does not work."""
        model = stand_in.build(self._name, _NARROW, self._kind)
        stand_in.check(model)
        narrow = self._products(stand_in.layer_linears(model))
        head_s = self._usual_s([model.lm_head], 1)
        many = self._steps(model)
        stand_in.keep_layers(model, _FEW_LAYERS)
        few = self._steps(model)
        shape = _CPU_WIDE if self._kind == "cpu" else _GPU_WIDE
        large = stand_in.build(self._name, shape, self._kind, like=model)
        wide = self._products(stand_in.layer_linears(large))
        rate = _rate(narrow, wide)
        layer_s = (many.token_s - few.token_s) / (_NARROW.layers - _FEW_LAYERS)
        beside_s = few.token_s - _FEW_LAYERS * layer_s
        # A narrow layer's attention and norms take longer than its products, a wide one's hardly
        # any time. GFLOP/s of whole layers 512, 1,024 and 2,048 wide: 140, 207, 261; of the widest
        # one's products 330.
        prompt_s = wide.prompt_s / wide.parameters
        prompt_s += (few.prompt_s - beside_s) / (_FEW_LAYERS * narrow.parameters)
        return PrecisionSpeed(
            works=True,
            read_bytes_per_s=rate,
            layer_s=max(layer_s - narrow.weight_bytes / rate, 0.0),
            step_s=max(beside_s - head_s, 0.0),
            prompt_flops_per_s=2 * PROMPT_TOKENS / (prompt_s / 2),
        )

    def _steps(self, model: Any) -> _Steps:
        prompt_s, *times = stand_in.answer_s(model, _TOKENS + 1, self._empty_caches)
        return _Steps(prompt_s, statistics.median(times))

    def _products(self, linears: Sequence[Any]) -> _Products:
        return _Products(
            weight_bytes=sum(linear.weight.nbytes for linear in linears),
            parameters=sum(linear.in_features * linear.out_features for linear in linears),
            row_s=self._usual_s(linears, 1),
            prompt_s=self._usual_s(linears, PROMPT_TOKENS),
        )

    @torch.inference_mode()
    def _usual_s(self, linears: Sequence[Any], rows: int) -> float:
        """Seconds of one product with each.

        The median: at its best, memory is read a third faster than while an answer is written.
        """
        numbers = torch.Generator().manual_seed(0)
        dtype = stand_in.dtype_of(self._name)
        states = [
            torch.randn(rows, linear.in_features, generator=numbers).to(self._device, dtype)
            for linear in linears
        ]
        queued = 1 if self._kind == "cpu" else _GPU_QUEUED

        def multiply() -> None:
            for _ in range(queued):
                for linear, state in zip(linears, states, strict=True):
                    linear(state)

        multiply()  # the first call sets up its kernels
        times = []
        for _ in range(_PRODUCTS if rows == 1 else 2):
            self._empty_caches()
            times.append(_seconds(multiply, self._device) / queued)
        return statistics.median(times)

    def _empty_caches(self) -> None:
        self._caches.sum()


def _rate(narrow: _Products, wide: _Products) -> float:
    """Bytes per second of reading alone: what a call costs whatever its size is in both."""
    whole = wide.weight_bytes / wide.row_s
    if wide.row_s <= narrow.row_s:
        return whole
    rate = (wide.weight_bytes - narrow.weight_bytes) / (wide.row_s - narrow.row_s)
    return min(max(rate, whole), 2 * whole)


def _seconds(job: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    job()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "A package that it needs is missing. Install requirements.txt again."
    if is_out_of_memory(error):
        return "There was no memory to try it. Close other programs, then start the app again."
    return "A small layer could not be run in it on this machine. Choose another precision."
