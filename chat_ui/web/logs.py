"""Logs without what people write.

An exception's text may quote a prompt, a title or an answer. Where strangers come, it is told of
what kind an exception was and where it came from, and no more, whoever logs it or prints it: this
app, Gradio, the web server or Python itself.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from chat_ui.errors import ChatUIError

log = logging.getLogger(__name__)


def leave_out_texts() -> None:
    """From now on, no exception's text comes to a log or to standard error, in all of the process.

    A `ChatUIError`'s own sentence does: it is ours.
    """
    make = logging.getLogRecordFactory()

    def make_bare(*args: Any, **kwargs: Any) -> logging.LogRecord:
        return _bare(make(*args, **kwargs))

    def tell(*_args: object, **_kwargs: object) -> None:
        # Gradio prints what its queue catches, and does not log it.
        log.error("an exception was caught", exc_info=True)

    def thread_failed(args: threading.ExceptHookArgs) -> None:
        log.error("a thread failed", exc_info=args.exc_value)

    # Not a formatter or a filter: the web server's handlers have their own.
    logging.setLogRecordFactory(make_bare)
    traceback.print_exc = tell
    threading.excepthook = thread_failed
    sys.excepthook = lambda _type, error, _trace: log.critical("it failed", exc_info=error)


def _bare(record: logging.LogRecord) -> logging.LogRecord:
    record.msg = _named(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(map(_named, record.args))
    elif record.args:
        record.args = {key: _named(value) for key, value in record.args.items()}
    if record.name == "asyncio" and record.exc_info:
        record.msg = str(record.msg).split("\n", 1)[0]  # what follows quotes the task's exception
    if record.exc_info:
        record.exc_text = "\n".join(_lines(record.exc_info[1]))
        record.exc_info = None
    return record


def _named(value: Any) -> Any:
    is_foreign = isinstance(value, BaseException) and not isinstance(value, ChatUIError)
    return type(value).__name__ if is_foreign else value


def _lines(error: BaseException | None) -> Iterator[str]:
    """Kinds and places of an exception and of those that it came from, the newest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield f"{type(error).__module__}.{type(error).__qualname__}, from"
        for frame in traceback.extract_tb(error.__traceback__):
            yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
