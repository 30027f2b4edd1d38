"""Linear layers whose products with few rows are ours, and those with many torch's."""

import ctypes
from typing import Any, Final

import torch
from torch.nn.functional import linear

from chat_ui.engine.native.compiled import MAX_ROWS, TYPES, Matrix, kernels, matrix

# int8 keeps as many steps below zero as above.
_STEPS: Final = 127


class NativeLinear(torch.nn.Linear):
    """An `nn.Linear` on a CPU, changed in place: its weight stays where it is.

    Made by `adopt` and `quantize`, never by its constructor.

    Attributes:
        kernel: its weight, as the kernels take it.
        scale: of an int8 weight, float32 (outputs,); None otherwise.
        widened: many rows are multiplied in float32, which is faster on a CPU that has no bfloat16.
    """

    kernel: Matrix
    scale: torch.Tensor | None
    widened: bool

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., outputs)."""
        rows = input.numel() // self.in_features
        fits = 0 < rows <= MAX_ROWS and input.shape[-1] == self.in_features
        if fits and input.dtype in TYPES and not torch.is_grad_enabled():
            return self._few(input, rows)
        if self.scale is None and not self.widened:
            return linear(input, self.weight, self.bias)
        wide = torch.float32 if self.widened else input.dtype
        # int8 is exact in any dtype; the scale would not be, so it comes after the product.
        output = linear(input.to(wide), self.weight.to(wide))
        if self.scale is not None:
            output = output * self.scale
        if self.bias is not None:
            output = output + self.bias
        return output.to(input.dtype)

    def _few(self, input: torch.Tensor, rows: int) -> torch.Tensor:
        found = kernels()
        if found is None:  # only of an int8 weight
            return self._few_by_torch(input)
        input = input.contiguous()
        output = input.new_empty(*input.shape[:-1], self.out_features)
        scratch = torch.empty(rows * (self.in_features + self.out_features), dtype=torch.float32)
        found.linear(
            ctypes.addressof(self.kernel),
            input.data_ptr(),
            output.data_ptr(),
            TYPES[input.dtype],
            rows,
            torch.get_num_threads(),
            scratch.data_ptr(),
        )
        return output

    def _few_by_torch(self, input: torch.Tensor) -> torch.Tensor:
        assert self.scale is not None  # noqa: S101  for mypy
        flat = input.reshape(-1, self.in_features).to(torch.bfloat16)
        output = torch._weight_int8pack_mm(flat, self.weight, self.scale.to(torch.bfloat16))
        output = output.to(input.dtype).view(*input.shape[:-1], self.out_features)
        return output if self.bias is None else output + self.bias


def is_adoptable(module: Any) -> bool:
    """Whether a module is a plain Linear that the kernels can take."""
    return (
        type(module) is torch.nn.Linear
        and module.weight.device.type == "cpu"
        and module.weight.dtype in TYPES
        and module.weight.is_contiguous()
    )


def adopt(module: torch.nn.Linear, *, widened: bool) -> NativeLinear:
    """Change a Linear into a NativeLinear, in place; it computes the same."""
    return _change(module, None, widened)


def quantize(module: torch.nn.Linear, *, widened: bool) -> NativeLinear:
    """Change a Linear into a NativeLinear with an int8 weight, in place.

    Weight only, one scale for each output row: activations keep their dtype, so what one reader
    asks changes nothing for another.
    """
    weight = module.weight.data.float()
    scale = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / _STEPS
    rounded = (weight / scale[:, None]).round_().to(torch.int8)
    module.weight = torch.nn.Parameter(rounded, requires_grad=False)
    return _change(module, scale, widened)


def restore(module: NativeLinear) -> torch.nn.Linear:
    """The plain Linear again, for one that was adopted."""
    for name in ("kernel", "scale", "widened", "_bias32"):
        module.__dict__.pop(name, None)
    plain: torch.nn.Linear = module
    plain.__class__ = torch.nn.Linear
    return plain


def _change(module: torch.nn.Linear, scale: torch.Tensor | None, widened: bool) -> NativeLinear:
    bias = None if module.bias is None else module.bias.data.float().contiguous()
    module.__class__ = NativeLinear
    # Not buffers: the state of the module stays what its files say.
    module.__dict__.update(
        kernel=matrix(module.weight.data, scale, bias), scale=scale, widened=widened, _bias32=bias
    )
    assert isinstance(module, NativeLinear)  # noqa: S101  for mypy
    return module
