"""Builds a model from its config alone, on torch's meta device: modules and shapes, no memory.

It is the class that `engine/load.py` would load, and takes 0.1 s for 671B parameters; the first of
an architecture takes a second or two more, to import it. No weights are read, nothing is fetched,
and no code but that of transformers runs. It counts nothing: that is `models/architecture.py`.

A config may be a stranger's, so what could take minutes or gigabytes is refused before or while it
is built.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from chat_ui.errors import BadCheckpointError, ModelError
from chat_ui.models.libraries import import_transformers

# Llama 3.1 405B has 126 layers, Kimi K2 384 experts. The library makes lists as long as these.
_MAX_LAYERS: Final = 512
_MAX_EXPERTS: Final = 10_000
# DeepSeek V3 has 1,215, Gemma 3 27B 1,700. 50,000 take 0.3 GB.
_MAX_MODULES: Final = 50_000
# More than any disk holds.
_MAX_PARAMETERS: Final = 10**14

_LAYER_COUNT: Final = re.compile(r"(?:^|_)(?:layers?|depths?|blocks)$")
_EXPERT_COUNT: Final = re.compile(r"(?:^|_)experts$")

# Fields that change no shape. Code and kernels of others, which are not to be asked for; labels, of
# which the library makes a list; and how the files are quantized, for it is not their layers that
# are built here.
_LEFT_OUT: Final = frozenset(
    {
        "auto_map", "attn_implementation", "_attn_implementation", "experts_implementation",
        "_experts_implementation", "id2label", "label2id", "num_labels", "quantization_config",
        "use_kernels",
    }
)  # fmt: skip

_NO_JSON_NUMBERS: Final = ("Infinity", "-Infinity", "NaN")


def build(config: Mapping[str, Any]) -> Any:
    """The model of a config.json, on the meta device, in evaluation mode.

    Call it on a thread that ends: it calls torch.

    Args:
        config: the parsed file; it is not changed.

    Returns:
        A PreTrainedModel. Its config's `dtype` is the checkpoint's, or None.

    Raises:
        ModelError: the installed transformers doesn't know the architecture, or not as one that
            writes text.
        BadCheckpointError: the config makes no model, or one of a size that none has.
    """
    import_transformers()
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise BadCheckpointError(
            "The config.json does not say what model it is.",
            "Choose a transformers model; its config.json has a model_type.",
        )
    _refuse_unknown(model_type)
    try:
        _refuse_absurd(config)
        with _few_modules():
            model = _build(model_type, _cleaned(config))
        parameters = sum(parameter.numel() for parameter in model.parameters())
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(
            f"The architecture {model_type!r} needs a package that is not installed.",
            "Choose another model.",
        ) from error
    except Exception as error:  # whatever a model's constructor does with such numbers
        raise BadCheckpointError(
            f"The config.json makes no model of the architecture {model_type!r}.",
            "Copy the model's files again, or choose another model.",
        ) from error
    if not 0 < parameters <= _MAX_PARAMETERS:
        raise _absurd()
    return model


def _build(model_type: str, fields: dict[str, Any]) -> Any:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[model_type].from_dict(fields)
    dtype = config.dtype
    # Not accelerate's init_empty_weights, which changes nn.Module for every thread: weights that
    # are loaded meanwhile would lose theirs. For the same reason without a dtype: the library would
    # change torch's default for every thread, and put back what it found, which may be another's.
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config,
            dtype=None,
            # The ways that need no numbers: the others branch on masks and on who chose which.
            attn_implementation="eager",
            experts_implementation="batched_mm",
            trust_remote_code=False,
        )
    model.config.dtype = dtype
    return model.eval()


def _refuse_unknown(model_type: str) -> None:
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise ModelError(
            f"The installed transformers doesn't know the architecture {model_type[:40]!r}, and a "
            "model's own code is never run here.",
            "Update transformers, or choose another model.",
        )
    if CONFIG_MAPPING[model_type] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"A model of the architecture {model_type!r} doesn't write text.",
            "Choose a chat model.",
        )


def _refuse_absurd(fields: Any) -> None:
    """Raises BadCheckpointError for numbers of layers or experts that no model has."""
    if isinstance(fields, Mapping):
        for name, value in fields.items():
            most = _most(str(name))
            for count in value if isinstance(value, list) else [value]:
                if most is not None and isinstance(count, int | float) and not 0 <= count <= most:
                    raise _absurd()
            _refuse_absurd(value)
    elif isinstance(fields, list):
        for value in fields:
            _refuse_absurd(value)


def _most(name: str) -> int | None:
    if _LAYER_COUNT.search(name):
        return _MAX_LAYERS
    return _MAX_EXPERTS if _EXPERT_COUNT.search(name) else None


def _cleaned(fields: Any) -> Any:
    """A copy of parsed JSON without what is left out, and with the numbers that JSON has not.

    Source: transformers 5.23, `PreTrainedConfig._encode_special_floats`.
    """
    if isinstance(fields, Mapping):
        if fields.keys() == {"__float__"} and fields["__float__"] in _NO_JSON_NUMBERS:
            return float(fields["__float__"])
        return {name: _cleaned(value) for name, value in fields.items() if name not in _LEFT_OUT}
    return [_cleaned(value) for value in fields] if isinstance(fields, list) else fields


@contextmanager
def _few_modules() -> Iterator[None]:
    """Raises BadCheckpointError in this thread's building once there are too many modules."""
    from torch.nn.modules.module import register_module_module_registration_hook

    thread, count = threading.get_ident(), 0

    def added(parent: Any, name: str, module: Any) -> None:
        nonlocal count
        if threading.get_ident() == thread:  # the hook hears of other threads' models, too
            count += 1
            if count > _MAX_MODULES:
                raise _absurd()

    handle = register_module_module_registration_hook(added)
    try:
        yield
    finally:
        handle.remove()


def _absurd() -> BadCheckpointError:
    return BadCheckpointError(
        "The config.json describes a model of a size that none has.",
        "Copy the model's files again, or choose another model.",
    )
