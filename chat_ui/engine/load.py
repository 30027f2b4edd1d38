"""Loads a model: files, tokenizer, weights, pipeline, and the engine that can run it.

    find the files -> read their headers -> load on a thread that ends -> verify -> batched, else
    single

What goes wrong is a `ModelError` with a next step. How far it is, `progress` is told, and ends it
by raising: then nothing of the model is left.

`transformers.pipeline` is given the loaded model, not its name: given a name, it tries again in
float32 whatever failed, with another class, four times in all, hides the reasons in one long text,
and says nothing of missing weights (transformers 5.23, `pipelines.base.load_model`).
"""

import logging
import traceback
from typing import Any, Final, NoReturn

from chat_ui.engine import weights
from chat_ui.engine.assist import is_mixture
from chat_ui.engine.batched import BatchedEngine, NotBatchable
from chat_ui.engine.draft import DraftModel, same_tokens
from chat_ui.engine.dtype import float32_speedup
from chat_ui.engine.load_errors import as_model_error
from chat_ui.engine.loaded import LoadedModel, give_back_memory, release, run_on_own_thread
from chat_ui.engine.prepare import Speedup, prepare
from chat_ui.engine.protocol import Engine, EngineFacts
from chat_ui.engine.refusals import refuse
from chat_ui.engine.single import SingleEngine
from chat_ui.engine.template import ChatTemplate
from chat_ui.engine.weights import FROM_DISK
from chat_ui.errors import BadCheckpointError, LoadCancelledError, ModelError
from chat_ui.models import checkpoint, hub, safety
from chat_ui.models.architecture import window_tokens
from chat_ui.models.checkpoint import Checkpoint
from chat_ui.models.memory import DeviceKind
from chat_ui.models.progress import LoadProgress, Progress, ignore
from chat_ui.models.quantization import Precision, quantized_as
from chat_ui.models.spec import ModelSpec

log = logging.getLogger(__name__)

_READING: Final = LoadProgress("reading")
_WARMING_UP: Final = LoadProgress("warming up")


def load_engine(
    spec: ModelSpec,
    precision: Precision,
    *,
    draft: ModelSpec | None = None,
    progress: Progress = ignore,
    anyway: bool = False,
    speedup: Speedup = float32_speedup,
) -> Engine:
    """Load and probe a model; see `protocol.LoadEngine`.

    Args:
        spec: which model.
        precision: in which precision.
        draft: see `protocol.LoadEngine`. One that can't be used is passed over: the facts name what
            drafts.
        progress: see `protocol.LoadEngine`.
        anyway: see `protocol.LoadEngine`.
        speedup: measures how many times as fast the model is in float32, on a CPU.

    Raises:
        ModelError: it can't be loaded, with the reason and a next step.
        LoadCancelledError: `progress` raised it.
    """
    loaded = load_model(spec, precision, progress=progress, anyway=anyway, speedup=speedup)
    try:
        return _engine(loaded, draft, progress, speedup)
    except Exception as error:
        run_on_own_thread(lambda: release(loaded))
        _raise_shown(error, spec, precision)


def _engine(
    loaded: LoadedModel, draft: ModelSpec | None, progress: Progress, speedup: Speedup
) -> Engine:
    drafter = None if draft is None else _load_draft(draft, loaded, progress, speedup)
    engine: Engine
    try:
        progress(_WARMING_UP)
        engine = BatchedEngine(loaded, drafter)
    except BaseException as reason:
        if drafter is not None:
            run_on_own_thread(drafter.release)
        if not isinstance(reason, NotBatchable):
            raise
        log.info("%s runs in the plain loop: %s", loaded.facts.spec.id, reason)
        engine = SingleEngine(loaded)
    try:
        progress(_WARMING_UP)  # an engine takes seconds to try a large model, and can't be stopped
    except BaseException:
        engine.close()
        raise
    return engine


def _load_draft(
    spec: ModelSpec, loaded: LoadedModel, progress: Progress, speedup: Speedup
) -> DraftModel | None:
    """The draft model; None, with a line in the log, where it can't be used."""
    try:
        small = load_model(spec, "full", progress=progress, speedup=speedup)
    except LoadCancelledError:
        raise
    except ModelError as error:
        log.warning("%s drafts nothing: %s", spec.id, error.sentence)
        return None
    if not same_tokens(small.tokenizer, loaded.tokenizer):
        log.warning("%s drafts nothing: its tokenizer is another one.", spec.id)
        run_on_own_thread(lambda: release(small))
        return None
    return DraftModel(small, loaded.model.config.get_text_config(decoder=True).vocab_size)


def load_model(
    spec: ModelSpec,
    precision: Precision,
    *,
    progress: Progress = ignore,
    anyway: bool = False,
    speedup: Speedup = float32_speedup,
    device: DeviceKind | None = None,
) -> LoadedModel:
    """Load a model, without an engine; the arguments and errors of `load_engine`.

    With a device, its weights are put there and stay as they were read.
    """
    found = checkpoint.read(spec.folder or hub.download(spec.id, progress))

    def load() -> LoadedModel:
        try:
            progress(_READING)
            refuse(found, precision, anyway=anyway)
            return _load(spec, precision, found, progress, speedup, device)
        except BaseException as error:
            _forget_frames(error)
            if not isinstance(error, Exception):  # such as a library's panic
                raise
            _raise_shown(error, spec, precision)
        finally:
            # Quantizing leaves as much again behind as the quantized weights take.
            give_back_memory()

    return run_on_own_thread(load)


def _raise_shown(error: Exception, spec: ModelSpec, precision: Precision) -> NoReturn:
    """Raise what a person is shown for an error: a `ModelError` as it is."""
    shown = as_model_error(error, spec, precision)
    if shown is error:
        raise error
    raise shown from error


def _forget_frames(error: BaseException | None) -> None:
    """Empty the frames of an error and its causes, which hold what was loaded.

    Somebody may keep the error, and the model before is perhaps loaded again meanwhile.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _load(
    spec: ModelSpec,
    precision: Precision,
    found: Checkpoint,
    progress: Progress,
    speedup: Speedup,
    device: DeviceKind | None,
) -> LoadedModel:
    from transformers import AutoConfig, GenerationConfig, pipeline

    # First what is small, so that most of what is wrong is found before gigabytes are read.
    config = _without_code(AutoConfig.from_pretrained(str(found.folder), **FROM_DISK))
    tokenizer = _load_tokenizer(found)
    template = ChatTemplate(tokenizer)
    model = weights.read(found, config, precision, progress, device)
    reason = "" if device else prepare(model, precision, progress, speedup)
    progress(_WARMING_UP)
    quantized_modules, left_modules = weights.module_counts(model)
    eos = _eos_token_ids(model, tokenizer, template)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos[0]
    # How to sample is each request's own affair: nothing of the model's defaults may mix in.
    model.generation_config = GenerationConfig(eos_token_id=list(eos), pad_token_id=pad)
    return LoadedModel(
        # Without a device it moves the model to a GPU, where it finds one.
        pipeline=pipeline("text-generation", model=model, tokenizer=tokenizer, device=device),
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
            parameters=_parameters(model, found),
            weight_bytes=weights.weight_bytes(model),
            window_tokens=window_tokens(
                model.config.get_text_config(decoder=True), tokenizer.model_max_length
            ),
            folds_system_prompt=template.folds_system_prompt,
            thinking=template.thinking,
            is_mixture=is_mixture(model.config),
            quantized_modules=quantized_modules,
            left_modules=left_modules,
            footprint_bytes=model.get_memory_footprint(),
        ),
    )


def _without_code(config: Any) -> Any:
    """The config without what could name code or kernels, so that nothing can come of it.

    What `safety` let pass is code that transformers needs no more, and attention that may not be
    installed here: the library chooses its own.
    """
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if part is not None:
            for field in safety.CODE_FIELDS:
                vars(part).pop(field, None)
    config._attn_implementation = config._experts_implementation = None
    return config


def _load_tokenizer(found: Checkpoint) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(found.folder), **FROM_DISK)
    except Exception as error:
        raise BadCheckpointError(
            f"The tokenizer in {found.folder.name} can't be read.", "Copy its files again."
        ) from error


def _eos_token_ids(model: Any, tokenizer: Any, template: ChatTemplate) -> tuple[int, ...]:
    named = [model.generation_config.eos_token_id, tokenizer.eos_token_id, template.end_of_turn_id]
    flat = [token for entry in named for token in (entry if isinstance(entry, list) else [entry])]
    found = tuple(dict.fromkeys(int(token) for token in flat if token is not None))
    if not found:
        raise BadCheckpointError(
            "This model has no token that ends an answer.", "Choose its chat version."
        )
    return found


def _parameters(model: Any, found: Checkpoint) -> int:
    """Of the files; of files that pack several into one number, what the library counts."""
    return int(model.num_parameters()) if quantized_as(found.config) else found.parameters
