"""Lets a model begin with heads that copy, instead of waiting for them to form.

To say a name back, a model looks for where the words that it has just written stood before, and
writes what came next there. That takes two layers: in the first each token notes which one came
before it, in the second a head compares the present token with those notes ("induction heads",
Olsson et al. 2022, arXiv:2209.11895). Training finds both at once or neither, and from as few
tokens as ours it found neither. As first weights they cost nothing: all of them go on learning.
"""

import math
import random
from collections.abc import Iterator

import torch
from transformers import LlamaForCausalLM

# How much each part stands out at first, found by trying.
_COMMON = 0.02
_LOOK_BACK = 24.0
_LOOK_BACK_PAIRS = 8
_NOTE = 0.05
_COMPARE = 2.0
_COPY = 0.2

_LENGTHS = (16, 16, 16, 64, 192)


def _projection(rows: int, without: torch.Tensor) -> torch.Tensor:
    """Draws orthonormal rows, each at right angles to a direction."""
    drawn = torch.randn(rows, len(without))
    drawn -= torch.outer(drawn @ without, without) / without.dot(without)
    columns: torch.Tensor = torch.linalg.qr(drawn.T)[0]
    return columns.T


@torch.no_grad()
def add_copying_heads(model: LlamaForCausalLM) -> None:
    """Sets weights of the first two layers of an untrained model.

    Args:
        model: Has rotary positions, two layers or more, and tied embeddings. Random numbers come
            from the generator of torch.
    """
    config = model.config
    width, size = config.hidden_size, config.head_dim
    groups = config.num_key_value_heads
    each = config.num_attention_heads // groups
    # The same direction in all tokens: what a head compares that looks at positions alone.
    common = torch.randn(width).sign()
    model.model.embed_tokens.weight += _COMMON * common
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    for layer in model.model.layers:
        # What the layers add at random must not drown the tokens themselves.
        layer.self_attn.o_proj.weight /= math.sqrt(2 * config.num_hidden_layers)
        layer.mlp.down_proj.weight /= math.sqrt(2 * config.num_hidden_layers)
    token, note = _projection(size, common), _projection(size, common)

    # One group of the first layer looks one token back: the query is turned by as much as the
    # rotary positions turn a key on the way there.
    angles = config.rope_parameters["rope_theta"] ** -(2 * torch.arange(_LOOK_BACK_PAIRS) / size)
    # After the norm this is how much of a token lies in the common direction.
    shared = width / math.sqrt(2)
    scaled = common * math.sqrt(_LOOK_BACK * math.sqrt(size) / _LOOK_BACK_PAIRS) / shared
    key, query = torch.zeros(size, width), torch.zeros(size, width)
    key[:_LOOK_BACK_PAIRS] = scaled
    query[:_LOOK_BACK_PAIRS] = torch.outer(angles.cos(), scaled)
    query[size // 2 : size // 2 + _LOOK_BACK_PAIRS] = torch.outer(-angles.sin(), scaled)
    first.k_proj.weight.view(groups, size, width)[0] = key
    first.q_proj.weight.view(groups, each, size, width)[0] = query
    first.v_proj.weight.view(groups, size, width)[0] = token
    first.o_proj.weight.view(width, groups, each, size)[:, 0] = (_NOTE / each * note.T)[:, None]

    # The second layer compares tokens with these notes, and copies what it finds.
    for group in range(groups):
        copied = _projection(size, common)
        second.k_proj.weight.view(groups, size, width)[group] = _COMPARE * note
        second.q_proj.weight.view(groups, each, size, width)[group] = _COMPARE * token
        second.v_proj.weight.view(groups, size, width)[group] = copied
        output = second.o_proj.weight.view(width, groups, each, size)
        output[:, group] = (_COPY / each * copied.T)[:, None]


def repeats(rng: random.Random, vocabulary: range, tokens: int) -> Iterator[list[int]]:
    """Yields sequences of random tokens that begin anew again and again, without end.

    How many tokens lie between a token and its copy differs, or positions would tell the answer.

    Args:
        rng: Source of randomness.
        vocabulary: Numbers of the tokens to draw from.
        tokens: Length of the longest.

    Yields:
        Numbers of tokens. The first copy is whole before the middle.
    """
    while True:
        length = min(tokens, 2 * rng.choice(_LENGTHS))
        drawn = rng.choices(vocabulary, k=rng.randint(length // 8, length // 2 - 1))
        yield (drawn * (length // len(drawn) + 1))[:length]
