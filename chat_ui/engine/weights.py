"""Reads a checkpoint's weights into a model, and finds out what they became.

Nothing is replaced silently: weights that are missing from the files, layers that were not
quantized, and parts that did not fit the GPU are errors here, where the library logs a warning.
Everything here calls torch: call it on a thread that ends.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import torch

from chat_ui.engine.load_progress import weights_told
from chat_ui.engine.native import NativeLinear
from chat_ui.engine.protocol import ModuleCounts
from chat_ui.errors import BadCheckpointError, ModelError
from chat_ui.models import memory
from chat_ui.models.checkpoint import Checkpoint
from chat_ui.models.memory import DeviceKind
from chat_ui.models.progress import Progress
from chat_ui.models.quantization import QUANTIZATIONS, Precision, quantized_as

# Nothing is fetched any more, and a model's own code never runs.
FROM_DISK: Final[dict[str, Any]] = {"local_files_only": True, "trust_remote_code": False}

# The layers of bitsandbytes; ours share a class with those that are not quantized.
_QUANTIZED: Final = frozenset(
    method.linear for method in QUANTIZATIONS.values() if method.config is not None
)
# What the quantized layers of GPTQ and AWQ, and those of compressed-tensors, keep their numbers in.
_PACKED: Final = ("qweight", "weight_packed")


def read(
    found: Checkpoint,
    config: Any,
    precision: Precision,
    progress: Progress,
    device: DeviceKind | None = None,
) -> Any:
    """The model with its weights.

    Args:
        found: the checkpoint.
        config: its config, as transformers has it.
        precision: as asked for. What is quantized after loading is not quantized yet.
        progress: told of each weight.
        device: where they are put; the best place that there is if None.

    Raises:
        ModelError: the weights are not what was asked for.
        BadCheckpointError: some are missing.
    """
    from transformers import AutoModelForCausalLM

    method = QUANTIZATIONS[precision]
    device = device or memory.device_kind()
    _dequantize(found, config)
    with weights_told(progress, "quantizing" if method.config else "reading"):
        model, report = AutoModelForCausalLM.from_pretrained(
            str(found.folder),
            config=config,
            dtype="auto",
            device_map="auto" if device == "cuda" else device,
            quantization_config=method.config() if method.config else None,
            use_safetensors=True,
            output_loading_info=True,
            **FROM_DISK,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        # The library would fill these with random numbers, and the model would babble.
        raise BadCheckpointError(
            f"The weights in {found.folder.name} don't match its config.json: "
            f"{missing[0]} is missing ({len(missing)} in all).",
            "Copy the model's files again.",
        )
    placed = {str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()}
    if device == "cuda" and placed & {"cpu", "disk"}:
        raise torch.OutOfMemoryError("parts of the model were placed outside the GPU")
    if method.config:
        verify_quantized(model, precision)
        let_go_of_files(model)
    return model


def _dequantize(found: Checkpoint, config: Any) -> None:
    """Have weights that only kernels from the Hub could multiply become 16-bit ones, everywhere.

    The library does the same where it has no kernels, and fetches them where it can.
    """
    quantized = quantized_as(found.config)
    if quantized is None or not quantized.is_dequantized:
        return
    for part in (config, config.get_text_config(decoder=True)):
        own = getattr(part, "quantization_config", None)
        if isinstance(own, dict):
            own["dequantize"] = True


def let_go_of_files(model: Any, replaced: Iterable[torch.Tensor] = ()) -> None:
    """Copy the weights that are still those of the mapped files, so that the files can go.

    One that stays keeps all of them in memory: 1.2 GB of files beside 0.5 GB of 4-bit weights.

    Args:
        model: on any device; only what is on a CPU is copied.
        replaced: weights that are about to be quantized.
    """
    going = {id(weight) for weight in replaced}
    embeddings = model.get_input_embeddings()
    going.discard(id(getattr(embeddings, "weight", None)))  # it stays where a head is tied to it
    for module in model.modules():
        if type(module).__name__ in _QUANTIZED:
            going.add(id(module.weight))  # its bias is the file's
        for weight in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if weight.device.type == "cpu" and id(weight) not in going:
                going.add(id(weight))  # once, where two modules share it
                weight.data = weight.data.clone()


def verify_quantized(model: Any, precision: Precision) -> None:
    """Raises ModelError where the weights are not what was asked for, or hardly any of them are.

    Linear layers are replaced and nothing else; experts that transformers holds as one large tensor
    stay as they were, without a word.
    """
    method = QUANTIZATIONS[precision]
    embeddings = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    quantized = plain = 0
    for module in model.modules():
        if type(module).__name__ == method.linear:
            quantized += module.in_features * module.out_features
        elif id(module) not in embeddings:
            plain += sum(weight.numel() for weight in _matrices(module))
    if quantized <= plain:
        share = quantized / max(quantized + plain, 1)
        raise ModelError(
            f"{method.label} reaches only {share:.0%} of this model's layers.",
            "Choose Full or another model.",
        )


def module_counts(model: Any) -> tuple[ModuleCounts, ModuleCounts]:
    """How many modules are quantized, and how many with matrices are not, by their classes' names.

    Among those that are not are the embeddings, the head, and experts that are one large tensor.
    """
    quantized: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for module in model.modules():
        name = type(module).__name__
        if _is_quantized(module):
            quantized[name] += 1
        elif any(True for _ in _matrices(module)):
            # Ours is a Linear with other kernels.
            left["Linear" if isinstance(module, NativeLinear) else name] += 1
    return tuple(quantized.most_common()), tuple(left.most_common())


def _is_quantized(module: Any) -> bool:
    if isinstance(module, NativeLinear):
        return module.scale is not None
    return type(module).__name__ in _QUANTIZED or any(hasattr(module, name) for name in _PACKED)


def _matrices(module: Any) -> Iterator[torch.Tensor]:
    """A module's own parameters that are no vectors."""
    return (weight for weight in module.parameters(recurse=False) if weight.dim() > 1)


def weight_bytes(model: Any) -> int:
    """Bytes of all parameters and buffers, each once, with the scales of quantized ones."""
    sizes: dict[int, int] = {}

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            sizes[value.data_ptr()] = value.nbytes

    for tensor in (*model.parameters(), *model.buffers()):
        add(tensor)
        add(getattr(tensor, "SCB", None))
        state = getattr(tensor, "quant_state", None)
        while state is not None:
            add(state.absmax)
            state = state.state2
    return sum(sizes.values())
