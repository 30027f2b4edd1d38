"""Makes a model on a CPU decode at the speed of the memory, by replacing modules after loading.

    nn.Linear -> NativeLinear (few rows: our kernel; many: torch's)
    usual decoder layers -> one call for the few rows of a decoding step

Every replacement is compared with what it replaces, and timed; where it differs or does not win, or
where there is no compiler, the model stays as it was. Call it on a thread that ends.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn.functional import linear

from chat_ui.engine.native.compiled import MAX_ROWS, kernels
from chat_ui.engine.native.decoder import DecoderLayer, StepInputs, is_usual
from chat_ui.engine.native.linears import NativeLinear, adopt, is_adoptable, quantize, restore

log = logging.getLogger(__name__)

# Weights of the timings: 128 MB in bfloat16, more than most caches hold.
_SAMPLE_PARAMETERS: Final = 64 * 2**20
_MEASURABLE_PARAMETERS: Final = 2**22
# What replacing has to win, and rows of a part of a prompt.
_WORTH_IT: Final = 1.1
_PART_ROWS: Final = 256
_ROUNDS: Final = 3
_SECONDS: Final = 0.4
_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 0.02}


@dataclass(frozen=True, slots=True)
class Replaced:
    """What was replaced.

    Attributes:
        linears: Linears whose products with few rows are ours.
        layers: decoder layers that are one call.
        speedup: of the Linears with one row, against torch's.
        widened: prompts are multiplied in float32.
    """

    linears: int = 0
    layers: int = 0
    speedup: float = 1.0
    widened: bool = False

    def __bool__(self) -> bool:
        """Whether anything was."""
        return self.linears > 0


@torch.inference_mode()
def accelerate(model: Any) -> Replaced:
    """Replace what can be replaced in a model whose weights are float32 or bfloat16.

    Takes up to two seconds. Call it on a thread that ends.
    """
    found = [module for module in model.modules() if is_adoptable(module)]
    if not found or kernels() is None:
        return Replaced()
    sample = _sample(found)
    # A small model gains by its layers, not by its products.
    is_small = sum(module.weight.numel() for module in sample) < _MEASURABLE_PARAMETERS
    speedup = math.inf if is_small else _speedup(sample)
    if speedup < _WORTH_IT or not all(_agrees(module) for module in _one_of_each_shape(found)):
        log.info("The model keeps torch's kernels: ours are %.1f times as fast.", speedup)
        return Replaced()
    widened = _is_faster_widened(sample)
    for module in found:
        adopt(module, widened=widened)
    return Replaced(len(found), _replace_layers(model), speedup, widened)


def quantizable(model: Any) -> list[torch.Tensor]:
    """The weights that `quantize_linears` replaces."""
    return [module.weight for module in model.modules() if is_adoptable(module)]


@torch.inference_mode()
def quantize_linears(
    model: Any, told: Callable[[int, int], None] = lambda done, total: None
) -> Replaced:
    """Give a model's Linears int8 weights; they have to be float32 or bfloat16, on a CPU.

    Args:
        model: which one.
        told: called before each Linear with the number of those that are done and of all; what it
            raises ends the work, and the model is of no use then.
    """
    found = [module for module in model.modules() if is_adoptable(module)]
    widened = _is_faster_widened(_sample(found))
    for done, module in enumerate(found):
        told(done, len(found))
        quantize(module, widened=widened)
    layers = _replace_layers(model) if kernels() is not None else 0
    return Replaced(len(found), layers, widened=widened)


def _replace_layers(model: Any) -> int:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    layers, rotary = getattr(decoder, "layers", None), getattr(decoder, "rotary_emb", None)
    if layers is None or rotary is None:
        return 0
    inputs, count = StepInputs(), 0
    sizes: tuple[int, ...] | None = None  # of the first; others share its step
    for layer in layers:
        if not is_usual(layer):
            continue
        replaced = DecoderLayer(layer, inputs)
        try:
            agrees = replaced.agrees(rotary)
        except Exception as error:  # it takes other arguments than the usual one
            log.info("A decoder layer could not be compared: %s", error)
            agrees = False
        if agrees and replaced.sizes == (sizes or replaced.sizes):
            sizes = replaced.sizes
            layer.forward = replaced.forward
            count += 1
    return count


def _sample(modules: Sequence[Any]) -> list[Any]:
    """The first modules, up to a size that is measured in a moment; at least one."""
    taken: list[Any] = []
    parameters = 0
    for module in modules:
        parameters += module.weight.numel()
        if taken and parameters > _SAMPLE_PARAMETERS:
            break
        taken.append(module)
    return taken


def _one_of_each_shape(modules: Sequence[Any]) -> list[Any]:
    return list({(m.weight.shape, m.weight.dtype, m.bias is None): m for m in modules}.values())


def _agrees(module: Any) -> bool:
    """Whether ours and torch's product agree, with one row and with many."""
    numbers = torch.Generator().manual_seed(0)
    for rows in (1, MAX_ROWS - 1):
        x = torch.randn(rows, module.in_features, generator=numbers).to(module.weight.dtype)
        wanted = linear(x, module.weight, module.bias).float()
        got = adopt(module, widened=False)(x).float()
        restore(module)
        # Not the deviation, which one number has none of: a gate may have a single output.
        if not (got - wanted).norm() <= _TOLERANCE[x.dtype] * wanted.norm().clamp_min(1e-30):
            return False
    return True


def _speedup(sample: Sequence[Any]) -> float:
    """Seconds of torch's products with one row, divided by those of ours."""
    rows = [torch.ones(1, m.in_features, dtype=m.weight.dtype) for m in sample]

    def theirs() -> None:
        for module, x in zip(sample, rows, strict=True):
            linear(x, module.weight, module.bias)

    def ours() -> None:
        for module, x in zip(sample, rows, strict=True):
            module(x)

    def adopted() -> None:
        for module in sample:
            adopt(module, widened=False)

    def restored() -> None:
        for module in sample:
            restore(module)

    adopted()
    theirs_s, ours_s = _best_s([theirs, ours])
    restored()
    return theirs_s / ours_s


def _is_faster_widened(sample: Sequence[Any]) -> bool:
    """Whether a part of a prompt is multiplied faster in float32.

    Without AVX512-BF16 or AMX, torch emulates bfloat16: 2.4 to 2.8 times the time of float32.
    """
    if not sample or sample[0].weight.dtype != torch.bfloat16:
        return False
    sample = sample[: max(1, len(sample) // 4)]
    rows = [torch.ones(_PART_ROWS, m.in_features, dtype=torch.bfloat16) for m in sample]

    def narrow() -> None:
        for module, x in zip(sample, rows, strict=True):
            linear(x, module.weight)

    def wide() -> None:
        for module, x in zip(sample, rows, strict=True):
            linear(x.float(), module.weight.float()).to(torch.bfloat16)

    narrow_s, wide_s = _best_s([narrow, wide])
    return narrow_s > _WORTH_IT * wide_s


def _best_s(jobs: Sequence[Callable[[], None]]) -> list[float]:
    """Seconds of each job at best, in turns, on one core.

    A busy machine makes a job slower and never faster, and threads that wait for each other would
    measure the machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _best_of_rounds(jobs)
    finally:
        torch.set_num_threads(threads)


def _best_of_rounds(jobs: Sequence[Callable[[], None]]) -> list[float]:
    best = [math.inf] * len(jobs)
    begin = time.perf_counter()
    rounds = 0
    while rounds < _ROUNDS or time.perf_counter() - begin < _SECONDS:
        for index, job in enumerate(jobs):
            start = time.perf_counter()
            job()
            if rounds:  # the first call sets up its kernels
                best[index] = min(best[index], time.perf_counter() - start)
        rounds += 1
    return best


__all__ = ["NativeLinear", "Replaced", "accelerate", "quantizable", "quantize_linears"]
