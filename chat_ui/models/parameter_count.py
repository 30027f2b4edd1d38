"""A model's parameters one by one: which of them a token needs, and which bitsandbytes replaces.

Modules are told apart as the library does it: bitsandbytes gets plain Linears that are not the
head, and a mixture's experts are tensors of their own, which it leaves alone. Sums are made in
`models/architecture.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

# By what names configs say how many experts there are, and how many of them a token chooses.
_EXPERTS: Final = (
    "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts",
)  # fmt: skip
_CHOSEN: Final = (
    "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts",
    "moe_top_k", "moe_topk", "moe_k",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the model; one that several modules share is there once.

    Attributes:
        numbers: in it.
        active_numbers: those that one token needs.
        rows: outputs, of a Linear's weight; else 0.
        is_quantizable: bitsandbytes replaces it.
        is_read: for each token, unlike embeddings and what sees pictures. A head that is the input
            embeddings counts as these.
    """

    numbers: int
    active_numbers: int
    rows: int
    is_quantizable: bool
    is_read: bool


def parameters(model: Any) -> Iterator[Parameter]:
    """All parameters of a transformers model, on any device.

    Source: transformers 5.23, `integrations.bitsandbytes.replace_with_bnb_linear`.
    """
    from torch.nn import Embedding

    share = _Share(model.config.get_text_config(decoder=True))
    replaced = {id(module) for _, module in _linears(model, is_replaced=True)}
    head = model.get_output_embeddings()
    read = {id(module) for module in (*model.get_decoder().modules(), head)}
    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            is_quantizable = id(module) in replaced and name == "weight"
            yield Parameter(
                numbers=parameter.numel(),
                active_numbers=share.active_numbers(path, module, parameter),
                rows=_outputs(module) if is_quantizable else 0,
                is_quantizable=is_quantizable,
                is_read=id(module) in read and not isinstance(module, Embedding),
            )


def left_linear_parameters(model: Any) -> int:
    """Weights of the plain Linears that bitsandbytes leaves alone: the head and hardly more."""
    return sum(module.weight.numel() for _, module in _linears(model, is_replaced=False))


def _linears(model: Any, *, is_replaced: bool) -> Iterator[tuple[str, Any]]:
    """The Linears that bitsandbytes replaces, or those that it leaves alone, with their paths."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import HfQuantizer
    from transformers.quantizers.quantizers_utils import should_convert_module

    left = HfQuantizer.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)
    for path, module in model.named_modules():
        is_linear = type(module) is Linear or (is_replaced and isinstance(module, Conv1D))
        if is_linear and should_convert_module(path, left) == is_replaced:
            yield path, module


def _outputs(linear: Any) -> int:
    from transformers.pytorch_utils import Conv1D

    return int(linear.nf if isinstance(linear, Conv1D) else linear.out_features)


class _Share:
    """Which part of a parameter one token needs.

    Args:
        text_config: transformers' config of the part that writes text.
    """

    def __init__(self, text_config: Any) -> None:
        self._experts = _number(text_config, _EXPERTS)
        self._chosen = min(_number(text_config, _CHOSEN) or self._experts, self._experts)

    def active_numbers(self, path: str, module: Any, parameter: Any) -> int:
        """All of it, or that of the experts that a token chooses."""
        numbers: int = parameter.numel()
        if self._experts > 0 and self._is_experts(path, module, parameter):
            return numbers * self._chosen // self._experts
        return numbers

    def _is_experts(self, path: str, module: Any, parameter: Any) -> bool:
        """Whether it is one expert's, or all experts' in one tensor.

        In transformers 5.23 it is the latter everywhere, in modules named `...Experts`. Experts
        that every token goes through are ordinary layers, or say that they are shared.
        """
        parts = path.split(".")
        if any("shared" in part for part in parts):
            return False
        is_fused = type(module).__name__.endswith("Experts") and parameter.dim() > 1
        return "experts" in parts or (is_fused and parameter.shape[0] % self._experts == 0)


def _number(text_config: Any, names: tuple[str, ...]) -> int:
    """The first of these fields that is there, the largest of one for each layer; else 0."""
    for holder in (text_config, getattr(text_config, "ffn_config", None)):  # DBRX has the latter
        for name in names:
            value = getattr(holder, name, None)
            values = value if isinstance(value, list) else [value]
            counts = [count for count in values if type(count) is int and count > 0]
            if counts:
                return max(counts)
    return 0
