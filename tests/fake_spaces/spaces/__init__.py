"""A stand-in for the package `spaces` on ZeroGPU, without a GPU: it forks and pickles as that does.

A task runs in a forked process, which ends with it. Its arguments and what it yields go through
pipes, pickled; the generator that the caller gets can be closed, and the worker notices at its next
yield. What the real one can't run is refused, also where the real one fails later and obscurely.

With SPACES_ZERO_GPU set it also says, on standard output, what the real one tells the platform:
that the page was launched with a GPU function known, and for whom and how long each GPU is asked.
"""

import inspect
import multiprocessing
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from functools import partial, wraps
from multiprocessing.connection import Connection
from typing import Any

_fork = multiprocessing.get_context("fork")
_tasks: list[Callable[..., Any]] = []


def GPU(task: Any = None, *, duration: Any = None, size: Any = None) -> Any:
    """Decorate a synchronous generator function."""
    if task is None:
        return partial(GPU, duration=duration, size=size)
    if inspect.iscoroutinefunction(task) or not inspect.isgeneratorfunction(task):
        raise NotImplementedError("a task is a synchronous generator function")
    _tasks.append(task)

    @wraps(task)
    def lent(*args: Any, **kwargs: Any) -> Iterator[Any]:
        seconds = duration(*args, **kwargs) if callable(duration) else duration
        _report(f"lends a GPU for {seconds} s to {_visitor()}")
        yield from _in_worker(task, pickle.dumps((args, kwargs)))

    return lent


def gradio_auto_wrap(task: Any) -> Any:
    """Gradio calls it for each event's function."""
    return task


def _in_worker(task: Callable[..., Any], arguments: bytes) -> Generator[Any, None, None]:
    ours, theirs = _fork.Pipe(duplex=False)
    stopping = _fork.Event()
    process = _fork.Process(target=_worker, args=(task, arguments, theirs, stopping), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            try:
                kind, value = pickle.loads(ours.recv_bytes())
            except EOFError:
                raise RuntimeError("GPU task aborted") from None
            if kind == "end":
                return
            if kind == "error":
                raise RuntimeError(value)  # the class's name, and nothing more
            yield value
    finally:
        stopping.set()
        ours.close()
        process.join()
        process.close()


def _worker(task: Callable[..., Any], arguments: bytes, pipe: Connection, stopping: Any) -> None:
    def iterate() -> None:
        args, kwargs = pickle.loads(arguments)
        items = task(*args, **kwargs)
        try:
            for item in items:
                if stopping.is_set():
                    items.close()
                    return
                pipe.send_bytes(pickle.dumps(("item", item)))
            pipe.send_bytes(pickle.dumps(("end", None)))
        except BrokenPipeError:
            items.close()
        except Exception as error:
            traceback.print_exc()
            pipe.send_bytes(pickle.dumps(("error", type(error).__name__)))

    # A thread of its own, as in the real one: the pools of threads that the parent had are gone.
    thread = threading.Thread(target=iterate)
    thread.start()
    thread.join()


def _report(line: str) -> None:
    if os.environ.get("SPACES_ZERO_GPU"):
        sys.stdout.write(f"fake spaces {line}\n")
        sys.stdout.flush()


def _visitor() -> str:
    """Whose share is used up: what the Hub's proxy says of them, as the real one reads it."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return "nobody"
    from gradio.context import LocalContext  # noqa: PLC0415  it takes seconds to import

    request = LocalContext.request.get(None)
    return "nobody" if request is None else str(request.headers.get("x-ip-token"))


def _watch_launch() -> None:
    import gradio as gr  # noqa: PLC0415

    launch = gr.Blocks.launch

    def launch_once(*args: Any, **kwargs: Any) -> Any:
        gr.Blocks.launch = launch  # type: ignore[method-assign]
        _report(f"sees the page launched, with {len(_tasks)} GPU function")
        return launch(*args, **kwargs)

    gr.Blocks.launch = launch_once  # type: ignore[method-assign]


if os.environ.get("SPACES_ZERO_GPU"):
    _watch_launch()
