"""Loads a model: files, tokenizer, weights, pipeline, and the engine that can run it.

    find the files -> read their headers -> load on a thread that ends -> verify -> batched, else
    single

What goes wrong is a `ModelError` with a next step. Nothing is replaced silently: weights that are
missing from the files, layers that were not quantized, and parts that did not fit the GPU are
errors here, where the library logs a warning.

`transformers.pipeline` is given the loaded model, not its name: given a name, it tries again in
float32 whatever failed, with another class, four times in all, hides the reasons in one long text,
and says nothing of missing weights (transformers 5.23, `pipelines.base.load_model`).
"""

import logging
import traceback
from collections.abc import Callable
from typing import Any, Final

import torch

from chat_ui.engine import native
from chat_ui.engine.assist import is_mixture
from chat_ui.engine.batched import BatchedEngine, NotBatchable
from chat_ui.engine.draft import DraftModel, same_tokens
from chat_ui.engine.dtype import float32_speedup
from chat_ui.engine.load_errors import as_model_error
from chat_ui.engine.loaded import LoadedModel, give_back_memory, release, run_on_own_thread
from chat_ui.engine.protocol import Engine, EngineFacts
from chat_ui.engine.single import SingleEngine
from chat_ui.engine.template import ChatTemplate
from chat_ui.errors import BadCheckpointError, ModelError
from chat_ui.models import checkpoint, hub, memory
from chat_ui.models.checkpoint import Checkpoint
from chat_ui.models.quantization import QUANTIZATIONS, Precision
from chat_ui.models.spec import ModelSpec

log = logging.getLogger(__name__)

# Its 8-bit layers warn of a cast that is meant, once per layer and token.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

# Twice the memory has to buy something, and below this, measuring again might say the opposite.
_WORTH_CONVERTING: Final = 1.2
# Where neither config nor tokenizer has a limit, as with state-space models.
_DEFAULT_WINDOW_TOKENS: Final = 4096
_WINDOW_FIELDS: Final = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")

# Nothing is fetched any more, and a model's own code never runs.
_FROM_DISK: Final[dict[str, Any]] = {"local_files_only": True, "trust_remote_code": False}

Speedup = Callable[[Any], float]


def load_engine(
    spec: ModelSpec,
    precision: Precision,
    *,
    draft: ModelSpec | None = None,
    speedup: Speedup = float32_speedup,
) -> Engine:
    """Load and probe a model; see `protocol.LoadEngine`.

    Args:
        spec: which model.
        precision: full, 8bit or 4bit.
        draft: see `protocol.LoadEngine`. One that can't be used is passed over: the facts name what
            drafts.
        speedup: measures how many times as fast the model is in float32, on a CPU.

    Raises:
        ModelError: it can't be loaded, with the reason and a next step.
    """
    loaded = load_model(spec, precision, speedup=speedup)
    try:
        drafter = _load_draft(draft, loaded, speedup) if draft is not None else None
        try:
            return BatchedEngine(loaded, drafter)
        except BaseException as reason:
            if drafter is not None:
                run_on_own_thread(drafter.release)
            if not isinstance(reason, NotBatchable):
                raise
            log.info("%s runs in the plain loop: %s", spec.id, reason)
        return SingleEngine(loaded)
    except Exception as error:
        run_on_own_thread(lambda: release(loaded))
        raise as_model_error(error, spec, precision) from error


def _load_draft(spec: ModelSpec, loaded: LoadedModel, speedup: Speedup) -> DraftModel | None:
    """The draft model; None, with a line in the log, where it can't be used."""
    try:
        small = load_model(spec, "full", speedup=speedup)
    except ModelError as error:
        log.warning("%s drafts nothing: %s", spec.id, error.sentence)
        return None
    if not same_tokens(small.tokenizer, loaded.tokenizer):
        log.warning("%s drafts nothing: its tokenizer is another one.", spec.id)
        run_on_own_thread(lambda: release(small))
        return None
    return DraftModel(small, loaded.model.config.get_text_config(decoder=True).vocab_size)


def load_model(
    spec: ModelSpec, precision: Precision, *, speedup: Speedup = float32_speedup
) -> LoadedModel:
    """Load a model, without an engine; the arguments and errors of `load_engine`."""
    found = checkpoint.read(spec.folder or hub.download(spec.id))

    def load() -> LoadedModel:
        try:
            _refuse(found, precision)
            return _load(spec, precision, found, speedup)
        except Exception as error:
            shown = as_model_error(error, spec, precision)
            # Its frames hold what was loaded, and the old model may be loaded again meanwhile.
            traceback.clear_frames(error.__traceback__)
            raise shown from error
        finally:
            # Quantizing leaves as much again behind as the quantized weights take.
            give_back_memory()

    return run_on_own_thread(load)


def _refuse(found: Checkpoint, precision: Precision) -> None:
    """Raises ModelError for what the headers show can't be loaded."""
    from transformers import CONFIG_MAPPING

    if found.model_type not in CONFIG_MAPPING:
        raise ModelError(
            f"The installed transformers doesn't know the architecture {found.model_type!r}, and a "
            "model's own code is never run here.",
            "Update transformers, or choose another model.",
        )
    if precision != "full" and found.config.get("quantization_config"):
        raise ModelError(
            "This model's files are quantized already.", "Choose Full: it loads them as they are."
        )
    kind = memory.device_kind()
    if kind != "cpu" and QUANTIZATIONS[precision].is_for_cpu:
        raise ModelError(
            f"{QUANTIZATIONS[precision].label} is for a CPU; this machine has a GPU.",
            "Choose 8-bit or 4-bit.",
        )
    needed, free = memory.needed_bytes(found, precision, kind), memory.free_bytes(kind)
    if needed > free:
        log.warning("Refused to load %s: needs %d bytes, free %d", found.folder, needed, free)
        raise ModelError(
            f"Loading this model takes about {needed / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB "
            "are free.",
            "Choose a smaller model, or close other programs.",
        )


def _load(
    spec: ModelSpec, precision: Precision, found: Checkpoint, speedup: Speedup
) -> LoadedModel:
    from transformers import AutoConfig, GenerationConfig, pipeline

    # First what is small, so that most of what is wrong is found before gigabytes are read.
    config = AutoConfig.from_pretrained(str(found.folder), **_FROM_DISK)
    tokenizer = _load_tokenizer(found)
    template = ChatTemplate(tokenizer)
    model = _load_weights(found, config, precision)
    reason = _prepared(model, precision, speedup)
    eos = _eos_token_ids(model, tokenizer, template)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos[0]
    # How to sample is each request's own affair: nothing of the model's defaults may mix in.
    model.generation_config = GenerationConfig(eos_token_id=list(eos), pad_token_id=pad)
    return LoadedModel(
        pipeline=pipeline("text-generation", model=model, tokenizer=tokenizer),
        model=model,
        tokenizer=tokenizer,
        template=template,
        eos_token_ids=eos,
        pad_token_id=pad,
        device=str(model.device),
        facts=EngineFacts(
            spec=spec,
            precision=precision,
            dtype=str(model.dtype).removeprefix("torch."),
            dtype_reason=reason,
            device=str(model.device),
            kind="",
            parameters=found.parameters,
            weight_bytes=_weight_bytes(model),
            window_tokens=_window_tokens(model.config, tokenizer),
            folds_system_prompt=template.folds_system_prompt,
            is_mixture=is_mixture(model.config),
        ),
    )


def _load_tokenizer(found: Checkpoint) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(found.folder), **_FROM_DISK)
    except Exception as error:
        raise BadCheckpointError(
            f"The tokenizer in {found.folder.name} can't be read.", "Copy its files again."
        ) from error


def _load_weights(found: Checkpoint, config: Any, precision: Precision) -> Any:
    from transformers import AutoModelForCausalLM

    method = QUANTIZATIONS[precision]
    device = memory.device_kind()
    model, report = AutoModelForCausalLM.from_pretrained(
        str(found.folder),
        config=config,
        dtype="auto",
        device_map="auto" if device == "cuda" else device,
        quantization_config=method.config() if method.config else None,
        use_safetensors=True,
        output_loading_info=True,
        **_FROM_DISK,
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
        _verify_quantized(model, precision)
    return model


def _verify_quantized(model: Any, precision: Precision) -> None:
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
            plain += sum(p.numel() for p in module.parameters(recurse=False) if p.dim() > 1)
    if quantized <= plain:
        share = quantized / max(quantized + plain, 1)
        raise ModelError(
            f"{method.label} reaches only {share:.0%} of this model's layers.",
            "Choose Full or another model.",
        )


def _prepared(model: Any, precision: Precision, speedup: Speedup) -> str:
    """Make a model on a CPU as fast as it can be; why its dtype is not its own, or ""."""
    if model.device.type != "cpu":
        return ""
    if precision == "8bit-cpu":
        if model.dtype == torch.float16:  # which the kernels do not know
            model.to(torch.bfloat16)
        native.quantize_linears(model)
        _verify_quantized(model, precision)
        return ""
    if native.accelerate(model) or precision != "full":
        return ""
    reason = _convert_where_faster(model, speedup)
    if reason:
        native.accelerate(model)
    return reason


def _convert_where_faster(model: Any, speedup: Speedup) -> str:
    """Convert a 16-bit model on a CPU to float32, which is exact, where that pays; the reason."""
    own = model.dtype
    is_quantized = getattr(model, "hf_quantizer", None) is not None
    if model.device.type != "cpu" or own not in (torch.bfloat16, torch.float16) or is_quantized:
        return ""
    # One layer after the other grows, so the peak is what the model takes afterwards.
    if memory.free_bytes("cpu") < 1.2 * _weight_bytes(model):
        return ""
    times = speedup(model)
    if times < _WORTH_CONVERTING:
        return ""
    model.to(torch.float32)
    model.config.dtype = torch.float32
    name = str(own).removeprefix("torch.")
    return f"float32: on this CPU it answers {times:.1f} times as fast as {name}."


def _eos_token_ids(model: Any, tokenizer: Any, template: ChatTemplate) -> tuple[int, ...]:
    named = [model.generation_config.eos_token_id, tokenizer.eos_token_id, template.end_of_turn_id]
    flat = [token for entry in named for token in (entry if isinstance(entry, list) else [entry])]
    found = tuple(dict.fromkeys(int(token) for token in flat if token is not None))
    if not found:
        raise BadCheckpointError(
            "This model has no token that ends an answer.", "Choose its chat version."
        )
    return found


def _window_tokens(config: Any, tokenizer: Any) -> int:
    """The context window: the config's, or the tokenizer's where that is smaller.

    A tokenizer without a limit says 10**30, and one limit below 128 tokens is no chat model's.
    """
    text_config = config.get_text_config(decoder=True)
    limits = [getattr(text_config, field, None) for field in _WINDOW_FIELDS]
    limits.append(tokenizer.model_max_length)
    sane = [limit for limit in limits if isinstance(limit, int) and 128 <= limit <= 10**8]
    return min(sane, default=_DEFAULT_WINDOW_TOKENS)


def _weight_bytes(model: Any) -> int:
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
