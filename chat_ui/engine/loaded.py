"""A loaded model as both engines take it, and how its memory is given back.

`load.py` makes one; an engine owns it from then on and is the only one that touches its tensors.
"""

import ctypes
import functools
import gc
import mmap
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import torch

from chat_ui.engine.protocol import EngineFacts, Request
from chat_ui.engine.template import ChatTemplate
from chat_ui.errors import EngineError, PromptTooLongError

T = TypeVar("T")

# Source: OpenMP 5.2, `omp_pause_resource_t`.
_PAUSE_SOFT: Final = 1


@dataclass(slots=True)
class LoadedModel:
    """What `load.py` hands to an engine. Not frozen for one reason: `release` empties it.

    Attributes:
        pipeline: transformers' TextGenerationPipeline around `model` and `tokenizer`.
        model: the PreTrainedModel, in evaluation mode. Its generation_config says nothing but the
            special tokens, so that sampling is the request's alone.
        tokenizer: its tokenizer.
        template: its chat template.
        eos_token_ids: tokens that end an answer, at least one.
        pad_token_id: for `generate`, which wants one.
        device: where the prompt's ids go, such as "cpu" or "cuda:0".
        facts: true of it whatever the engine; `facts_as` adds the engine's kind.
    """

    pipeline: Any
    model: Any
    tokenizer: Any
    template: ChatTemplate
    eos_token_ids: tuple[int, ...]
    pad_token_id: int
    device: str
    facts: EngineFacts

    def facts_as(self, kind: str) -> EngineFacts:
        """The facts, with the name of the engine that runs it."""
        return replace(self.facts, kind=kind)

    def token_limit(self, request: Request) -> int:
        """How many tokens this answer may have, at least 1: its limit, or what the window leaves.

        Raises:
            EngineError: there is no prompt.
            PromptTooLongError: the prompt fills the window.
        """
        if not request.prompt_ids:
            raise EngineError("There is nothing to answer.", "Write a message.")
        room = self.facts.window_tokens - len(request.prompt_ids)
        if room < 1:
            raise PromptTooLongError(
                f"The prompt takes {len(request.prompt_ids):,} tokens; this model's context window "
                f"holds {self.facts.window_tokens:,}.",
                "Start a new chat, or shorten the message.",
            )
        return min(request.config.max_new_tokens, room)


def release(loaded: LoadedModel) -> None:
    """Give the model's memory back to the system.

    The engine calls it on its own thread, as the last thing, when its other references to the model
    (a batching manager, caches, exceptions with their frames) are gone. Any number of times.
    """
    loaded.pipeline = loaded.model = None
    give_back_memory()


def give_back_memory() -> None:
    """Return what is not used any more to the system."""
    # Modules and their hooks refer to each other in circles.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    _trim_heap()


def run_on_own_thread(function: Callable[[], T]) -> T:
    """Run on a thread that ends, and return or raise what the function does.

    torch keeps a pool of OpenMP threads for every *living* thread that has called it, and two pools
    fight for the cores: decoding gets 1.4 times slower. So whatever calls torch
    outside the engine's thread runs here.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="torch-job") as pool:
        return pool.submit(function).result()


def end_thread_pool() -> None:
    """End the OpenMP threads of the calling thread, which has nothing to compute for now.

    A pool counts while it waits, too: with more threads than cores, libgomp's spin only for a
    moment at each barrier, and then sleep. 135M parameters wrote 36 tokens/s instead of 72 while
    another model was in memory and idle. The next product starts them again, in 0.1 ms.
    Source: OpenMP 5.2, `omp_pause_resource_all`; libgomp, `gomp_throttled_spin_count_var`.
    """
    openmp = _openmp()
    if openmp is not None:
        openmp.omp_pause_resource_all(_PAUSE_SOFT)


@functools.cache
def _openmp() -> Any:
    """The OpenMP library that torch brought and loaded; None where it has another one."""
    for file in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
        try:
            return ctypes.CDLL(str(file))
        except OSError:
            continue
    return None


def give_back_zeros(tensor: torch.Tensor) -> None:
    """Give the memory of a tensor of zeros back to the system, which hands it out when it is used.

    Filling it has taken all of it: 546 MB for 135M parameters. Read again, its pages are zeros.
    Source: Linux, madvise(2), MADV_DONTNEED, of private anonymous memory; elsewhere it stays.
    """
    if tensor.device.type != "cpu" or not sys.platform.startswith("linux"):
        return
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def _trim_heap() -> None:
    """Have glibc return freed memory; without it the process keeps most of a small model's size."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # not glibc: macOS, Windows, musl
        return
