"""What a model's files may not ask for, wherever in them it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.errors import BadCheckpointError, ModelError
from chat_ui.models.safety import refuse_unsafe, refuse_unsafe_files

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "bfloat16"}
OWN_CODE = {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.XModel"}


def refused(**fields: Any) -> str:
    """The sentence with which a config of a Llama with these fields is refused."""
    with pytest.raises(ModelError) as caught:
        refuse_unsafe({**LLAMA, **fields})
    assert caught.value.next_step.endswith(".")
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def test_a_usual_config_is_taken() -> None:
    refuse_unsafe(LLAMA)
    refuse_unsafe({**LLAMA, "_attn_implementation_autoset": True, "trust_remote_code": False})
    refuse_unsafe({**LLAMA, "text_config": {"torch_dtype": "torch.float16", "dtype": None}})


@pytest.mark.parametrize(
    "field", ["trust_remote_code", "custom_generate", "use_kernels", "kernel_config"]
)
def test_what_is_never_allowed_can_t_be_switched_on(field: str) -> None:
    assert field in refused(**{field: True})
    assert field in refused(text_config={"deep": [{field: "x/y"}]})


@pytest.mark.parametrize("prefix", ["", "_"])
@pytest.mark.parametrize("suffix", ["", "_internal"])
@pytest.mark.parametrize(
    ("field", "kernel"),
    [
        ("attn_implementation", "somebody/kernel"),
        ("attn_implementation", "somebody/kernel@main:run"),
        ("attn_implementation", "paged|somebody/kernel"),
        ("experts_implementation", "sonicmoe"),
    ],
)
def test_a_kernel_from_the_hub_is_refused(
    prefix: str, suffix: str, field: str, kernel: str
) -> None:
    name = f"{prefix}{field}{suffix}"
    assert repr(kernel) in refused(**{name: kernel})
    assert repr(kernel) in refused(vision_config={name: kernel})
    assert repr(kernel) in refused(**{name: {"": "sdpa", "text_config": kernel}})


@pytest.mark.parametrize("kernel", [None, "eager", "sdpa", "flash_attention_2", {"": "eager"}])
def test_attention_that_transformers_has_is_taken(kernel: Any) -> None:
    refuse_unsafe({**LLAMA, "attn_implementation": kernel})


@pytest.mark.parametrize("dtype", ["load", "float8_e4m3fn", "__builtins__", 16, ["float32"]])
def test_an_unknown_dtype_is_refused(dtype: Any) -> None:
    assert "dtype" in refused(dtype=dtype)
    assert "dtype" in refused(text_config={"torch_dtype": dtype})


def test_a_quantization_s_own_dtypes_are_its_own_affair() -> None:
    refuse_unsafe({**LLAMA, "quantization_config": {"weights": {"dtype": "int8"}}})
    assert "use_kernels" in refused(quantization_config={"use_kernels": True})


# Code of the model's own ----------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": "warp9"},
        {"model_type": ["llama"]},
        {"architectures": ["LlamaWithExtrasForCausalLM"]},
        {"architectures": "LlamaForCausalLM"},
        {"architectures": [None]},
    ],
)
@pytest.mark.parametrize("field", ["auto_map", "custom_pipelines"])
def test_code_that_would_be_needed_is_refused(field: str, fields: dict[str, Any]) -> None:
    assert field in refused(**{field: OWN_CODE}, **fields)


@pytest.mark.torch
def test_code_in_a_part_of_the_config_is_refused() -> None:
    part = {"model_type": "warp9", "auto_map": OWN_CODE}
    assert "auto_map" in refused(vision_config=part)


@pytest.mark.torch
def test_code_that_transformers_needs_no_more_is_passed_over() -> None:
    refuse_unsafe({**LLAMA, "auto_map": OWN_CODE})
    phi = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "auto_map": OWN_CODE}
    refuse_unsafe(phi)
    refuse_unsafe({"model_type": "phi3", "auto_map": OWN_CODE})


def test_an_empty_map_asks_for_nothing() -> None:
    refuse_unsafe({"model_type": "warp9", "auto_map": {}, "custom_pipelines": None})


# The other files ------------------------------------------------------------------------------


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def test_a_folder_without_other_files_is_taken(tmp_path: Path) -> None:
    refuse_unsafe_files(tmp_path)


@pytest.mark.parametrize("field", ["custom_generate", "trust_remote_code"])
@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer_config.json"])
def test_no_file_may_switch_it_on(tmp_path: Path, name: str, field: str) -> None:
    write(tmp_path, name, {field: "somebody/code"})
    with pytest.raises(ModelError, match=f"{name} sets {field}"):
        refuse_unsafe_files(tmp_path)


def test_a_folder_with_code_for_generating_is_refused(tmp_path: Path) -> None:
    (tmp_path / "custom_generate").mkdir()
    with pytest.raises(ModelError, match="custom_generate"):
        refuse_unsafe_files(tmp_path)


@pytest.mark.torch
def test_a_tokenizer_of_its_own_is_refused(tmp_path: Path) -> None:
    own = {"tokenizer_class": "WarpTokenizer", "auto_map": {"AutoTokenizer": ["x.Warp", None]}}
    write(tmp_path, "tokenizer_config.json", own)
    with pytest.raises(ModelError, match=r"auto_map in tokenizer_config\.json"):
        refuse_unsafe_files(tmp_path)
    for known in ("Qwen2TokenizerFast", "LlamaTokenizer", "PreTrainedTokenizerFast"):
        write(tmp_path, "tokenizer_config.json", {**own, "tokenizer_class": known})
        refuse_unsafe_files(tmp_path)


@pytest.mark.torch
def test_code_in_generation_config_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "generation_config.json", {"auto_map": OWN_CODE})
    with pytest.raises(ModelError, match=r"auto_map in generation_config\.json"):
        refuse_unsafe_files(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "generation_config.json").write_bytes(content)
    with pytest.raises(BadCheckpointError, match=r"generation_config\.json in .* is broken"):
        refuse_unsafe_files(tmp_path)


FIELDS = st.text(max_size=4) | st.sampled_from(
    ["auto_map", "model_type", "architectures", "custom_pipelines", "trust_remote_code", "dtype",
     "torch_dtype", "text_config", "_attn_implementation", "quantization_config"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["llama", "LlamaForCausalLM", "sdpa", "a/b", "float32"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.torch
@settings(deadline=None, derandomize=True)  # the first one imports transformers
@given(st.dictionaries(FIELDS, VALUES))
def test_any_config_is_taken_or_refused_with_a_sentence(config: dict[str, Any]) -> None:
    refusal = refusal_of(config)
    if refusal is not None:
        assert refusal.sentence.endswith(".")
        assert refusal.next_step.endswith(".")


def refusal_of(config: dict[str, Any]) -> ModelError | None:
    """The refusal of a config; any other error fails the test."""
    try:
        refuse_unsafe(config)
    except ModelError as error:
        return error
    return None


def test_it_is_found_however_deep_it_lies() -> None:
    deep: dict[str, Any] = {"trust_remote_code": True}
    for _ in range(5000):
        deep = {"x": [deep]}
    assert "trust_remote_code" in refused(**deep)
