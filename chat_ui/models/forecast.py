"""What a model will take and how fast it will answer on a machine, before a byte of it is here.

    memory = weights + cache of one conversation + what the program takes beside them
    seconds a token = bytes read / how fast this precision reads + what layers and steps take beside

Total parameters decide the memory, active ones the speed. Pure functions of values: nothing is
measured, read or loaded here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from chat_ui.models import memory, weight_bytes
from chat_ui.models.architecture import Architecture
from chat_ui.models.hardware import Machine, PrecisionSpeed
from chat_ui.models.quantization import PRECISIONS, QUANTIZATIONS
from chat_ui.models.weight_bytes import DTYPE_BYTES, STORED, WeightBytes

Verdict = Literal["fits", "tight", "no"]

# See `engine.weights.verify_quantized`.
LEAST_REACH: Final = 0.5

USUAL_CONTEXT_TOKENS: Final = 4096
# Beside weights and cache, after a prompt of 1,000 tokens: 42 MB with 135M parameters and 49,152
# tokens in the vocabulary, 96 MB with 0.6B and 151,936. That is four float32 copies of the scores
# of 32 rows, which the engine has room for, and little else.
_BASE_BYTES: Final = 16 * 2**20
_SCORE_BYTES: Final = 4 * 32 * 4
# What bitsandbytes' products with many rows leave behind: in 8-bit 30 to 120 MB at both sizes, in
# 4-bit 10 to 30.
_LEFT_BEHIND_BYTES: Final = {"8bit": 84 * 2**20, "4bit": 15 * 2**20}
# More than this of what is free leaves too little to the other programs.
_TIGHT_SHARE: Final = 0.85


@dataclass(frozen=True, slots=True)
class PrecisionForecast:
    """A model in one precision.

    Attributes:
        weight_bytes: of all weights once they are loaded, as `get_memory_footprint` counts them.
        unquantized_bytes: the part of them that this precision leaves alone, such as embeddings,
            head, norms and fused experts.
        kv_cache_bytes: of one conversation as long as the context.
        total_bytes: weights, cache and what running takes beside them.
        load_peak_bytes: the most that loading takes.
        verdict: whether it fits into what is free: "tight" where hardly anything is left.
        tokens_per_s: of decoding at the end of the context; None where the machine's speed in this
            precision is not known.
        prompt_tokens_per_s: of reading a prompt; None likewise.
        missing_bytes: what is wanting where it does not fit, else 0.
        reach: the share of the layers' weights that it quantizes; 1 for full precision. Where that
            is half or less, loading is refused: it would not be what its name says.
    """

    weight_bytes: int
    unquantized_bytes: int
    kv_cache_bytes: int
    total_bytes: int
    load_peak_bytes: int
    verdict: Verdict
    tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    missing_bytes: int = 0
    reach: float = 1.0

    @property
    def is_honest(self) -> bool:
        """Whether the precision reaches enough of the model to be loaded under its name."""
        return self.reach > LEAST_REACH


@dataclass(frozen=True, slots=True)
class Forecast:
    """A model on a machine.

    Attributes:
        total_parameters: decide the memory.
        active_parameters: decide the speed.
        context_tokens: for which the cache is counted.
        free_bytes: what a model may take: free memory, with that of the model that would leave.
        precisions: "float32", "bfloat16", "8bit", "4bit", and what else this machine offers.
        full: the name in `precisions` of what "full" loads: the checkpoint's own dtype.
    """

    total_parameters: int
    active_parameters: int
    context_tokens: int
    free_bytes: int
    precisions: Mapping[str, PrecisionForecast]
    full: str = "bfloat16"


def forecast(
    architecture: Architecture,
    machine: Machine,
    *,
    context_tokens: int | None = None,
    leaving_bytes: int = 0,
    corrections: Mapping[str, float] | None = None,
) -> Forecast:
    """What a model takes and does on a machine, in each precision that may be had there.

    Args:
        architecture: of the model.
        machine: with what is free now, and its speeds as far as they were measured.
        context_tokens: of the conversation; None for 4,096. At most the model's window.
        leaving_bytes: what becomes free when the loaded model leaves.
        corrections: by precision, what the forecast tokens/s are multiplied with: learnt here.
    """
    wanted = USUAL_CONTEXT_TOKENS if context_tokens is None else context_tokens
    context = max(1, min(wanted, architecture.window_tokens))
    free_bytes = machine.free_bytes + leaving_bytes
    made = _Forecaster(architecture, machine, context, free_bytes, corrections or {})
    full = STORED if architecture.quantized_as else architecture.dtype
    return Forecast(
        total_parameters=architecture.total_parameters,
        active_parameters=architecture.active_parameters,
        context_tokens=context,
        free_bytes=free_bytes,
        precisions={name: made.precision(name) for name in _names(architecture, machine)},
        full=full if full in (STORED, *DTYPE_BYTES) else "bfloat16",
    )


def overhead_bytes(architecture: Architecture, name: str) -> int:
    """What running a model in a precision takes beside its weights and its cache."""
    scores = _SCORE_BYTES * architecture.vocabulary
    return _BASE_BYTES + scores + _LEFT_BEHIND_BYTES.get(_main(name), 0)


def reach(architecture: Architecture, name: str) -> float:
    """The share of the weights that a precision quantizes, embeddings and head left out.

    Our own int8 reaches the head, too.
    """
    if name in (STORED, *DTYPE_BYTES):
        return 1.0
    head = architecture.left_linear_parameters
    layers = architecture.total_parameters - head * (1 if architecture.is_tied else 2)
    quantized = architecture.quantizable_parameters
    if name == "8bit-cpu":
        layers, quantized = layers + head, quantized + head
    return min(quantized / layers, 1.0) if layers > 0 else 0.0


def _names(architecture: Architecture, machine: Machine) -> list[str]:
    if architecture.quantized_as:
        return [STORED]
    own = [architecture.dtype] if architecture.dtype in DTYPE_BYTES else []
    quantized = [
        name
        for name in PRECISIONS
        if name != "full" and (machine.kind == "cpu" or not QUANTIZATIONS[name].is_for_cpu)
    ]
    return list(dict.fromkeys(["float32", "bfloat16", *own, *quantized]))


@dataclass(frozen=True, slots=True)
class _Forecaster:
    """One model on one machine; see `forecast`."""

    architecture: Architecture
    machine: Machine
    context: int
    free_bytes: int
    corrections: Mapping[str, float]

    def precision(self, name: str) -> PrecisionForecast:
        weights = weight_bytes.weight_bytes(self.architecture, name)
        cache = self._cache_bytes(name)
        loaded = weights.total + weights.scales + overhead_bytes(self.architecture, name)
        peak = memory.load_peak_bytes(
            self._file_bytes(name), self.architecture.total_parameters, name, self.machine.kind
        )
        wanted = max(loaded + cache, peak)
        return PrecisionForecast(
            weight_bytes=weights.total,
            unquantized_bytes=weights.left,
            kv_cache_bytes=cache,
            total_bytes=loaded + cache,
            load_peak_bytes=peak,
            verdict=self._verdict(wanted),
            tokens_per_s=self._tokens_per_s(name, weights, cache),
            prompt_tokens_per_s=self._prompt_tokens_per_s(name),
            missing_bytes=max(wanted - self.free_bytes, 0),
            reach=reach(self.architecture, name),
        )

    def _verdict(self, wanted_bytes: int) -> Verdict:
        if wanted_bytes > self.free_bytes:
            return "no"
        return "tight" if wanted_bytes > _TIGHT_SHARE * self.free_bytes else "fits"

    def _file_bytes(self, name: str) -> int:
        """What is read: a model in another dtype than its own is converted while it is."""
        if self.architecture.quantized_as:
            return weight_bytes.weight_bytes(self.architecture, STORED).total
        own = self.architecture.total_parameters * weight_bytes.dtype_bytes(self.architecture)
        wide = self.architecture.total_parameters * DTYPE_BYTES.get(name, 0)
        return max(own, wide)

    def _cache_bytes(self, name: str) -> int:
        """Of one conversation. Source: its layers; see `architecture.CacheLayers`."""
        each = DTYPE_BYTES.get(name) or weight_bytes.dtype_bytes(self.architecture)
        numbers = 0
        for layers in self.architecture.cache:
            kept = min(self.context, layers.window_tokens or self.context)
            numbers += layers.count * (layers.numbers_per_token * kept + layers.state_numbers)
        return numbers * each

    def _tokens_per_s(self, name: str, weights: WeightBytes, cache: int) -> float | None:
        own = self._speed(self._dtype(name))
        speed = self._speed(name)
        bandwidth = self.machine.bandwidth_bytes_per_s
        if speed is None or own is None or not bandwidth:
            return None
        seconds = (
            weights.read_quantized / speed.read_bytes_per_s
            + weights.read_left / own.read_bytes_per_s
            + cache / bandwidth
            + self.architecture.layers * speed.layer_s
            + speed.step_s
        )
        return self.corrections.get(name, 1.0) / seconds

    def _prompt_tokens_per_s(self, name: str) -> float | None:
        """A product and a sum for each weight; the head only after the prompt's last token."""
        speed, of = self._speed(name), self.architecture
        if speed is None or not speed.prompt_flops_per_s:
            return None
        read = of.active_quantizable_parameters + of.active_left_parameters
        return speed.prompt_flops_per_s / (2 * max(read - of.left_linear_parameters, 1))

    def _dtype(self, name: str) -> str:
        """Of what a precision leaves alone."""
        if name in DTYPE_BYTES:
            return name
        return self.architecture.dtype if self.architecture.dtype in DTYPE_BYTES else "bfloat16"

    def _speed(self, name: str) -> PrecisionSpeed | None:
        """Of a precision, or of the nearest one that is measured; None where none works."""
        near = {"float16": "bfloat16", STORED: "bfloat16"}.get(name, "")
        for known in (name, _main(name), near):
            speed = self.machine.speeds.get(known)
            if speed is not None and speed.works and speed.read_bytes_per_s > 0:
                return speed
        return None


def what_fits_sentence(whole: Forecast) -> str:
    """What would fit where the full precision does not; "" where it does."""
    full = whole.precisions[whole.full]
    if full.verdict == "fits":
        return ""
    free = f"{whole.free_bytes / 1e9:.1f} GB"
    offered = {name: one for name, one in whole.precisions.items() if one.is_honest}
    for wanted in ("fits", "tight"):
        for name in ("8bit", "4bit"):
            one = offered.get(name)
            if one is not None and one.verdict == wanted != full.verdict:
                needed = max(one.total_bytes, one.load_peak_bytes) / 1e9
                how = "fits" if wanted == "fits" else "just fits"
                return f"{_label(name)} {how}: it takes up to {needed:.1f} GB of {free}."
    if full.verdict == "tight":
        return f"It takes nearly all of the {free} that are free."
    least = min(one.missing_bytes for one in offered.values())
    return (
        f"No precision fits: at least {least / 1e9:.1f} GB of memory are missing. Choose a smaller "
        "model, or close other programs."
    )


def caveats(architecture: Architecture, name: str) -> tuple[str, ...]:
    """Sentences on what a precision leaves alone in this model; none where that is little."""
    if architecture.quantized_as or name in DTYPE_BYTES or not architecture.total_parameters:
        return ()
    quantized = architecture.quantizable_parameters
    if name == "8bit-cpu":
        quantized += architecture.left_linear_parameters
    share = quantized / architecture.total_parameters
    if share >= 0.5:
        return ()
    left = "its experts stay" if architecture.is_mixture else "its embeddings and head stay"
    return (
        f"{_label(name)} reaches only {share:.0%} of this model's weights: {left} in "
        f"{architecture.dtype}.",
    )


def _main(name: str) -> str:
    """The precision that one is a kind of; itself for others."""
    return next((one.is_kind_of for key, one in QUANTIZATIONS.items() if key == name), "") or name


def _label(name: str) -> str:
    return next((one.label for key, one in QUANTIZATIONS.items() if key == name), name)
