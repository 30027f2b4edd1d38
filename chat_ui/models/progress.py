"""What is told while a model is brought to this machine and loaded, and how that is ended midway.

    download, loader --LoadProgress--> Progress          (raises LoadCancelledError: they give up)

Values only. Rates and the time left are the listener's to work out: it has a clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

LoadStage = Literal[
    "checking",  # whether the model may be had, and whether it fits
    "downloading",  # counted in bytes
    "making room",  # other models leave
    "reading",  # weights, counted in tensors
    "quantizing",  # counted as `reading` where both happen at once
    "warming up",  # kernels, timings, the first token
]


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far loading is.

    Attributes:
        stage: what is being done.
        done: bytes while downloading, else weights; 0 where nothing is counted.
        total: how many there are in all; None where that is not known.
    """

    stage: LoadStage
    done: int = 0
    total: int | None = None


Progress = Callable[[LoadProgress], None]
"""Told of progress, often; raises `LoadCancelledError` once nobody wants the model any more."""


def ignore(progress: LoadProgress) -> None:
    """A `Progress` for whom nobody waits."""
