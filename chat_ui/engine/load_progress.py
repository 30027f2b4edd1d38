"""Tells of a model's weights while transformers reads them, and lets reading end between two.

transformers counts them with a progress bar, which a hook may replace. The hook is the whole
process's; whom it tells is the loading thread's own affair, so that two loads at once, or another
bar meanwhile, don't mix. No bar is drawn: the page shows the progress.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from transformers.utils import logging

from chat_ui.models.progress import LoadProgress, LoadStage, Progress

# Source: transformers 5.23, `core_model_loading.convert_and_load_state_dict_in_model`.
_BAR: Final = "Loading weights"

_listener: ContextVar[tuple[Progress, LoadStage] | None] = ContextVar("listener", default=None)


@contextmanager
def weights_told(progress: Progress, stage: LoadStage) -> Iterator[None]:
    """While a model is loaded on this thread: tell of each of its weights, and of the last's end.

    Args:
        progress: called before each weight; what it raises ends the loading and comes out of it as
            it is.
        stage: what is done with them.
    """
    logging.set_tqdm_hook(_bar)
    token = _listener.set((progress, stage))
    try:
        yield
    finally:
        _listener.reset(token)


def _bar(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What the library iterates over instead of its bar, which the factory makes."""
    listener = _listener.get()
    if listener is None or kwargs.get("desc") != _BAR:
        return factory(*args, **kwargs)
    return _told(args[0], *listener)


def _told(weights: Collection[Any], progress: Progress, stage: LoadStage) -> Iterator[Any]:
    for done, weight in enumerate(weights):
        progress(LoadProgress(stage, done, len(weights)))
        yield weight
    progress(LoadProgress(stage, len(weights), len(weights)))
