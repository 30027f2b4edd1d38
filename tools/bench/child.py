"""The contender's side of the pipe: takes commands as JSON lines and answers with one line each.

Between two commands it blocks on the pipe, on the main thread, and takes no time from others.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Json = dict[str, Any]


def run(commands: Mapping[str, Callable[..., Json]]) -> None:
    """Serve commands until the pipe is closed.

    A command `{"name": ..., "arguments": {...}}` is answered with `{"result": {...}}`, or with
    `{"error": "..."}` where it raised. What libraries print goes to the log. "ready" does nothing:
    its answer says that everything is imported.
    """
    commands = {"ready": _ready, **commands}
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer: Json = {"result": commands[command["name"]](**command["arguments"])}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _ready() -> Json:
    return {}


def rate(started: float, arrivals: list[float], expected: int) -> Json:
    """Time to the first token and pace of an answer.

    Args:
        started: when it was asked for, in seconds.
        arrivals: when each token came, on the same clock.
        expected: how many there should be.

    Returns:
        `first_s`, `decode_tokens_per_s` (the tokens after the first, over the time since the first)
        and `tokens`.

    Raises:
        RuntimeError: there are fewer tokens: the answer ended early.
    """
    if len(arrivals) != expected:
        raise RuntimeError(f"{len(arrivals)} tokens came, not {expected}")
    seconds = arrivals[-1] - arrivals[0]
    return {
        "first_s": arrivals[0] - started,
        "decode_tokens_per_s": (expected - 1) / seconds if seconds > 0 else None,
        "tokens": expected,
    }
