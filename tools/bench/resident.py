"""What of a process lies in memory: now, at its peak, and of its key-value caches alone."""

import ctypes
import gc
import mmap
import threading
from typing import Final, Self

import psutil
from transformers.generation.continuous_batching.cache import PagedAttentionCache

_SAMPLE_S: Final = 0.005


def now_bytes() -> int:
    """What lies in memory of this process."""
    return int(psutil.Process().memory_info().rss)


class Peak:
    """The most that lay in memory meanwhile, looked at 200 times a second.

    Attributes:
        bytes: the most so far.
    """

    def __init__(self) -> None:
        self.bytes = now_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self.bytes = max(self.bytes, now_bytes())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def cache_bytes() -> int:
    """What lies in memory of all living paged caches, which are on the CPU."""
    caches = [each for each in gc.get_objects() if issubclass(type(each), PagedAttentionCache)]
    tensors = [cache.cache_tensor for cache in caches]
    return sum(_resident(tensor.data_ptr(), tensor.nbytes) for tensor in tensors)


def _resident(address: int, size_bytes: int) -> int:
    """How many bytes of a range lie in memory; all of them where the system does not say."""
    page = mmap.PAGESIZE
    start = address // page * page
    pages = -(-(address + size_bytes - start) // page)
    flags = (ctypes.c_ubyte * pages)()
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
    except (OSError, AttributeError, TypeError):  # Windows
        return size_bytes
    if mincore(ctypes.c_void_p(start), ctypes.c_size_t(pages * page), flags) != 0:
        return size_bytes
    return min(size_bytes, sum(flag & 1 for flag in flags) * page)
