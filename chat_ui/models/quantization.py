"""The precisions a model can be loaded in. One entry here is all that a new one needs.

It says what to ask of bitsandbytes, or of our own kernels; whether it was done is checked after
loading (`engine/load.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from chat_ui.errors import InvalidRequestError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

Precision = Literal["full", "8bit", "4bit", "8bit-cpu"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)


def _8bit() -> "BitsAndBytesConfig":
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


def _4bit() -> "BitsAndBytesConfig":
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


@dataclass(frozen=True, slots=True)
class Quantization:
    """One precision: its name on the page, what its weights take, and how it is asked for.

    Attributes:
        label: as the page shows it.
        bytes_per_parameter: of a quantized Linear's weight, scales included; None for full
            precision, where it is the checkpoint's own.
        config: makes what `from_pretrained` takes as `quantization_config`; None for full precision
            and for what is quantized after loading.
        linear: the class that its Linear layers have once they are loaded.
        is_for_cpu: it works on a CPU only.
    """

    label: str
    bytes_per_parameter: float | None = None
    config: "Callable[[], BitsAndBytesConfig] | None" = None
    linear: str = ""
    is_for_cpu: bool = False


QUANTIZATIONS: Final[dict[Precision, Quantization]] = {
    "full": Quantization("Full"),
    "8bit": Quantization("8-bit", 1.0, _8bit, "Linear8bitLt"),
    # nf4 with double quantization: 4 bits, and 8-bit scales for every 64 weights.
    # Source: Dettmers et al., QLoRA (2023), section 3: 0.127 bits of scales per parameter.
    "4bit": Quantization("4-bit", (4 + 0.127) / 8, _4bit, "Linear4bit"),
    # Weights only, one scale for each row: engine/native.
    "8bit-cpu": Quantization("8-bit (fast, CPU)", 1.0, linear="NativeLinear", is_for_cpu=True),
}


def precision(name: str) -> Precision:
    """The precision of that name.

    Raises:
        InvalidRequestError: there is none.
    """
    for known in PRECISIONS:
        if name == known:
            return known
    raise InvalidRequestError(
        "There is no such precision.", f"Choose one of {', '.join(PRECISIONS)}."
    )
