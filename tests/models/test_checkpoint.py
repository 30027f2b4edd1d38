"""What a folder's files say, and everything that may be wrong with them."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chat_ui.errors import BadCheckpointError, ChatUIError, ModelNotFoundError
from chat_ui.models import checkpoint
from tests.models.conftest import safetensors

# The same folder serves all examples: each writes the one file it is about.
with_files = settings(
    deadline=None,  # how busy the machine is says nothing of the code
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def test_parameters_and_bytes_are_those_of_the_headers(folder: Path) -> None:
    found = checkpoint.read(folder)
    assert found.parameters == 2 * 32 * 8
    assert found.weight_bytes == 512 + 1024
    assert found.model_type == "llama"


def test_several_files_are_read_by_their_index(shards: Callable[..., Path]) -> None:
    assert checkpoint.read(shards()).weight_bytes == 512 + 1024


def test_only_what_would_be_loaded_is_counted(folder: Path) -> None:
    for name in ("model.fp16.safetensors", "consolidated.safetensors", "model-extra.safetensors"):
        (folder / name).write_bytes(safetensors())
    (folder / "model.safetensors.index.json").write_text("not read: the single file goes first")
    assert checkpoint.read(folder).weight_bytes == 512 + 1024


def test_a_config_may_name_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    config = {"model_type": "llama", "transformers_weights": "other.safetensors"}
    (folder / "config.json").write_text(json.dumps(config))
    assert checkpoint.read(folder).parameters == 512


@pytest.mark.parametrize("name", ["adapter_model.bin", "../x.safetensors", "/etc/x.safetensors", 5])
def test_a_config_can_t_name_a_pickle_or_a_file_elsewhere(folder: Path, name: object) -> None:
    config = {"model_type": "llama", "transformers_weights": name}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadCheckpointError):
        checkpoint.read(folder)


def test_a_missing_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no model folder") as caught:
        checkpoint.read(tmp_path / "nowhere")
    assert "config.json" in caught.value.next_step


def test_weights_that_are_not_safetensors_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadCheckpointError, match="has no safetensors files"):
        checkpoint.read(folder)


def test_a_missing_tokenizer_is_found_before_loading(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BadCheckpointError, match="has no tokenizer"):
        checkpoint.read(folder)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "has no config.json"),
        (b"", "config.json in tiny is broken"),
        (b"{", "broken"),
        (b"\xff\xfe\x00", "broken"),
        (b"[" * 100_000, "broken"),
        (b"[]", "does not say what model it is"),
        (b"{}", "does not say"),
        (b'{"model_type": 5}', "does not say"),
    ],
    ids=["missing", "empty", "cut", "binary", "deep", "list", "no type", "number"],
)
def test_a_broken_config(folder: Path, content: bytes | None, expected: str) -> None:
    if content is None:
        (folder / "config.json").unlink()
    else:
        (folder / "config.json").write_bytes(content)
    with pytest.raises(BadCheckpointError, match=expected):
        checkpoint.read(folder)


@pytest.mark.parametrize("kept", [0, 7, 8, 20, -1])
def test_a_file_that_is_cut_short(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BadCheckpointError, match=r"model\.safetensors is broken or cut short"):
        checkpoint.read(folder)


def test_a_missing_file_is_named(shards: Callable[..., Path]) -> None:
    with pytest.raises(BadCheckpointError, match=r"lacks b\.safetensors \(1 of 2 files"):
        checkpoint.read(shards(present=1))


@pytest.mark.parametrize(
    "name",
    ["../secret.safetensors", "/etc/passwd", "..", "", "C:x", "a/b", "a\\b", "nul\0", 5, None, []],
)
def test_an_index_can_t_lead_out_of_the_folder(shards: Callable[..., Path], name: Any) -> None:
    with pytest.raises(BadCheckpointError, match="index"):
        checkpoint.read(shards(names=("a.safetensors", name)))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_a_broken_index(shards: Callable[..., Path], content: str) -> None:
    folder = shards()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(BadCheckpointError, match="index"):
        checkpoint.read(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(folder: Path) -> None:
    (folder / "config.json").chmod(0)
    with pytest.raises(BadCheckpointError, match="can't be read"):
        checkpoint.read(folder)


def test_a_file_that_is_a_folder(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(BadCheckpointError, match="can't be read"):
        checkpoint.read(folder)


@with_files
@given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_config_is_read_or_refused_with_a_sentence(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    read_or_refuse(folder)


@with_files
@given(st.dictionaries(st.just("transformers_weights") | st.text(max_size=4), VALUES))
def test_any_field_of_a_config(folder: Path, fields: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps({**fields, "model_type": "llama"}))
    read_or_refuse(folder)


@with_files
@given(st.binary(max_size=300))
@example(struct.pack("<Q", 2**63) + b"{}")
@example(struct.pack("<Q", 2) + b"[]")
@example(struct.pack("<Q", 2) + b"{}")
def test_any_weights_are_read_or_refused_with_a_sentence(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    read_or_refuse(folder)


@with_files
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "dtype": VALUES,
            "shape": VALUES | st.lists(st.integers(-3, 10**20), max_size=4),
            "data_offsets": VALUES | st.lists(st.integers(-3, 10**20), min_size=2, max_size=2),
        },
    )
    | VALUES
)
@example({"shape": [1e308, 1e308], "data_offsets": [0, 8]})
@example({"shape": [10**4000], "data_offsets": [0, 8]})
@example({"shape": [4], "data_offsets": ["0", "8"]})
def test_any_header_is_read_or_refused_with_a_sentence(folder: Path, entry: Any) -> None:
    header = json.dumps({"x": entry}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(64)
    (folder / "model.safetensors").write_bytes(content)
    found = read_or_refuse(folder)
    if found is not None:
        assert found.weight_bytes <= 64
        assert found.parameters <= 2 * found.weight_bytes


def read_or_refuse(folder: Path) -> checkpoint.Checkpoint | None:
    """What was read; any error but one with a sentence and a next step fails the test."""
    try:
        return checkpoint.read(folder)
    except ChatUIError as error:
        refusal = error
    assert refusal.sentence.endswith(".")
    assert refusal.next_step.endswith(".")
    return None
