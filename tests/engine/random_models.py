"""Writes tiny checkpoints with random weights, for tests: no network, about 20 ms each.

    folder = random_models.write(tmp_path / "m")            # a Llama with grouped-query attention
    folder = random_models.write(tmp_path / "m", "lfm2")    # refused by continuous batching

The words they say mean nothing; the same `seed` gives the same weights. Every dimension is a
multiple of 64, which bitsandbytes wants. The tokenizer is a byte-level BPE, so any text can be
encoded, and about half of what a model says is incomplete UTF-8: a hard test for streaming.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from chat_ui.models.spec import ModelSpec

CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Gemma's: no system role, and says so.
RAISES_ON_SYSTEM: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Worse: drops it without a word.
DROPS_SYSTEM: Final = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

VOCABULARY: Final = 384
WINDOW_TOKENS: Final = 2048
SPECIALS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_CORPUS: Final = (
    "The quick brown fox jumps over the lazy dog. How do I change a tyre? You are a helpful "
    "assistant. "
    "Grüße aus Köln, naïve café, 你好 世界。 Привет, мир! 👋🏽 مرحبا بالعالم שלום עולם こんにちは "
) * 4

_SIZES: Final[dict[str, Any]] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": WINDOW_TOKENS,
    # The usual 0.02 would make all tokens nearly equally likely, and greedy decoding a matter of
    # rounding.
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}

# Mixtures of experts: two of four for each token.
_EXPERTS: Final[dict[str, Any]] = {"num_experts_per_tok": 2, "moe_intermediate_size": 64}
# Mamba 2's layers, also in hybrids.
_MAMBA: Final[dict[str, Any]] = {
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_d_state": 16,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 16,
}
_WINDOWED: Final[dict[str, Any]] = {
    "head_dim": 16,
    "sliding_window": 32,
    "layer_types": ["sliding_attention", "full_attention"],
}

VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "llama": {"model_type": "llama"},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "mistral": {"model_type": "mistral", "sliding_window": 32},
    "gemma3": {"model_type": "gemma3_text", **_WINDOWED},
    "qwen3_moe": {"model_type": "qwen3_moe", "head_dim": 16, "num_experts": 4, **_EXPERTS},
    # Convolution layers: continuous batching refuses it when it starts.
    "lfm2": {
        "model_type": "lfm2",
        "layer_types": ["conv", "full_attention"],
        "block_multiple_of": 64,
    },
    # No attention at all: a state-space model.
    "mamba2": {
        "model_type": "mamba2",
        "state_size": 16,
        "num_heads": 8,
        "head_dim": 16,
        "n_groups": 1,
        "chunk_size": 16,
    },
    # The same, older: transformers can't read its prompt in parts.
    "mamba": {"model_type": "mamba", "state_size": 16},
    # Recurrent layers, whose states are in the modules, for one conversation.
    "recurrent_gemma": {
        "model_type": "recurrent_gemma",
        "block_types": ["recurrent", "attention"],
        "lru_width": 64,
        "attention_window_size": 32,
        "num_key_value_heads": 1,
        "head_dim": 16,
    },
    # State-space layers and attention.
    "granitemoehybrid": {
        "model_type": "granitemoehybrid",
        "layer_types": ["mamba", "attention"],
        "num_local_experts": 0,
        "shared_intermediate_size": 128,
        **_MAMBA,
    },
    # Both in each layer.
    "falcon_h1": {"model_type": "falcon_h1", "mamba_d_ssm": 128, **_MAMBA},
    # Linear attention (a gated delta rule), attention, and experts.
    "qwen3_next": {
        "model_type": "qwen3_next",
        "layer_types": ["linear_attention", "full_attention"],
        "head_dim": 16,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "num_experts": 4,
        "shared_expert_intermediate_size": 64,
        **_EXPERTS,
    },
    # Heads of another size in the layers that see everything, and embeddings for each layer. The
    # last two layers use the keys and values of the first two.
    "gemma4": {
        "model_type": "gemma4_text",
        **_WINDOWED,
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "global_head_dim": 32,
        "vocab_size_per_layer_input": 384,
        "hidden_size_per_layer_input": 16,
    },
    # Latent attention: keys and values are kept compressed.
    "deepseek_v3": {
        "model_type": "deepseek_v3",
        "num_key_value_heads": 4,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_rope_head_dim": 16,
        "qk_nope_head_dim": 16,
        "v_head_dim": 16,
        "n_routed_experts": 4,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        **_EXPERTS,
    },
}


def tokenizer(chat_template: str | None = CHATML) -> Any:
    """A byte-level BPE tokenizer of transformers' fast kind, with ChatML's special tokens."""
    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator([_CORPUS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=rust,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=chat_template,
        model_max_length=WINDOW_TOKENS,
    )


def write(
    folder: Path,
    variant: str = "llama",
    *,
    seed: int = 0,
    dtype: str = "float32",
    chat_template: str | None = CHATML,
    shard_size: str = "1GB",
    **config: Any,
) -> Path:
    """Write a checkpoint that `chat_ui.models.checkpoint.read` and transformers take.

    Args:
        folder: made where it is missing.
        variant: a name in `VARIANTS`.
        seed: of the weights.
        dtype: of the weights, by torch's name.
        chat_template: None writes a tokenizer without one.
        shard_size: "100KB" cuts the weights into several files with an index.
        **config: other fields of the model's config, such as hidden_size=128.

    Returns:
        The folder.
    """
    # torch runs on a thread that ends: a test that times the engine must not have a second pool of
    # OpenMP threads beside it.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_write_weights, folder, variant, seed, dtype, shard_size, config).result()
    tokenizer(chat_template).save_pretrained(str(folder))
    return folder


def spec(folder: Path) -> ModelSpec:
    """The spec of a checkpoint written here."""
    return ModelSpec(str(folder), folder.name, "folder", folder)


def change_config(folder: Path, **fields: Any) -> None:
    """Set fields of a written config.json; None removes one."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config.update(fields)
    kept = {name: value for name, value in config.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


def _write_weights(
    folder: Path, variant: str, seed: int, dtype: str, shard_size: str, config: dict[str, Any]
) -> None:
    fields = {**_SIZES, **VARIANTS[variant], **config}
    model_config = AutoConfig.for_model(**fields)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(model_config, dtype=getattr(torch, dtype))
    model.save_pretrained(str(folder), max_shard_size=shard_size)
