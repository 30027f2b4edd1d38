"""What is forecast from a config alone, against random models that are really loaded."""

from pathlib import Path
from typing import Any, Final

import pytest
import torch
from transformers import AutoModelForCausalLM

from chat_ui.engine.load import load_model
from chat_ui.engine.loaded import LoadedModel, release, run_on_own_thread
from chat_ui.models import checkpoint
from chat_ui.models.architecture import Architecture, walk
from chat_ui.models.quantization import PRECISIONS, Precision
from chat_ui.models.weight_bytes import weight_bytes
from tests.engine import random_models

pytestmark = pytest.mark.torch

# 63 million parameters: enough for what is quantized to weigh more than the rest.
SIZES: Final[dict[str, Any]] = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "vocab_size": 16384,
    "initializer_range": 0.02,
}
TOKENS: Final = 40


@pytest.fixture(scope="module", params=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_models.write(
        tmp_path_factory.mktemp("models") / request.param,
        dtype="bfloat16",
        tie_word_embeddings=request.param == "tied",
        **SIZES,
    )


def counted(folder: Path) -> Architecture:
    return run_on_own_thread(lambda: walk(checkpoint.read_config(folder)))


def loaded(folder: Path, precision: Precision) -> LoadedModel:
    # "full" stays in the checkpoint's dtype: whether float32 is faster is this machine's affair.
    return load_model(random_models.spec(folder), precision, speedup=lambda model: 0.0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_take_what_was_forecast(folder: Path, precision: Precision) -> None:
    architecture = counted(folder)
    forecast = weight_bytes(architecture, "bfloat16" if precision == "full" else precision)
    model = loaded(folder, precision)
    try:
        footprint = model.model.get_memory_footprint()
        with_scales = model.facts.weight_bytes
    finally:
        run_on_own_thread(lambda: release(model))
    assert forecast.total == pytest.approx(footprint, rel=0.001)
    if precision != "8bit-cpu":  # whose scales the engine does not count
        assert forecast.total + forecast.scales == pytest.approx(with_scales, rel=0.001)


@pytest.mark.parametrize("variant", sorted(random_models.VARIANTS))
def test_the_parameters_are_those_of_the_files(tmp_path: Path, variant: str) -> None:
    folder = random_models.write(tmp_path / "m", variant)
    assert counted(folder).total_parameters == checkpoint.read(folder).parameters


@pytest.mark.parametrize(
    "variant",
    [
        "llama", "qwen3", "mistral", "gemma3", "qwen3_moe", "gemma4", "deepseek_v3",
        "lfm2", "mamba2", "granitemoehybrid", "falcon_h1", "qwen3_next",
    ],
)  # fmt: skip
def test_a_conversation_keeps_what_was_counted(tmp_path: Path, variant: str) -> None:
    folder = random_models.write(tmp_path / "m", variant)
    numbers = 0
    for layers in counted(folder).cache:
        # The library keeps one token less than a window: the next one completes it.
        kept = TOKENS if layers.window_tokens is None else min(TOKENS, layers.window_tokens - 1)
        numbers += layers.count * (kept * layers.numbers_per_token + layers.state_numbers)
    assert numbers == run_on_own_thread(lambda: _kept_numbers(folder))


@torch.inference_mode()
def _kept_numbers(folder: Path) -> int:
    """Numbers in the cache of a model that has read some tokens."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    output = model(input_ids=torch.ones(1, TOKENS, dtype=torch.long), use_cache=True)
    cache = output.get("past_key_values") or output.get("cache_params")
    held = [vars(layer).get(name) for layer in cache.layers for name in ("keys", "values")]
    for layer in cache.layers:
        for states in (vars(layer).get("conv_states"), vars(layer).get("recurrent_states")):
            held.extend((states or {}).values())
    return sum(tensor.numel() for tensor in held if tensor is not None)
