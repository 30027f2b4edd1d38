"""A checkpoint without a model in it: config, tokenizer and a safetensors file with two tensors."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Tensors = dict[str, tuple[str, list[int], int]]

# Name: dtype, shape, bytes.
TENSORS: Tensors = {
    "embed.weight": ("BF16", [32, 8], 512),
    "head.weight": ("F32", [32, 8], 1024),
}


def safetensors(tensors: Tensors = TENSORS) -> bytes:
    """A safetensors file's bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + bytes(end)


def write(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(safetensors())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny")


@pytest.fixture
def shards(folder: Path) -> Callable[..., Path]:
    """Cuts the weights into two files; a test may say otherwise what the index names."""

    def cut(names: Any = ("a.safetensors", "b.safetensors"), present: int = 2) -> Path:
        (folder / "model.safetensors").unlink()
        for name, tensor in list(zip(("a", "b"), TENSORS, strict=True))[:present]:
            data = safetensors({tensor: TENSORS[tensor]})
            (folder / f"{name}.safetensors").write_bytes(data)
        index = {"weight_map": dict(zip(TENSORS, names, strict=True))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return cut
