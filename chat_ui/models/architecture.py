"""What a model is made of, counted from its config alone: parameters, precisions, cache.

The model is built on the meta device, where tensors have shapes and no memory, so the numbers are
exact for every architecture that transformers knows. No weights are read and nothing is fetched.
Which layers a precision reaches is asked of the library, and what a conversation keeps is seen by
reading a few tokens, shapes only.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from chat_ui.errors import BadCheckpointError
from chat_ui.models import meta_model
from chat_ui.models.parameter_count import left_linear_parameters, parameters
from chat_ui.models.quantization import QUANTIZATIONS, QuantizedCheckpoint, quantized_as

log = logging.getLogger(__name__)

# Where a config has no limit, as with state-space models.
DEFAULT_WINDOW_TOKENS: Final = 4096
_WINDOW_FIELDS: Final = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")

# Mistral and Qwen publish active parameters with the input embeddings, of which a token reads one
# row; OpenAI and DeepSeek without.
# Sources: gpt-oss model card (2025), table 1; DeepSeek V3, README_WEIGHTS.md.
_COUNTED_WITHOUT_EMBEDDINGS: Final = frozenset({"deepseek_v3", "gpt_oss"})

# Numbers that share a scale, where a config doesn't tell.
_USUAL_GROUP: Final = 128
# Read to see what is kept.
_SAMPLE_TOKENS: Final = 3
_CACHE_NAMES: Final = ("past_key_values", "cache_params", "state")


@dataclass(frozen=True, slots=True)
class CacheLayers:
    """Layers that keep the same for each token of a conversation.

    Attributes:
        count: how many such layers there are.
        numbers_per_token: numbers (not bytes) that one layer keeps for a token; 0 for a state.
        window_tokens: the most tokens one keeps; None for all of them.
        state_numbers: numbers that one keeps however long the conversation is.
    """

    count: int
    numbers_per_token: int
    window_tokens: int | None = None
    state_numbers: int = 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a config says of a model.

    Attributes:
        model_type: its name in transformers, such as "llama".
        dtype: of the checkpoint, such as "bfloat16".
        total_parameters: of the whole model, tied ones once, with the few numbers beside them that
            its files hold too.
        active_parameters: those that one token needs: all but the experts that it does not choose.
            With the input embeddings or without, as its publisher counts.
        quantizable_parameters: in Linears that bitsandbytes replaces; the head is none of them. Of
            a checkpoint that is quantized already: those that are.
        quantizable_modules: how many such Linears there are.
        quantizable_rows: their outputs in all; int8 has one scale for each.
        active_quantizable_parameters: those of them that one token needs.
        active_left_parameters: others that are read for each token, such as the head, norms, and
            chosen experts that are not Linears. Not the embeddings, of which one row is read.
        layers: decoder layers.
        vocabulary: scores that the head computes for each token.
        cache: what a conversation keeps.
        window_tokens: the context window.
        is_mixture: a mixture of experts.
        quantized_as: the method of a checkpoint that is quantized already, such as "gptq"; or "".
        quantized_bits: that a quantized number takes once it is loaded, scales included; 0 where
            none is quantized, or loading makes 16 bits of it.
        left_linear_parameters: in Linears that bitsandbytes leaves alone and our own int8 does not:
            hardly more than the head.
        is_tied: the head is the input embeddings. In our own int8 both are kept.
        buffer_bytes: of what is computed when the model is built, such as masks.
    """

    model_type: str
    dtype: str
    total_parameters: int
    active_parameters: int
    quantizable_parameters: int
    quantizable_modules: int
    quantizable_rows: int
    active_quantizable_parameters: int
    active_left_parameters: int
    layers: int
    vocabulary: int
    cache: tuple[CacheLayers, ...]
    window_tokens: int
    is_mixture: bool = False
    quantized_as: str = ""
    quantized_bits: float = 0.0
    left_linear_parameters: int = 0
    is_tied: bool = False
    buffer_bytes: int = 0


def walk(config: Mapping[str, Any]) -> Architecture:
    """Count what a config.json describes.

    Takes 0.1 to 0.6 s, and 2 s more for the first of an architecture. Call it on a thread that
    ends: it calls torch.

    Args:
        config: the parsed file; it is not changed.

    Raises:
        ModelError: the installed transformers doesn't know the architecture, or not as one that
            writes text.
        BadCheckpointError: the config makes no model.
    """
    model = meta_model.build(config)
    try:
        return _count(model, config)
    except Exception as error:
        raise BadCheckpointError(
            "The config.json makes no model that can be counted.", "Choose another model."
        ) from error


def window_tokens(text_config: Any, *others: object) -> int:
    """The context window: the smallest of the limits that make sense.

    Args:
        text_config: transformers' config of the part that writes text.
        *others: further limits, such as the tokenizer's. One without a limit says 10**30, and one
            below 128 tokens is no chat model's.
    """
    limits = [*(getattr(text_config, name, None) for name in _WINDOW_FIELDS), *others]
    sane = [limit for limit in limits if isinstance(limit, int) and 128 <= limit <= 10**8]
    return min(sane, default=DEFAULT_WINDOW_TOKENS)


def _count(model: Any, config: Mapping[str, Any]) -> Architecture:
    text_config = model.config.get_text_config(decoder=True)
    found = list(parameters(model))
    read = [each for each in found if each.is_read]
    saved = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    total = sum(tensor.numel() for tensor in saved.values())
    active = total - sum(each.numbers - each.active_numbers for each in found)
    active_quantizable = sum(each.active_numbers for each in read if each.is_quantizable)
    active_left = sum(each.active_numbers for each in read) - active_quantizable
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    is_tied = head is embeddings
    if is_tied:
        active_left += head.numel()
    elif model.config.model_type in _COUNTED_WITHOUT_EMBEDDINGS:
        active -= embeddings.numel()
    buffers = {id(buffer): buffer for buffer in model.buffers() if id(buffer) not in saved}
    quantized = quantized_as(config)
    return Architecture(
        model_type=model.config.model_type,
        dtype=_dtype(model.config, text_config, quantized),
        total_parameters=total,
        active_parameters=active,
        quantizable_parameters=sum(each.numbers for each in found if each.is_quantizable),
        quantizable_modules=sum(each.is_quantizable for each in found),
        quantizable_rows=sum(each.rows for each in found),
        active_quantizable_parameters=active_quantizable,
        active_left_parameters=active_left,
        layers=getattr(text_config, "num_hidden_layers", 1),
        vocabulary=head.shape[0],
        cache=_cache(model),
        window_tokens=window_tokens(text_config),
        is_mixture=any(each.active_numbers < each.numbers for each in found),
        quantized_as=quantized.method if quantized else "",
        quantized_bits=_stored_bits(config, quantized) if quantized else 0.0,
        left_linear_parameters=left_linear_parameters(model),
        is_tied=is_tied,
        buffer_bytes=sum(buffer.nbytes for buffer in buffers.values()),
    )


def _dtype(config: Any, text_config: Any, quantized: QuantizedCheckpoint | None) -> str:
    """The checkpoint's. Where the config doesn't tell, it is older: float32, or quantized."""
    named = config.dtype or text_config.dtype or ("bfloat16" if quantized else "float32")
    return str(named).removeprefix("torch.")


def _stored_bits(config: Mapping[str, Any], quantized: QuantizedCheckpoint) -> float:
    """Bits that a number takes in memory, with its part of the scales; 0 where that is not known,
    or loading makes 16 of them.
    """
    if quantized.bits is None or quantized.is_dequantized:
        return 0.0
    if quantized.method == "bitsandbytes":
        return 8 * (QUANTIZATIONS["4bit"].bytes_per_parameter or 1) if quantized.bits == 4 else 8.0
    # A 16-bit scale and a zero point for each group. Source: Frantar et al., GPTQ (2022).
    stored = config.get("quantization_config")
    named = stored.get("group_size") if isinstance(stored, Mapping) else None
    group = named if isinstance(named, int) and named > 0 else _USUAL_GROUP
    return quantized.bits + (16 + quantized.bits) / group


def _cache(model: Any) -> tuple[CacheLayers, ...]:
    """What a conversation keeps: seen in the library's own cache after some tokens, shapes only."""
    import torch

    ids = torch.zeros(1, _SAMPLE_TOKENS, dtype=torch.long, device="meta")
    try:
        with torch.no_grad(), torch.device("meta"):
            output = model.get_decoder()(input_ids=ids, use_cache=True)
        found = (getattr(output, name, None) for name in _CACHE_NAMES)
        cache = next(cache for cache in found if cache is not None)
        layers = [_cache_layer(layer) for layer in cache.layers]
    except Exception as error:  # such as a branch on a number, which the meta device has not
        log.info("The cache of %s is taken for the usual one: %s", model.config.model_type, error)
        layers = _usual_cache_layers(model.config.get_text_config(decoder=True))
    return tuple(
        replace(layer, count=count)
        for layer, count in Counter(layers).items()
        if layer.numbers_per_token or layer.state_numbers
    )


def _cache_layer(layer: Any) -> CacheLayers:
    """One layer of the library's cache, with some tokens in it; tensors end in (tokens, width)."""
    kept = [getattr(layer, name, None) for name in ("keys", "values", "indexer_keys")]
    states = [
        state
        for name in ("conv_states", "recurrent_states")
        for state in getattr(layer, name, {}).values()
    ]
    return CacheLayers(
        count=1,
        numbers_per_token=sum(t.numel() // t.shape[-2] for t in kept if t is not None),
        window_tokens=getattr(layer, "sliding_window", None),
        state_numbers=sum(state.numel() for state in states if state is not None),
    )


def _usual_cache_layers(text_config: Any) -> list[CacheLayers]:
    """Keys and values of each head, in each layer that the library gives them to."""
    from transformers.cache_utils import DynamicCache, DynamicLayer
    from transformers.configuration_utils import get_head_shapes

    try:
        layers = DynamicCache(config=text_config).layers
        shapes = [
            each if isinstance(each, list) else [each] * len(layers)
            for each in get_head_shapes(text_config)
        ]
    except Exception:  # no attention: nothing grows
        return []
    return [
        CacheLayers(1, 2 * heads * width, getattr(layer, "sliding_window", None))
        for layer, heads, width in zip(layers, *shapes, strict=True)
        if isinstance(layer, DynamicLayer)
    ]
