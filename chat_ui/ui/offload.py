"""Blocking calls, off the event loop.

All of a server's pages share one event loop: a call that blocks it for a second stops every stream
for a second. Gradio's own thread limiter is not used: its event handlers hold places in it, too.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, ParamSpec, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread

P = ParamSpec("P")
T = TypeVar("T")

# The service's calls are short, a few ms of SQLite. This many wait only where a disk hangs.
THREADS: Final = 64


class Offload(Protocol):
    """Runs a blocking call on a thread and awaits its result."""

    def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """The call's result; what it raises is raised here."""
        ...


class Threads:
    """`Offload` with a number of threads of its own.

    Args:
        threads: how many calls run at once; more wait.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._limiter = CapacityLimiter(threads)

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Offload`."""
        return await to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._limiter)
