"""Refuses a model whose files ask for what this app never does: run code of the model's own, fetch
kernels from the Hub, or compute in a dtype that nobody knows.

It reads JSON and loads nothing. `trust_remote_code=False` alone is no boundary: it has been got
round by fields of config.json more than once (CVE-2026-4372, CVE-2026-5241), so what could be asked
for is looked for here, wherever in the JSON it is, before transformers sees it.

`auto_map` is the one exception. Good models name code there though transformers knows them by now,
such as Phi-3, whose own code is never needed: it is refused unless the `model_type` and all
`architectures` are transformers' own. The loader takes it out all the same (`engine/load.py`).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from chat_ui.errors import BadCheckpointError, ModelError
from chat_ui.models.libraries import import_transformers

# Files that transformers reads beside config.json, and takes names of classes from.
_OTHER_FILES: Final = ("generation_config.json", "tokenizer_config.json")

# Code of the model's own, in place of a class that transformers has.
CODE_FIELDS: Final = ("auto_map", "custom_pipelines")
# Nothing that a model says about itself may switch these on.
_NEVER: Final = (
    "trust_remote_code",
    "custom_generate",
    "use_kernels",
    "kernel_config",
    "allow_all_kernels",
)
# Each also with an underscore before it, and with "_internal" after that.
# Source: transformers 5.23, `PreTrainedConfig.__init__`.
KERNEL_FIELDS: Final = ("attn_implementation", "experts_implementation")
# What transformers has of its own. "deepgemm" and "sonicmoe" are fetched from the Hub.
# Source: transformers 5.23, `AttentionInterface`, `ExpertsInterface`.
_KERNELS: Final = frozenset(
    (
        "eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3",
        "flash_attention_4", "paged|eager", "batched_mm", "grouped_mm",
    )
)  # fmt: skip
_DTYPE_FIELDS: Final = ("dtype", "torch_dtype")
# The library takes any attribute of torch.
_DTYPES: Final = frozenset(("auto", "float64", "float32", "float", "float16", "half", "bfloat16"))

_CHOOSE_ANOTHER: Final = "Choose another model."
_CODE_NEXT_STEP: Final = (
    "Choose a model that transformers knows by itself, or a version of it without code."
)


def refuse_unsafe(config: Mapping[str, Any]) -> None:
    """Refuse a config.json that asks for code, unknown kernels or an unknown dtype.

    Raises:
        ModelError: it does; the sentence says what it asks for.
    """
    for part, field, value in _fields(config):
        if field in CODE_FIELDS and value and not _is_native(config, part):
            raise _needs_code(field)
        if field in _NEVER and value:
            raise ModelError(
                f"This model's config sets {field}, which is never allowed here.", _CHOOSE_ANOTHER
            )
        if field.removeprefix("_").removesuffix("_internal") in KERNEL_FIELDS:
            _refuse_kernels(value)
    # A quantization has dtypes of its own, such as int8.
    for _, field, value in _fields(config, without="quantization_config"):
        if field in _DTYPE_FIELDS:
            _refuse_dtype(value)


def refuse_unsafe_files(folder: Path) -> None:
    """Refuse a folder whose other JSON files ask for code.

    A tokenizer's `auto_map` is refused unless transformers knows the tokenizer's class.

    Raises:
        ModelError: one does.
        BadCheckpointError: one can't be read.
    """
    if (folder / "custom_generate").exists():
        raise _needs_code("custom_generate")
    for name in _OTHER_FILES:
        for part, field, value in _fields(_read(folder / name)):
            if field in CODE_FIELDS and value and not _is_known_tokenizer(part):
                raise _needs_code(f"{field} in {name}")
            if field in _NEVER and value:
                raise ModelError(
                    f"This model's {name} sets {field}, which is never allowed here.",
                    _CHOOSE_ANOTHER,
                )


def _fields(
    config: Mapping[str, Any], without: str = ""
) -> Iterator[tuple[Mapping[str, Any], str, Any]]:
    """Every field of a JSON object and of the objects in it, but one; with the object it is in."""
    waiting: list[Any] = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, Mapping):
            for field, value in part.items():
                yield part, field, value
                if field != without:
                    waiting.append(value)


def _needs_code(field: str) -> ModelError:
    return ModelError(
        f"This model asks for code of its own ({field}), which is never run here.", _CODE_NEXT_STEP
    )


def _refuse_kernels(value: Any) -> None:
    """A name, or one for each part of the model."""
    for name in value.values() if isinstance(value, Mapping) else [value]:
        if name is not None and (not isinstance(name, str) or name not in _KERNELS):
            raise ModelError(
                f"This model's config asks for the kernel {_shown(name)}, which is never fetched "
                "here.",
                _CHOOSE_ANOTHER,
            )


def _refuse_dtype(value: Any) -> None:
    if value is not None and (
        not isinstance(value, str) or value.removeprefix("torch.") not in _DTYPES
    ):
        raise ModelError(
            f"This model's config asks for the dtype {_shown(value)}, which is unknown.",
            _CHOOSE_ANOTHER,
        )


def _is_native(config: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    """Whether transformers has all classes that a config, or a part of it, names."""
    import_transformers()
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    types = [config.get("model_type"), part.get("model_type", config.get("model_type"))]
    named = config.get("architectures") or []
    return (
        all(isinstance(each, str) and each in CONFIG_MAPPING_NAMES for each in types)
        and isinstance(named, list)
        and all(isinstance(each, str) and each in _model_classes() for each in named)
    )


def _model_classes() -> set[str]:
    """The names of transformers' own model classes."""
    import_transformers()
    from transformers.models.auto import modeling_auto

    found: set[str] = set()
    for name, classes in vars(modeling_auto).items():
        if name.endswith("_MAPPING_NAMES"):
            for entry in classes.values():
                found.update((entry,) if isinstance(entry, str) else entry)
    return found


def _is_known_tokenizer(tokenizer: Mapping[str, Any]) -> bool:
    """Whether transformers has the class that a tokenizer_config.json names."""
    import_transformers()
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    named = tokenizer.get("tokenizer_class")
    if not isinstance(named, str):
        return False
    known = {str(entry).removesuffix("Fast") for entry in TOKENIZER_MAPPING_NAMES.values()}
    return named.removesuffix("Fast") in known | {"PreTrainedTokenizer", "TokenizersBackend"}


def _read(file: Path) -> Mapping[str, Any]:
    """A JSON object; an empty one where there is no such file."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise BadCheckpointError(
            f"The {file.name} in {file.parent.name} is broken.", "Copy the model's files again."
        ) from error
    return found if isinstance(found, Mapping) else {}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
