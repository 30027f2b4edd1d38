"""What is counted from a config, against what the makers of models publish and what models are."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_ui.errors import ModelError
from chat_ui.models import checkpoint
from chat_ui.models.architecture import CacheLayers, walk
from tests.engine import random_models
from tests.models import published

pytestmark = pytest.mark.torch

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
# By hand: query and output 64 x 64, key and value 64 x 32, three of 64 x 128; two norms of 64.
LAYER = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128
WHOLE = 2 * (LAYER + 2 * 64) + 64 + 2 * 512 * 64


def variant(name: str, **fields: Any) -> dict[str, Any]:
    return {**LLAMA, **random_models.VARIANTS[name], **fields}


@pytest.mark.parametrize("model", published.PUBLISHED)
def test_the_counts_are_the_published_ones(model: str) -> None:
    of, counted = published.PUBLISHED[model], walk(published.config(model))
    assert counted.total_parameters == of.total
    if of.active is None:
        assert counted.active_parameters == counted.total_parameters
        assert not counted.is_mixture
    else:
        # Qwen publishes 3.3B for 3.35B: one in the last digit, which is more than 1 % of it.
        allowed = max(of.active / 100, of.rounded_to if of.rounded_to < of.active / 30 else 0)
        assert abs(counted.active_parameters - of.active) <= allowed
        assert counted.is_mixture


def test_a_small_model_counted_by_hand() -> None:
    counted = walk(LLAMA)
    assert counted.total_parameters == counted.active_parameters == WHOLE
    assert counted.quantizable_parameters == counted.active_quantizable_parameters == 2 * LAYER
    assert counted.quantizable_modules == 2 * 7
    assert counted.quantizable_rows == 2 * (64 + 32 + 32 + 64 + 128 + 128 + 64)
    assert counted.active_left_parameters == WHOLE - 2 * LAYER - 512 * 64  # one row is read
    assert counted.left_linear_parameters == 512 * 64
    assert (counted.layers, counted.vocabulary, counted.window_tokens) == (2, 512, 2048)
    assert counted.dtype == "bfloat16"


def test_a_tied_head_counts_once_and_is_read() -> None:
    counted = walk({**LLAMA, "tie_word_embeddings": True})
    assert counted.is_tied
    assert counted.total_parameters == WHOLE - 512 * 64
    assert counted.active_left_parameters == walk(LLAMA).active_left_parameters


def test_of_a_mixture_a_token_needs_the_experts_that_it_chooses() -> None:
    counted = walk(variant("qwen3_moe"))
    experts = 2 * 4 * 3 * 64 * 64  # two layers, four experts, three matrices
    assert counted.is_mixture
    assert counted.total_parameters - counted.active_parameters == experts // 2
    # Experts are large tensors, and bitsandbytes replaces Linears.
    assert counted.quantizable_parameters < counted.total_parameters - experts
    assert counted.active_left_parameters > experts // 2


def test_experts_that_every_token_goes_through_are_all_active() -> None:
    alone = walk(variant("deepseek_v3", tie_word_embeddings=True, n_shared_experts=1))
    more = walk(variant("deepseek_v3", tie_word_embeddings=True, n_shared_experts=2))
    added = 3 * 64 * 64
    assert more.total_parameters - alone.total_parameters == added
    assert more.active_parameters - alone.active_parameters == added


def test_what_sees_pictures_is_in_memory_and_not_read_for_a_token() -> None:
    counted = walk(published.config("google/gemma-3-4b-it"))
    read = counted.active_quantizable_parameters + counted.active_left_parameters
    assert 0.88 * counted.total_parameters < read < 0.92 * counted.total_parameters


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("llama", [CacheLayers(2, 64)]),
        ("qwen3", [CacheLayers(2, 64)]),
        ("mistral", [CacheLayers(2, 64, 32)]),
        ("gemma3", [CacheLayers(1, 64, 32), CacheLayers(1, 64)]),
        ("qwen3_moe", [CacheLayers(2, 64)]),
        # Keys and values are computed again from 32 + 16 numbers for each token.
        ("deepseek_v3", [CacheLayers(2, 48)]),
        # The last two layers use what the first two keep.
        ("gemma4", [CacheLayers(1, 64, 32), CacheLayers(1, 128)]),
        ("lfm2", [CacheLayers(1, 0, None, 192), CacheLayers(1, 64)]),
        ("mamba2", [CacheLayers(2, 0, None, 2688)]),
        ("falcon_h1", [CacheLayers(2, 64, None, 2688)]),
        ("granitemoehybrid", [CacheLayers(1, 0, None, 2688), CacheLayers(1, 64)]),
        ("qwen3_next", [CacheLayers(1, 0, None, 1536), CacheLayers(1, 64)]),
    ],
)
def test_what_a_conversation_keeps(name: str, kept: list[CacheLayers]) -> None:
    assert list(walk(variant(name)).cache) == kept


def test_a_cache_that_shapes_do_not_show_is_taken_for_the_usual_one() -> None:
    # Its experts count tokens, which the meta device has not.
    config = {**LLAMA, "model_type": "jetmoe", "kv_channels": 16, "num_local_experts": 4}
    (layers,) = walk(config).cache
    assert layers.count == 2
    assert layers.numbers_per_token > 0


@pytest.mark.parametrize(
    ("stored", "method", "bits"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq", 4 + 20 / 128),
        ({"quant_method": "awq", "bits": 4, "group_size": "junk"}, "awq", 4 + 20 / 128),
        ({"load_in_4bit": True}, "bitsandbytes", 4 + 8 / 64 + 32 / (64 * 256)),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes", 8),
        ({"quant_method": "mxfp4"}, "mxfp4", 0),  # becomes bfloat16
    ],
)
def test_a_checkpoint_that_is_quantized_already(
    stored: dict[str, Any], method: str, bits: float
) -> None:
    counted = walk({**LLAMA, "torch_dtype": None, "quantization_config": stored})
    assert counted.total_parameters == WHOLE
    assert (counted.quantized_as, counted.dtype) == (method, "bfloat16")
    assert counted.quantized_bits == pytest.approx(bits)


def test_only_the_config_is_needed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert walk(checkpoint.read_config(tmp_path)).total_parameters == WHOLE


def test_code_and_kernels_of_others_are_not_asked_for() -> None:
    asks = {
        "auto_map": {"AutoModelForCausalLM": "o/n--modeling_x.Model", "AutoConfig": "x.Config"},
        "attn_implementation": "o/kernel",
        "_attn_implementation": "o/kernel",
    }
    assert walk({**LLAMA, **asks}).total_parameters == WHOLE


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "does not say what model"),
        ({"model_type": 7}, "does not say what model"),
        ({"model_type": "no_such"}, "doesn't know the architecture 'no_such'"),
        ({"model_type": "vit"}, "doesn't write text"),
    ],
)
def test_what_is_no_chat_model_is_a_sentence(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence) as raised:
        walk(config)
    assert raised.value.next_step


@pytest.mark.parametrize(
    "fields",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 1e300},
        {"hidden_size": -64},
        {"hidden_size": 0},
        {"hidden_size": 2**62},
        {"hidden_size": "64"},
        {"intermediate_size": 10**12},
        {"vocab_size": 10**18},
        {"num_attention_heads": 0},
        {"num_labels": 10**12, "num_hidden_layers": -1},
        {"layer_types": ["full_attention"] * 10**6},
        {"torch_dtype": "no such"},
        {"model_type": "qwen3_moe", "num_experts": 10**9},
        {"model_type": "gemma3", "vision_config": {"num_hidden_layers": 10**8}},
    ],
)
def test_absurd_numbers_are_refused_before_they_take_memory(fields: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        walk({**LLAMA, **fields})


NUMBERS = st.one_of(
    st.integers(-2, 600), st.integers(), st.sampled_from([2**31, 2**63, 10**9]), st.floats()
)
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
FIELDS = [
    *LLAMA,
    "head_dim",
    "rope_scaling",
    "sliding_window",
    "layer_types",
    "dtype",
    "num_labels",
]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(FIELDS), JUNK, min_size=1, max_size=3))
@pytest.mark.filterwarnings("ignore")
def test_any_config_is_counted_or_refused(changed: dict[str, Any]) -> None:
    with contextlib.suppress(ModelError):
        assert walk({**LLAMA, **changed}).total_parameters > 0
