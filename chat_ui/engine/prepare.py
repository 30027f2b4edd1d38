"""Makes a model that was read as fast as its CPU can be: kernels of ours, int8, another dtype.

On a GPU there is nothing to do. Call it on a thread that ends: it calls torch.
"""

from collections.abc import Callable
from typing import Any, Final

import torch

from chat_ui.engine import native, weights
from chat_ui.models import memory
from chat_ui.models.progress import LoadProgress, Progress
from chat_ui.models.quantization import Precision

# Twice the memory has to buy something, and below this, measuring again might say the opposite.
_WORTH_CONVERTING: Final = 1.2

Speedup = Callable[[Any], float]
"""How many times as fast a model is in float32; see `dtype.float32_speedup`."""


def prepare(model: Any, precision: Precision, progress: Progress, speedup: Speedup) -> str:
    """Make a model as fast as it can be.

    Args:
        model: as it was read.
        precision: as asked for; "8bit-cpu" is quantized here.
        progress: told of "quantizing" or "warming up".
        speedup: measures how many times as fast the model is in float32.

    Returns:
        Why its dtype is not its own, a sentence; "" where it is.

    Raises:
        ModelError: hardly any of its layers could be quantized.
    """
    if precision == "8bit-cpu":
        _quantize(model, progress)
        return ""
    progress(LoadProgress("warming up"))
    if model.device.type != "cpu":
        return ""
    if native.accelerate(model) or precision != "full":
        return ""
    reason = _convert_where_faster(model, speedup)
    if reason:
        native.accelerate(model)
    return reason


def _quantize(model: Any, progress: Progress) -> None:
    def told(done: int, total: int) -> None:
        progress(LoadProgress("quantizing", done, total))

    if model.dtype == torch.float16:  # which the kernels do not know
        model.to(torch.bfloat16)
    weights.let_go_of_files(model, native.quantizable(model))
    native.quantize_linears(model, told)
    weights.verify_quantized(model, "8bit-cpu")


def _convert_where_faster(model: Any, speedup: Speedup) -> str:
    """Convert a 16-bit model on a CPU to float32, which is exact, where that pays; the reason."""
    own = model.dtype
    is_quantized = getattr(model, "hf_quantizer", None) is not None
    if model.device.type != "cpu" or own not in (torch.bfloat16, torch.float16) or is_quantized:
        return ""
    # One layer after the other grows, so the peak is what the model takes afterwards.
    if memory.free_bytes("cpu") < 1.2 * weights.weight_bytes(model):
        return ""
    times = speedup(model)
    if times < _WORTH_CONVERTING:
        return ""
    model.to(torch.float32)
    model.config.dtype = torch.float32
    name = str(own).removeprefix("torch.")
    return f"float32: on this CPU it answers {times:.1f} times as fast as {name}."
