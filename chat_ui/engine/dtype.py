"""Whether a model answers faster on this CPU in float32 than in the 16 bits of its checkpoint.

CPUs without AVX512-BF16 or AMX emulate bfloat16: reading a prompt takes 2.4 to 2.8 times as long as
in float32, writing 5 to 15 % longer. With them, bfloat16 wins. So it is measured, on the model's
own weights.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.nn.functional import linear

# 256 MiB in float32: more than most caches hold, as in a real model, and still measured in a
# second.
_SAMPLE_PARAMETERS: Final = 64 * 2**20
# A turn weighs reading against writing: a prompt of 256 tokens, read 64 at a time, and 64 new ones.
_ROWS: Final = 64
_PREFILLS: Final = 4
_DECODES: Final = 64
_ROUNDS: Final = 3
_SECONDS: Final = 0.4


@torch.inference_mode()
def float32_speedup(model: Any) -> float:
    """How many times as fast a turn is in float32 as in the model's own dtype.

    Takes about a second, and memory for 64M parameters. Call it on a thread that ends.

    Returns:
        Seconds in its own dtype divided by seconds in float32; 1 where the model has no Linear.
    """
    own: list[torch.Tensor] = []
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            own.append(module.weight)
            if sum(weight.numel() for weight in own) > _SAMPLE_PARAMETERS:
                own = own[:-1] or own
                break
    if not own:
        return 1.0
    both = [own, [weight.float() for weight in own]]
    # On one core: threads that wait for each other on a busy machine measure the machine. It said
    # 0.3 and 14 of the same model when two other programs ran.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        prefills, decodes = _best_s(both, _ROWS), _best_s(both, 1)
    finally:
        torch.set_num_threads(threads)
    own_s, float32_s = (
        _PREFILLS * prefill + _DECODES * decode
        for prefill, decode in zip(prefills, decodes, strict=True)
    )
    return own_s / float32_s


def _best_s(candidates: Sequence[Sequence[torch.Tensor]], rows: int) -> list[float]:
    """Seconds that each candidate's products with `rows` rows take, at best.

    The fastest of many, in turns: whatever else the machine does makes one slower, never faster,
    and a first call also sets up its kernels.
    """
    states = [
        [torch.ones(rows, weight.shape[1], dtype=weight.dtype) for weight in weights]
        for weights in candidates
    ]
    best = [math.inf] * len(candidates)
    begin = time.perf_counter()
    rounds = 0
    while rounds < _ROUNDS or time.perf_counter() - begin < _SECONDS:
        for index, weights in enumerate(candidates):
            start = time.perf_counter()
            for weight, state in zip(weights, states[index], strict=True):
                linear(state, weight)
            best[index] = min(best[index], time.perf_counter() - start)
        rounds += 1
    return best
