"""Decoder layers of the usual kind (Llama, Qwen, Mistral, SmolLM, ...) as one call for a few rows.

A layer of 135M parameters makes some fifty small operations besides its seven products; on a CPU
starting them takes longer than reading the weights. Only the batching loop's decoding steps come
here, with their paged cache; anything else (prompts, plain caches, sliding windows) goes the
layer's own way.

Which layers are of the usual kind is found out by their parts and then by comparing what they
compute (`agrees`), never by a list of names.
"""

import ctypes
import weakref
from collections.abc import Callable
from typing import Any, Final

import torch

from chat_ui.engine.native.compiled import MAX_ROWS, TYPES, Layer, Step, kernels
from chat_ui.engine.native.linears import NativeLinear

# Rows of the comparison, and what may differ: the error's spread as a share of the values' own.
# Measured in float32 and bfloat16: 3e-7 and 0.003.
_PROBE_ROWS: Final = 4
_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 0.02}

_ATTENTION: Final = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP: Final = ("gate_proj", "up_proj", "down_proj")
_NORMS: Final = ("input_layernorm", "post_attention_layernorm")


class StepInputs:
    """What all layers of one step share, made by the first of them."""

    def __init__(self) -> None:
        self.scratch = torch.empty(0)
        self._positions: Any = None
        self._cache: Any = lambda: None
        self._views: dict[int, tuple[int, int]] = {}
        self._kept: list[torch.Tensor] = []
        self._struct = Step()

    def struct(self, layer: "DecoderLayer", positions: Any, kwargs: dict[str, Any]) -> Step | None:
        """The step, or None where a layer has to go its own way."""
        if self._positions is not positions[0]:
            self._positions = positions[0]
            self._prepare(layer, positions, kwargs)
        return self._struct if self._kept else None

    def views(self, layer: int, cache: Any) -> tuple[int, int]:
        """Where the keys and values of a layer begin in the cache."""
        if self._cache() is not cache:
            self._cache, self._views = weakref.ref(cache), {}
        if layer not in self._views:
            keys, values = cache.layer_to_allocator[layer]._kv_token_views[layer]
            self._views[layer] = keys.data_ptr(), values.data_ptr()
        return self._views[layer]

    def _prepare(self, layer: "DecoderLayer", positions: Any, kwargs: dict[str, Any]) -> None:
        self._kept = []
        cosine, sine = positions
        rows, threads = cosine.shape[1], torch.get_num_threads()
        allocators = list(kwargs["cache"].cache_allocators.values())
        is_plain = len(allocators) == 1 and allocators[0].layer_type == "full_attention"
        if not is_plain or cosine.shape[0] != 1 or cosine.shape[2] != layer.struct.head_size:
            return
        write, read = kwargs["write_index"][0], kwargs["read_index"][0]
        queries = kwargs["cu_seq_lens_q"].tolist()
        keys = kwargs["cu_seq_lens_k"]["full_attention"].tolist()
        begins: list[int] = []
        lengths: list[int] = []
        for row in range(len(queries) - 1):
            new, total = queries[row + 1] - queries[row], keys[row + 1] - keys[row]
            begins += [keys[row]] * new
            lengths += range(total - new + 1, total + 1)
        if len(lengths) != rows:
            return
        floats = kernels().scratch_floats(ctypes.addressof(layer.struct), rows, threads)
        if self.scratch.numel() < floats:
            self.scratch = torch.empty(floats, dtype=torch.float32)
        self._kept = [
            cosine[0].float().contiguous(),
            sine[0].float().contiguous(),
            write.contiguous(),
            # Without anything in the cache before, the new tokens are all there is.
            read.contiguous() if read.numel() else write.contiguous(),
            torch.tensor(begins),
            torch.tensor(lengths),
        ]
        self._struct = Step(
            rows, *(tensor.data_ptr() for tensor in self._kept), threads, self.scratch.data_ptr()
        )


class DecoderLayer:
    """A decoder layer's forward, for few rows of the batching loop.

    Args:
        layer: a module of the usual kind (`is_usual`), whose Linears are NativeLinears.
        inputs: shared by all layers of a model.
    """

    def __init__(self, layer: Any, inputs: StepInputs) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.own: Callable[..., torch.Tensor] = layer.forward
        self.index: int = attention.layer_idx
        self._inputs = inputs
        before, between = layer.input_layernorm, layer.post_attention_layernorm
        norms = [before, between, *(getattr(attention, n, None) for n in ("q_norm", "k_norm"))]
        self._norms = [None if norm is None else norm.weight.data.float() for norm in norms]
        self._dtype = before.weight.dtype
        self.struct = Layer(
            *(getattr(attention, name).kernel for name in _ATTENTION),
            *(getattr(mlp, name).kernel for name in _MLP),
            *(None if norm is None else norm.data_ptr() for norm in self._norms),
            before.weight.shape[0],
            attention.q_proj.out_features // attention.head_dim,
            attention.k_proj.out_features // attention.head_dim,
            attention.head_dim,
            _epsilon(before),
            attention.scaling,
            TYPES[self._dtype],
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """What has to be the same in all layers, for they share a step and its memory."""
        one = self.struct
        return one.hidden, one.heads, one.key_heads, one.head_size, one.gate.outputs

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """(1, rows, hidden) to the same."""
        rows = hidden_states.shape[-2]
        cache, positions = kwargs.get("cache"), kwargs.get("position_embeddings")
        if cache is None or positions is None or rows > MAX_ROWS:
            return self.own(hidden_states, **kwargs)
        step = self._inputs.struct(self, positions, kwargs)
        if step is None or hidden_states.dtype != self._dtype:
            return self.own(hidden_states, **kwargs)
        return self.run(hidden_states, step, *self._inputs.views(self.index, cache))

    def run(self, hidden: torch.Tensor, step: Step, keys: int, values: int) -> torch.Tensor:
        """One call of the kernel."""
        hidden = hidden.contiguous()
        output = torch.empty_like(hidden)
        kernels().decoder_layer(
            ctypes.addressof(self.struct),
            ctypes.addressof(step),
            hidden.data_ptr(),
            output.data_ptr(),
            keys,
            values,
        )
        return output

    def agrees(self, rotary: Any) -> bool:
        """Whether it computes what the layer itself does, on a few random rows without a past.

        Args:
            rotary: the model's rotary embedding.
        """
        size = self.struct
        numbers = torch.Generator().manual_seed(self.index)
        hidden = torch.randn(1, _PROBE_ROWS, size.hidden, generator=numbers).to(self._dtype)
        # Far apart, so that a layer without positions is found out.
        positions = torch.tensor([[3, 40, 501, 1207]])
        cosine, sine = rotary(hidden, positions)
        if cosine.shape[-1] != size.head_size:
            return False
        mask = torch.full((_PROBE_ROWS, _PROBE_ROWS), -torch.inf, dtype=self._dtype).triu(1)
        wanted = self.own(
            hidden,
            attention_mask=mask[None, None],
            position_ids=positions,
            position_embeddings=(cosine, sine),
        ).float()
        rows = torch.arange(_PROBE_ROWS)
        kept = [cosine[0].float().contiguous(), sine[0].float().contiguous(), rows, rows]
        kept += [torch.zeros_like(rows), rows + 1]
        threads = torch.get_num_threads()
        scratch = torch.empty(
            kernels().scratch_floats(ctypes.addressof(size), _PROBE_ROWS, threads)
        )
        cache = torch.empty(2, _PROBE_ROWS, size.key_heads, size.head_size, dtype=self._dtype)
        step = Step(_PROBE_ROWS, *(t.data_ptr() for t in kept), threads, scratch.data_ptr())
        got = self.run(hidden, step, cache[0].data_ptr(), cache[1].data_ptr()).float()
        # What the layer adds, not what it is given: that would hide a difference.
        error = (got - wanted).std() / (wanted - hidden.float()).std()
        return bool(error < _TOLERANCE[self._dtype])


def is_usual(layer: Any) -> bool:
    """Whether a module has the parts of a usual decoder layer, in shapes that fit together."""
    attention, mlp = getattr(layer, "self_attn", None), getattr(layer, "mlp", None)
    linears = [getattr(attention, name, None) for name in _ATTENTION]
    linears += [getattr(mlp, name, None) for name in _MLP]
    norms: list[Any] = [getattr(layer, n, None) for n in _NORMS]
    sizes = [getattr(attention, name, None) for name in ("head_dim", "scaling", "layer_idx")]
    return (
        all(isinstance(linear, NativeLinear) for linear in linears)
        and all(_epsilon(norm) is not None and norm.weight.dtype in _TOLERANCE for norm in norms)
        and None not in sizes
        and _fits(linears, norms, attention)
    )


def _fits(linears: list[Any], norms: list[Any], attention: Any) -> bool:
    """Whether the kernel, which checks nothing, stays within these weights."""
    query, key, value, output, gate, up, down = ((m.in_features, m.out_features) for m in linears)
    hidden, size = query[0], attention.head_dim
    own = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
    return (
        key == value
        and output == (query[1], hidden)
        and gate == up == (hidden, down[0])
        and down[1] == key[0] == hidden
        and size > 0
        and query[1] % size == key[1] % size == 0
        and query[1] % key[1] == 0
        and all(norm.weight.shape == (hidden,) for norm in norms)
        and all(norm is None or norm.weight.shape == (size,) for norm in own)
    )


def _epsilon(norm: Any) -> float | None:
    found = getattr(norm, "variance_epsilon", None)
    return float(found) if isinstance(found, float) else None
