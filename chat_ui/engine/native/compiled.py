"""Compiles `kernels.c` with the machine's own compiler, and mirrors its structs.

Nothing is kept on disk: compiling takes half a second, and a file that waits in a cache could be
replaced. A machine without a compiler has no library, and models run on torch's kernels alone.
"""

import ctypes
import functools
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import torch

log = logging.getLogger(__name__)

SOURCE: Final = Path(__file__).with_name("kernels.c")
COMPILERS: Final = ("cc", "gcc", "clang")
FLAGS: Final = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-lm")
COMPILE_DEADLINE_S: Final = 60.0

# As in kernels.c. More rows than this are torch's: a matrix product reads each weight once for all
# of them, too.
MAX_ROWS: Final = 8
TYPES: Final = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}

_POINTER: Final = ctypes.c_void_p
_SIZE: Final = ctypes.c_int64


class Matrix(ctypes.Structure):
    """A Linear's weight; see kernels.c."""

    _fields_ = (
        ("weight", _POINTER), ("scale", _POINTER), ("bias", _POINTER),
        ("outputs", _SIZE), ("inputs", _SIZE), ("type", ctypes.c_int32),
    )  # fmt: skip


class Layer(ctypes.Structure):
    """A decoder layer's weights and sizes; see kernels.c."""

    _fields_ = (
        *((name, Matrix) for name in ("query", "key", "value", "output", "gate", "up", "down")),
        ("norm_before", _POINTER), ("norm_between", _POINTER),
        ("norm_query", _POINTER), ("norm_key", _POINTER),
        ("hidden", _SIZE), ("heads", _SIZE), ("key_heads", _SIZE), ("head_size", _SIZE),
        ("epsilon", ctypes.c_float), ("scaling", ctypes.c_float), ("type", ctypes.c_int32),
    )  # fmt: skip


class Step(ctypes.Structure):
    """What the rows of one step attend to; see kernels.c."""

    _fields_ = (
        ("rows", _SIZE), ("cosine", _POINTER), ("sine", _POINTER), ("write", _POINTER),
        ("read", _POINTER), ("begin", _POINTER), ("length", _POINTER),
        ("threads", ctypes.c_int32), ("scratch", _POINTER),
    )  # fmt: skip


@functools.cache
def kernels() -> Any:
    """The compiled kernels, or None where they can't be had. Compiles on its first call."""
    if not sys.platform.startswith(("linux", "darwin")):
        return None
    for compiler in filter(None, map(shutil.which, COMPILERS)):
        with tempfile.TemporaryDirectory(prefix="chat_ui-") as folder:
            target = Path(folder) / "kernels.so"
            if _compile(compiler, target):
                return _declared(ctypes.CDLL(str(target)))
    return None


def matrix(weight: torch.Tensor, scale: torch.Tensor | None, bias: torch.Tensor | None) -> Matrix:
    """A weight (outputs, inputs) as the kernels take it; the caller keeps the tensors alive.

    Args:
        weight: contiguous, of a type in `TYPES`.
        scale: float32, (outputs,), of an int8 weight.
        bias: float32, (outputs,).
    """
    return Matrix(
        weight.data_ptr(),
        None if scale is None else scale.data_ptr(),
        None if bias is None else bias.data_ptr(),
        weight.shape[0],
        weight.shape[1],
        TYPES[weight.dtype],
    )


def _compile(compiler: str, target: Path) -> bool:
    command = [compiler, str(SOURCE), "-o", str(target), *FLAGS]
    try:
        run = subprocess.run(  # noqa: S603  a compiler of this machine, on a file of ours
            command, capture_output=True, text=True, timeout=COMPILE_DEADLINE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.info("%s could not be run: %s", compiler, error)
        return False
    if run.returncode != 0:
        log.info("%s could not compile the kernels: %s", compiler, run.stderr[:500])
    return run.returncode == 0


def _declared(compiled: ctypes.CDLL) -> ctypes.CDLL:
    compiled.scratch_floats.restype = ctypes.c_int64
    compiled.scratch_floats.argtypes = (_POINTER, _SIZE, _SIZE)
    compiled.decoder_layer.restype = None
    compiled.decoder_layer.argtypes = (_POINTER,) * 6
    compiled.linear.restype = None
    compiled.linear.argtypes = (
        _POINTER, _POINTER, _POINTER, ctypes.c_int32, _SIZE, ctypes.c_int32, _POINTER,
    )  # fmt: skip
    return compiled
