"""Reads what a checkpoint's files say of it, without torch: its config and safetensors headers.

It refuses, with a sentence each, what could not be loaded anyway, before anything is unloaded for
it. Weights are taken from safetensors only: a pickle can run code when it is opened.
"""

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chat_ui.errors import BadCheckpointError, ModelNotFoundError

# The largest header that the safetensors library itself accepts.
# Source: safetensors, `MAX_HEADER_SIZE`.
MAX_HEADER_BYTES: Final = 100_000_000

# Any of these is enough for one kind of tokenizer or another.
_TOKENIZER_FILES: Final = (
    "tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt", "spiece.model",
)  # fmt: skip

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_COPY_AGAIN: Final = "Copy the model's files again."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a folder's files say.

    Attributes:
        folder: where they are.
        config: config.json, parsed.
        parameters: numbers of all tensors in the safetensors files.
        weight_bytes: bytes of those tensors.
    """

    folder: Path
    config: dict[str, Any]
    parameters: int
    weight_bytes: int

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers, such as "llama"."""
        return str(self.config["model_type"])


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint's config and safetensors headers.

    Raises:
        ModelNotFoundError: there is no such folder.
        BadCheckpointError: config.json is missing or broken, the weights are not safetensors or cut
            short, or there is no tokenizer.
    """
    config = read_config(folder)
    try:
        sizes = [size for file in _weight_files(folder, config) for size in _read_sizes(file)]
        has_tokenizer = any((folder / name).is_file() for name in _TOKENIZER_FILES)
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not has_tokenizer:
        raise BadCheckpointError(
            f"The folder {folder.name} has no tokenizer.",
            "Copy the model's tokenizer.json (or tokenizer.model) and tokenizer_config.json, too.",
        )
    return Checkpoint(
        folder=folder,
        config=config,
        parameters=sum(parameters for parameters, _ in sizes),
        weight_bytes=sum(size for _, size in sizes),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's config.json; it need not hold more.

    Raises:
        ModelNotFoundError: there is no such folder.
        BadCheckpointError: config.json is missing or broken.
    """
    if not is_folder(folder):
        raise not_found(folder.name)  # on a shared page its path is nobody's business
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise BadCheckpointError(
            f"The folder {folder.name} has no config.json.",
            "Give the folder that holds a model's config.json and safetensors files.",
        ) from error
    except OSError as error:
        raise _unreadable(folder, error) from error
    except (ValueError, RecursionError) as error:
        raise BadCheckpointError(
            f"The config.json in {folder.name} is broken.", _COPY_AGAIN
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise BadCheckpointError(
            f"The config.json in {folder.name} does not say what model it is.",
            "Give the folder of a transformers model; its config.json has a model_type.",
        )
    return config


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; False for what can't be a path or may not be looked at."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # such as a name of 5,000 characters
        return False


def is_hub_id(model: str) -> bool:
    """Whether this has the form of a Hub id, `owner/name`."""
    return _HUB_ID.fullmatch(model) is not None and ".." not in model


def not_found(model: str) -> ModelNotFoundError:
    """The error for a name that is neither a folder nor a Hub id."""
    shown = model if len(model) <= 100 else f"{model[:99]}…"
    return ModelNotFoundError(
        f"There is no model folder {shown!r}.",
        "Give the path of a folder with config.json and safetensors files, a Hub id such as "
        "owner/name, or pocket-guide.",
    )


def _unreadable(folder: Path, error: OSError) -> BadCheckpointError:
    return BadCheckpointError(
        f"The files in {folder.name} can't be read ({error.strerror or 'input/output error'}).",
        "Check their permissions and the disk.",
    )


def _weight_files(folder: Path, config: dict[str, Any]) -> list[Path]:
    """The files that transformers would load: one, or those of an index; one goes first.

    Source: transformers 5.23, `modeling_utils._get_resolved_checkpoint_files`.
    """
    # A config may name the file, and transformers would even take a pickle called
    # adapter_model.bin.
    named = config.get("transformers_weights") or "model.safetensors"
    if not _is_plain_name(named) or not named.endswith((".safetensors", ".safetensors.index.json")):
        raise _no_safetensors(folder)
    if named.endswith(".safetensors") and (folder / named).is_file():
        return [folder / named]
    index = folder / (named if named.endswith(".json") else "model.safetensors.index.json")
    if not index.is_file():
        raise _no_safetensors(folder)
    names = _index_names(index)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise BadCheckpointError(
            f"The folder {folder.name} lacks {missing[0]} "
            f"({len(missing)} of {len(names)} files are missing).",
            "Copy the missing files, too.",
        )
    return [folder / name for name in names]


def _index_names(index: Path) -> list[str]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names = set()
    if not names or not all(_is_plain_name(name) for name in names):
        raise BadCheckpointError(
            f"The index of the safetensors files in {index.parent.name} is broken.", _COPY_AGAIN
        )
    return sorted(names)


def _is_plain_name(name: object) -> bool:
    """Whether it names a file of the folder itself, and can't lead out of it."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= 255
        and name not in (".", "..")
        and not set(name) & set("/\\:\0")
    )


def _no_safetensors(folder: Path) -> BadCheckpointError:
    return BadCheckpointError(
        f"The folder {folder.name} has no safetensors files.",
        "This app reads weights from safetensors only; convert the model, or choose another.",
    )


def _read_sizes(file: Path) -> list[tuple[int, int]]:
    """Parameters and bytes of each tensor in a safetensors file.

    The file begins with 8 bytes that give the length of its JSON header, which gives every tensor's
    shape and place.
    Source: the safetensors format, https://huggingface.co/docs/safetensors.
    """
    broken = BadCheckpointError(f"The file {file.name} is broken or cut short.", _COPY_AGAIN)
    file_bytes = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(MAX_HEADER_BYTES, file_bytes):
                raise broken
            header = json.loads(stream.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        ranges = [(int(begin), int(end)) for begin, end in (t["data_offsets"] for t in tensors)]
        counts = [math.prod(int(size) for size in tensor["shape"]) for tensor in tensors]
    except (
        ValueError, struct.error, KeyError, TypeError, AttributeError, RecursionError,
        OverflowError,
    ) as error:  # fmt: skip
        raise broken from error
    data_bytes = file_bytes - 8 - length
    for (begin, end), count in zip(ranges, counts, strict=True):
        # No format has less than 4 bits for a number.
        if not 0 <= begin <= end <= data_bytes or not 0 <= count <= 2 * (end - begin):
            raise broken
    return [(count, end - begin) for (begin, end), count in zip(ranges, counts, strict=True)]
