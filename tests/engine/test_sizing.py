"""The cache's size: what is affordable, what fits, on every kind of device."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from chat_ui.engine import sizing
from chat_ui.engine.sizing import PAGE_TOKENS, CacheSize, cache_size
from chat_ui.models import memory

pytestmark = pytest.mark.torch

GIB = 2**30
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}
# Five layers with a window to one without, and heads larger than hidden_size / heads.
GEMMA: dict[str, Any] = {
    "model_type": "gemma3_text",
    "num_hidden_layers": 26,
    "hidden_size": 1152,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "vocab_size": 262144,
    "sliding_window": 512,
}
MISTRAL: dict[str, Any] = {
    "model_type": "mistral",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
}


def model(
    config: dict[str, Any],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    parameters: int = 600_000_000,
) -> SimpleNamespace:
    return SimpleNamespace(
        num_parameters=lambda: parameters,
        device=torch.device(device),
        dtype=dtype,
        config=AutoConfig.for_model(**config),
        _supports_logits_to_keep=lambda: True,
    )


def page_bytes(config: dict[str, Any], dtype: torch.dtype = torch.float32) -> int:
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    layers = int(config["num_hidden_layers"])
    per_token = 2 * config["num_key_value_heads"] * head * dtype.itemsize
    return layers * PAGE_TOKENS * int(per_token)


def test_four_windows_where_memory_allows_it() -> None:
    size = cache_size(model(LLAMA), 8192, 1000 * GIB)
    assert size == CacheSize(8192, 4 * 8192 // PAGE_TOKENS, sizing.CPU_PART_TOKENS)


@pytest.mark.parametrize(("parameters", "part"), [(135_000_000, 512), (600_000_000, 256)])
def test_a_small_model_reads_longer_parts_of_a_prompt(parameters: int, part: int) -> None:
    size = cache_size(model(LLAMA, parameters=parameters), 8192, 1000 * GIB)
    assert size.part_tokens == part


def test_a_small_window_leaves_room_for_many() -> None:
    size = cache_size(model(LLAMA), 128, 1000 * GIB)
    assert size.window_tokens == 128
    assert size.blocks * PAGE_TOKENS == sizing.MAX_ROWS * 512


@pytest.mark.parametrize("free_gib", [64, 8, 2, 1, 0.5])
@pytest.mark.parametrize("config", [LLAMA, GEMMA, MISTRAL], ids=lambda c: c["model_type"])
def test_no_more_than_a_quarter_of_what_is_free(config: dict[str, Any], free_gib: float) -> None:
    free = int(free_gib * GIB)
    size = cache_size(model(config), 32768, free)
    smallest = 10 * page_bytes(config)  # 256 tokens, and two sectors' rounding
    assert size.blocks * page_bytes(config) <= max(free / 4, smallest)
    assert size.part_tokens <= size.window_tokens


def test_without_memory_there_is_room_for_a_sentence() -> None:
    for config in (LLAMA, GEMMA, MISTRAL):
        assert cache_size(model(config), 32768, 0).window_tokens >= 256


def test_a_sliding_window_takes_no_more_than_its_window() -> None:
    # 26 layers, of which 22 keep 512 tokens: 4 of 26 of the memory, and a little.
    size = cache_size(model(GEMMA), 32768, 1000 * GIB)
    share = size.blocks * PAGE_TOKENS / (4 * 32768)
    assert 4 / 26 < share < 5 / 26
    # A conversation of any length takes a window of each layer.
    size = cache_size(model(MISTRAL), 32768, 1000 * GIB)
    assert size.window_tokens == 32768
    assert size.blocks * PAGE_TOKENS == 4 * 4096


def test_a_window_that_does_not_fit_becomes_what_fits() -> None:
    size = cache_size(model(LLAMA), 8192, GIB)
    assert 2048 < size.window_tokens < 8192
    assert size.window_tokens == size.blocks * PAGE_TOKENS
    less = cache_size(model(LLAMA), 8192, GIB // 2)
    assert less.window_tokens < size.window_tokens


@pytest.fixture
def plenty_of_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda kind: 1000 * GIB)


def say(value: int) -> Callable[..., int]:
    return lambda *_: value


@pytest.mark.usefixtures("plenty_of_ram")
def test_on_cuda_half_of_the_cards_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", say(10 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_allocated", say(9 * GIB))
    size = cache_size(model(MISTRAL, "cuda:0", torch.bfloat16), 32768)
    # 1 GiB free, and 1 that torch keeps; beside the cache stand indices, masks and a layer's keys.
    taken = size.blocks * page_bytes(MISTRAL, torch.bfloat16)
    assert 0.5 * GIB < taken < 1 * GIB
    assert size.part_tokens == sizing.GPU_PART_TOKENS


@pytest.mark.usefixtures("plenty_of_ram")
def test_on_mps_a_quarter_of_what_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", say(12 * GIB))
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", say(4 * GIB))
    size = cache_size(model(LLAMA, "mps"), 131072)
    assert 1 * GIB < size.blocks * page_bytes(LLAMA) < 2 * GIB
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", say(13 * GIB))
    assert cache_size(model(LLAMA, "mps"), 8192).window_tokens == 256
