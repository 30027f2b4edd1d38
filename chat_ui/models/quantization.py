"""The precisions a model can be loaded in, and what a checkpoint is that was quantized before.

A new precision is one entry in `QUANTIZATIONS`: what to ask of bitsandbytes, or of our own kernels.
Whether it was done is checked after loading (`engine/weights.py`). A new kind of checkpoint is one
entry in `_METHODS`. Nothing is quantized or loaded here.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from chat_ui.errors import InvalidRequestError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

Precision = Literal["full", "8bit", "4bit", "8bit-cpu", "4bit-nf4", "4bit-fp4", "4bit-fp4-double"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

# Of a Linear's weight, scales included: 4 bits, and a float32 for every 64 weights; or, double
# quantized, 8 bits for every 64 and a float32 for every 256 of those.
# Source: Dettmers et al., QLoRA (2023), section 3.
_4BIT_BYTES: Final = (4 + 32 / 64) / 8
_4BIT_DOUBLE_BYTES: Final = (4 + 8 / 64 + 32 / (64 * 256)) / 8


def _config(settings: Mapping[str, Any]) -> "BitsAndBytesConfig":
    from transformers import BitsAndBytesConfig

    # 8-bit layers warn of a cast that is meant, once for each layer and token, and 4-bit ones of a
    # faster kernel that is code from the Hub.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return BitsAndBytesConfig(**settings)


def _4bit(kind: Literal["nf4", "fp4"], *, is_double: bool) -> Mapping[str, Any]:
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": kind,
        "bnb_4bit_use_double_quant": is_double,
        "bnb_4bit_compute_dtype": "bfloat16",
    }


@dataclass(frozen=True, slots=True)
class Quantization:
    """One precision: its name on the page, what its weights take, and how it is asked for.

    Attributes:
        label: as the page shows it.
        caveat: a sentence on what it costs in quality.
        bytes_per_parameter: of a quantized Linear's weight, scales included; None for full
            precision, where it is the checkpoint's own.
        bitsandbytes: the arguments of its `BitsAndBytesConfig`; none for full precision and for
            what is quantized after loading.
        linear: the class that its Linear layers have once they are loaded.
        is_for_cpu: it works on a CPU only.
        is_kind_of: the main precision that it is another kind of; "" for a main one.
    """

    label: str
    caveat: str
    bytes_per_parameter: float | None = None
    bitsandbytes: Mapping[str, Any] = field(default_factory=dict)
    linear: str = ""
    is_for_cpu: bool = False
    is_kind_of: Precision | Literal[""] = ""

    @property
    def config(self) -> "Callable[[], BitsAndBytesConfig] | None":
        """Makes what `from_pretrained` takes as `quantization_config`; None where it is nothing."""
        return partial(_config, self.bitsandbytes) if self.bitsandbytes else None


QUANTIZATIONS: Final[dict[Precision, Quantization]] = {
    "full": Quantization("Full", "Nothing is lost: these are the weights as they were published."),
    "8bit": Quantization(
        "8-bit",
        "Nearly lossless: weights and activations are rounded to 8 bits, but for the few large "
        "activations.",
        1.0,
        {"load_in_8bit": True},
        "Linear8bitLt",
    ),
    "4bit": Quantization(
        "4-bit",
        "A small loss, which shows more in small models, in arithmetic and in code.",
        _4BIT_DOUBLE_BYTES,
        _4bit("nf4", is_double=True),
        "Linear4bit",
    ),
    # Weights only, one scale for each row: engine/native.
    "8bit-cpu": Quantization(
        "8-bit (fast, CPU)",
        "Nearly lossless: only the weights are rounded to 8 bits, each row with a scale of its "
        "own.",
        1.0,
        linear="NativeLinear",
        is_for_cpu=True,
    ),
    "4bit-nf4": Quantization(
        "4-bit (nf4, no double quantization)",
        "As 4-bit, with scales that are not rounded: hardly better, and larger by a tenth.",
        _4BIT_BYTES,
        _4bit("nf4", is_double=False),
        "Linear4bit",
        is_kind_of="4bit",
    ),
    "4bit-fp4": Quantization(
        "4-bit (fp4, no double quantization)",
        "A bit worse than nf4, whose steps are closest where most weights are.",
        _4BIT_BYTES,
        _4bit("fp4", is_double=False),
        "Linear4bit",
        is_kind_of="4bit",
    ),
    "4bit-fp4-double": Quantization(
        "4-bit (fp4, double quantization)",
        "A bit worse than 4-bit, in the same memory.",
        _4BIT_DOUBLE_BYTES,
        _4bit("fp4", is_double=True),
        "Linear4bit",
        is_kind_of="4bit",
    ),
}

MAIN_PRECISIONS: Final[tuple[Precision, ...]] = tuple(
    name for name in PRECISIONS if not QUANTIZATIONS[name].is_kind_of
)


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


@dataclass(frozen=True, slots=True)
class _Method:
    """A way in which checkpoints are quantized.

    Attributes:
        label: its name as people write it, with the bits where those are always the same.
        packages: what transformers needs for it beyond requirements.txt: the names that Python
            imports, and those that pip installs.
        growth: bytes in memory for each byte of the files, at most, where its weights are turned
            into 16-bit ones while they are read; 1 where they stay as they are.
    """

    label: str
    packages: tuple[tuple[str, str], ...] = ()
    growth: float = 1.0


# Methods whose kernels are code from the Hub are turned into bfloat16, or are not here: a model's
# own code never runs.
# Source: transformers 5.23, `quantizers/quantizer_*.py`, `validate_environment`.
_METHODS: Final[dict[str, _Method]] = {
    "gptq": _Method("GPTQ", (("optimum", "optimum"), ("gptqmodel", "gptqmodel"))),
    "awq": _Method("AWQ", (("gptqmodel", "gptqmodel"),)),
    "auto-round": _Method("AutoRound", (("auto_round", "auto-round"),)),
    "compressed-tensors": _Method(
        "compressed-tensors", (("compressed_tensors", "compressed-tensors"),)
    ),
    "bitsandbytes": _Method("bitsandbytes", (("bitsandbytes", "bitsandbytes"),)),
    "fp8": _Method("FP8", growth=2.0),
    "fbgemm_fp8": _Method("FP8 (FBGEMM)", (("fbgemm_gpu", "fbgemm-gpu"),)),
    # 4 bits, and 8 for every 32 of them. Source: OCP Microscaling Formats 1.0, section 5.
    "mxfp4": _Method("MXFP4", growth=16 / (4 + 8 / 32)),
    "torchao": _Method("torchao", (("torchao", "torchao"),)),
    "aqlm": _Method("AQLM", (("aqlm", "aqlm"),)),
    "quanto": _Method("Quanto", (("optimum.quanto", "optimum-quanto"),)),
}


@dataclass(frozen=True, slots=True)
class QuantizedCheckpoint:
    """How a checkpoint's weights are quantized already.

    Attributes:
        method: its name in config.json, such as "gptq"; "" where that says none.
        label: as the page shows it, such as "GPTQ, 4-bit".
        bits: of a weight; None where the config doesn't tell.
        is_known: this app can load it, once the packages are there.
        packages: what has to be installed for it, by the names that pip takes; none where all is
            there.
        growth: bytes in memory for each byte of the files, at most.
    """

    method: str
    label: str
    bits: int | None = None
    is_known: bool = True
    packages: tuple[str, ...] = ()
    growth: float = 1.0

    @property
    def is_dequantized(self) -> bool:
        """Whether loading turns its weights into 16-bit ones."""
        return self.growth > 1


def quantized_as(config: Mapping[str, Any]) -> QuantizedCheckpoint | None:
    """What a config.json says of how its weights are quantized; None where they are not."""
    found = _quantization_config(config)
    if found is None:
        return None
    method, bits = _method_name(found), _bits(found)
    known = _METHODS.get(method)
    if known is None:
        label = method if method.isprintable() and 0 < len(method) <= 40 else "an unknown method"
        return QuantizedCheckpoint(method, label, bits, is_known=False)
    return QuantizedCheckpoint(
        method,
        known.label if bits is None else f"{known.label}, {bits}-bit",
        bits,
        packages=tuple(name for module, name in known.packages if not _is_installed(module)),
        growth=known.growth,
    )


def _quantization_config(config: Mapping[str, Any]) -> Any:
    """The model's own, or that of its text part.

    Source: transformers 5.23, `quantizers.auto.get_hf_quantizer`.
    """
    own = config.get("quantization_config")
    if own is None and isinstance(text := config.get("text_config"), Mapping):
        return text.get("quantization_config")
    return own


def _method_name(found: Any) -> str:
    if not isinstance(found, Mapping):
        return ""
    if found.get("load_in_4bit") or found.get("load_in_8bit"):
        return "bitsandbytes"  # older ones don't say so
    method = found.get("quant_method")
    return method if isinstance(method, str) else ""


def _bits(found: Any) -> int | None:
    """Bits of a weight, where the config has them in one of the usual places."""
    if not isinstance(found, Mapping):
        return None
    for flag, bits in (("load_in_4bit", 4), ("load_in_8bit", 8)):
        if found.get(flag):
            return bits
    named = [found.get("bits"), found.get("w_bit")]
    groups = found.get("config_groups")  # of compressed-tensors
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        named.append(weights.get("num_bits") if isinstance(weights, Mapping) else None)
    return next((n for n in named if type(n) is int and 1 <= n <= 16), None)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # its parent is missing
        return False
