"""The process that prepares a run: writes random checkpoints and measures the memory's bandwidth.

It ends before anything else is measured. It keeps torch out of the process that asks.
"""

import json
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from chat_ui.engine import probe
from tests.engine import random_models
from tools.bench import child
from tools.bench.shapes import FACTS_FILE, SHAPES, WINDOW_TOKENS

# What tokens that are no words keep of their weights: too little to be the likeliest ever, so no
# answer ends early and every token has a text. Not zero, on which quantizing may divide.
_UNLIKELY: Final = 0.01


def write(folder: str, shape: str) -> child.Json:
    """Write a bfloat16 checkpoint with random weights, as real ones are.

    Args:
        folder: where.
        shape: a name in `SHAPES`.

    Returns:
        Its parameters.
    """
    tokenizer = random_models.tokenizer()
    tokenizer.model_max_length = WINDOW_TOKENS
    words = _words(tokenizer)
    fields: dict[str, Any] = dict(SHAPES[shape])
    config = AutoConfig.for_model(
        fields.pop("model_type"),
        **fields,
        max_position_embeddings=WINDOW_TOKENS,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        rows = model.get_output_embeddings().weight
        kept = rows[list(words.values())].clone()
        rows *= _UNLIKELY
        rows[list(words.values())] = kept
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    one = tokenizer.apply_chat_template(
        [{"role": "user", "content": f" {next(iter(words))}"}],
        add_generation_prompt=True,
        return_dict=False,
    )
    facts = {"words": list(words), "turn_tokens": len(one) - 1}
    (Path(folder) / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    return {"parameters": sum(parameter.numel() for parameter in model.parameters())}


def _words(tokenizer: Any) -> dict[str, int]:
    """Tokens that are a word with the space before it, by the word."""
    found: dict[str, int] = {}
    for token, token_id in tokenizer.get_vocab().items():
        word = token.removeprefix("\u0120")  # how a byte-level vocabulary writes a space
        alone = tokenizer.encode(f" {word}", add_special_tokens=False)
        if word != token and word.isascii() and word.isalpha() and alone == [token_id]:
            found[word] = token_id
    return dict(sorted(found.items()))


def bandwidth(size_bytes: int, rounds: int) -> child.Json:
    """The bytes per second that this machine reads, at best, in float32.

    Args:
        size_bytes: of what is read; several times the processor's cache.
        rounds: how often it is read.

    Returns:
        `sum` and `matrix`: lists of bytes/s; `device`; `has_bf16`: whether torch knows bfloat16
        instructions on this processor.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sums, products = probe.bandwidth_samples(size_bytes, rounds, device)
    asks = [
        getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")
    ]
    return {
        "sum": sums,
        "matrix": products,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "has_bf16": any(ask() for ask in asks if ask is not None),
    }


if __name__ == "__main__":
    child.run({"write": write, "bandwidth": bandwidth})
