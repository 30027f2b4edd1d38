"""A small model with random weights that stands in for the real ones, to be timed.

It is loaded, quantized, prepared and run as they are, with the same kernels, so that what is
measured of it is true of them; speed does not depend on what the weights are. It needs no file and
no network, and says nothing of any meaning. What follows from its times is `probe.py`'s business.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from chat_ui.chat.generation import GenerationConfig
from chat_ui.engine import paged
from chat_ui.engine.load_progress import weights_told
from chat_ui.engine.native.linears import NativeLinear, adopt, quantize
from chat_ui.engine.prepare import prepare
from chat_ui.engine.sampler import Sampler
from chat_ui.engine.sizing import CPU_PART_TOKENS, PAGE_TOKENS, CacheSize
from chat_ui.models.memory import DeviceKind
from chat_ui.models.progress import ignore
from chat_ui.models.quantization import QUANTIZATIONS, Precision, precision

_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Repeated for all weights: making that many random numbers would take longer than the timing.
_NUMBERS: Final = 2**18
# A part of a prompt, as it is read on a CPU.
PROMPT_TOKENS: Final = CPU_PART_TOKENS

_HEAD: Final = 64
_CHECKED_ROWS: Final = 16
_DIFFERENCE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Qwen 3, whose layers have the usual parts and a norm of queries and of keys.

    Heads have 64 numbers, and four of them share a key head.

    Attributes:
        width: of the hidden states.
        inner: of the feed-forward layers.
        layers: how many decoder layers.
        vocabulary: how many tokens.
    """

    width: int
    inner: int
    layers: int
    vocabulary: int


def build(name: str, shape: Shape, kind: DeviceKind, like: Any = None) -> Any:
    """A model in a precision, ready to run. Call it on a thread that ends.

    Args:
        name: "float32", "bfloat16", "float16", or one of `QUANTIZATIONS`.
        shape: how large.
        kind: where it runs.
        like: a model of the same precision, which was prepared already: the layers' Linears become
            as that one's are, which takes no timing. They alone can be run then.

    Raises:
        Exception: whatever the library raises where the precision does not work here.
    """
    dtype = dtype_of(name)
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.width // _HEAD,
        num_key_value_heads=max(1, shape.width // (4 * _HEAD)),
        head_dim=_HEAD,
        tie_word_embeddings=False,
        dtype=dtype,
    )
    asked: Precision = "full" if name in _DTYPES else precision(name)
    method = QUANTIZATIONS[asked]
    with weights_told(ignore, "reading"):
        model = Qwen3ForCausalLM.from_pretrained(
            None,
            config=config,
            state_dict=_random_weights(config, dtype),
            dtype=dtype,
            device_map="cuda:0" if kind == "cuda" else kind,
            quantization_config=method.config() if method.config else None,
        )
    if like is None:
        # What is asked for is measured: no other dtype, even where that is faster.
        prepare(model, asked, ignore, speedup=lambda model: 1.0)
    else:
        _change_like(model, layer_linears(like)[0])
    return model


def dtype_of(name: str) -> torch.dtype:
    """Of what is not quantized in a precision."""
    return _DTYPES.get(name, torch.bfloat16)


def layer_linears(model: Any) -> list[Any]:
    """The Linears of the first decoder layer, of whatever class they are by now."""
    return [m for m in model.model.layers[0].modules() if hasattr(m, "in_features")]


def check(model: Any) -> None:
    """Raises ArithmeticError where a Linear does not compute what its weight says.

    Rounding to 4 bits makes a tenth of difference; a kernel that does not fit the machine, all.
    """
    linear = layer_linears(model)[0]
    dtype = model.dtype
    size = torch.Size((linear.out_features, linear.in_features))
    weight = _filled(size, dtype).float()
    for rows in (1, _CHECKED_ROWS):
        numbers = torch.Generator().manual_seed(rows)
        states = torch.randn(rows, linear.in_features, generator=numbers).to(dtype)
        wanted = states.float() @ weight.T
        with torch.inference_mode():
            got = linear(states.to(model.device)).float().cpu()
        # Written so that NaN is a difference, too.
        if not (got - wanted).norm() < _DIFFERENCE * wanted.norm():
            raise ArithmeticError("a Linear computes something else than its weight says")


def keep_layers(model: Any, count: int) -> None:
    """Take the last layers off a model, so that it has this many."""
    model.model.layers = model.model.layers[:count]
    model.config.num_hidden_layers = count
    model.config.layer_types = model.config.layer_types[:count]


def answer_s(model: Any, tokens: int, rest: Any = None) -> list[float]:
    """Seconds that each step of an answer takes; the first of them reads 256 tokens of prompt.

    Call it on a thread that ends.

    Args:
        model: made by `build`.
        tokens: of the answer, at least one.
        rest: called before each step, and not timed.

    Raises:
        Exception: what ended the batching loop.
    """
    return _Answer(model, tokens, rest or (lambda: None)).run()


class _Answer:
    """One greedy answer in the batching loop, step by step."""

    def __init__(self, model: Any, tokens: int, rest: Any) -> None:
        numbers = torch.Generator().manual_seed(0)
        vocabulary = model.config.vocab_size
        self._prompt = torch.randint(vocabulary, (PROMPT_TOKENS,), generator=numbers).tolist()
        self._sampler = Sampler(GenerationConfig(temperature=0.0, seed=0), self._prompt)
        self._tokens = tokens
        self._rest = rest
        self._times: list[float] = []
        self._started: float | None = None
        self._model = model
        pages = -(-(PROMPT_TOKENS + tokens + 1) // PAGE_TOKENS) + 1
        self._size = CacheSize(pages * PAGE_TOKENS, pages, PROMPT_TOKENS)

    def run(self) -> list[float]:
        with paged.attention_kept(self._model):
            self._loop = paged.Loop(
                self._model,
                self._size,
                begin=lambda request_id, reused: None,
                choose=lambda request_id, scores: self._sampler(scores),
                deliver=lambda output: None,
                before_step=self._before_step,
                drafts=_no_drafts,
            )
            error = self._loop.serve()
        if error is not None:
            raise error
        return self._times

    def _before_step(self) -> bool:
        if self._started is None:
            self._loop.submit("answer", self._prompt, self._tokens + 1)
        else:
            self._times.append(time.perf_counter() - self._started)
        self._rest()
        self._started = time.perf_counter()
        return len(self._times) < self._tokens


@contextmanager
def _no_drafts(request_id: str, room_tokens: int) -> Iterator[Sequence[int]]:
    yield ()


def _change_like(model: Any, one: Any) -> None:
    if isinstance(one, NativeLinear):
        for linear in layer_linears(model):
            (adopt if one.scale is None else quantize)(linear, widened=one.widened)


def _random_weights(config: Qwen3Config, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        sizes = {name: w.shape for name, w in Qwen3ForCausalLM(config).state_dict().items()}
    return {name: _filled(size, dtype) for name, size in sizes.items()}


def _filled(size: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    if len(size) == 1:  # a norm's: with tiny ones a layer would add nothing to compare
        return torch.ones(size, dtype=dtype)
    # Spread so that what goes in and what comes out are of one size, as in a trained model.
    numbers = torch.randn(_NUMBERS, generator=torch.Generator().manual_seed(0)) / size[1] ** 0.5
    numbers = numbers.to(dtype)
    flat = torch.empty(size.numel(), dtype=dtype)
    for start in range(0, flat.numel(), _NUMBERS):
        part = flat[start : start + _NUMBERS]
        part.copy_(numbers[: part.numel()])
    return flat.view(size)
