"""Imports transformers once, whoever needs it first.

Its modules import each other when they are first asked for, and two threads that ask at once may
each find the other's half done: "cannot import name". After this they only find what is there.
"""

import importlib
import threading
from typing import Final

_MODULES: Final = (
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.generation.continuous_batching",
    "transformers.pipelines",
    "transformers.models.qwen3.modeling_qwen3",  # the stand-in that is timed
)
_LOCK: Final = threading.Lock()
_done = threading.Event()


def import_transformers() -> None:
    """Import it; takes seconds the first time. Call it before any other import of transformers."""
    if _done.is_set():
        return
    with _LOCK:
        for name in _MODULES:
            importlib.import_module(name)
        _done.set()
