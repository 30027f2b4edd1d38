"""Bytes of a model's weights in each precision: what they take, and what is read for a token.

Full precisions have a dtype's name ("float32", "bfloat16", "float16"); quantized ones are those of
`models/quantization.py`; "full" is a checkpoint that was quantized before, as it is. Of a quantized
model, what is not in a Linear stays in the checkpoint's dtype: embeddings, head, norms, and a
mixture's experts, which transformers holds as large tensors.
"""

from dataclasses import dataclass
from typing import Final

from chat_ui.models.architecture import Architecture
from chat_ui.models.quantization import QUANTIZATIONS, Precision

DTYPE_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}
STORED: Final = "full"

_SCALE_BYTES: Final = 4  # float32


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Bytes of a model's weights in one precision.

    Attributes:
        total: as `get_memory_footprint` counts them after loading, which is without the scales.
        left: the part of them that this precision leaves alone; all where nothing is quantized.
        scales: beside them.
        read_quantized: of quantized weights, what one token reads; of all where none is.
        read_left: of the others, in the model's dtype.
    """

    total: int
    left: int
    scales: int
    read_quantized: int
    read_left: int


def weight_bytes(architecture: Architecture, precision: str) -> WeightBytes:
    """What a precision makes of a model's weights.

    Raises:
        KeyError: there is no such precision.
    """
    if precision in DTYPE_BYTES:
        return _in_dtype(architecture, DTYPE_BYTES[precision])
    if precision == STORED and not architecture.quantized_bits:  # loading makes 16 bits of it
        return _in_dtype(architecture, dtype_bytes(architecture))
    if precision == STORED:
        return _quantized(architecture, architecture.quantized_bits / 8, scale_bytes=0)
    for known, method in QUANTIZATIONS.items():
        if known == precision and method.bytes_per_parameter is not None:
            return _loaded_as(architecture, known, method.bytes_per_parameter)
    raise KeyError(precision)


def dtype_bytes(architecture: Architecture) -> int:
    """Bytes of a number in the checkpoint's own dtype."""
    return DTYPE_BYTES.get(architecture.dtype, 2)


def _in_dtype(architecture: Architecture, bytes_each: int) -> WeightBytes:
    total = architecture.total_parameters * bytes_each + architecture.buffer_bytes
    read = architecture.active_quantizable_parameters + architecture.active_left_parameters
    return WeightBytes(total, total, 0, read * bytes_each, 0)


def _loaded_as(
    architecture: Architecture, precision: Precision, bytes_per_parameter: float
) -> WeightBytes:
    if precision == "8bit-cpu":
        return _all_linears(architecture)
    if precision == "8bit":
        scale_bytes = architecture.quantizable_rows * _SCALE_BYTES
        return _quantized(architecture, 1.0, scale_bytes)
    # Two numbers in a byte.
    scale_bytes = int(architecture.quantizable_parameters * (bytes_per_parameter - 0.5))
    return _quantized(architecture, 0.5, scale_bytes)


def _quantized(architecture: Architecture, bytes_each: float, scale_bytes: int) -> WeightBytes:
    left = architecture.total_parameters - architecture.quantizable_parameters
    left_bytes = left * dtype_bytes(architecture) + architecture.buffer_bytes
    return WeightBytes(
        total=int(architecture.quantizable_parameters * bytes_each) + left_bytes,
        left=left_bytes,
        scales=scale_bytes,
        read_quantized=int(architecture.active_quantizable_parameters * bytes_each),
        read_left=architecture.active_left_parameters * dtype_bytes(architecture),
    )


def _all_linears(architecture: Architecture) -> WeightBytes:
    """Our own int8: the head, too; the embeddings stay where the head was tied to them."""
    head = architecture.left_linear_parameters
    linears = architecture.quantizable_parameters + head
    left = architecture.total_parameters - linears + (head if architecture.is_tied else 0)
    left_bytes = left * dtype_bytes(architecture) + architecture.buffer_bytes
    rows = architecture.quantizable_rows + architecture.vocabulary
    return WeightBytes(
        total=linears + left_bytes,
        left=left_bytes,
        scales=rows * _SCALE_BYTES,
        read_quantized=architecture.active_quantizable_parameters + head,
        read_left=max(architecture.active_left_parameters - head, 0) * dtype_bytes(architecture),
    )
