"""Downloads a model in a process of its own, so that it can be ended at any moment.

    download --id, token--> download_child          (a line on its standard input)
             <--progress, folder or error--         (lines on its standard output)

No call into the Hub client can be interrupted, and a connection may stand still for minutes; a
process can always be killed. What has arrived stays in the Hub cache, and the next call goes on
from there. Nothing of a download runs in this process, and torch is never called.
"""

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chat_ui.errors import (
    AccessError,
    BadCheckpointError,
    HubError,
    ModelError,
    ModelNotFoundError,
)
from chat_ui.models import cached, checkpoint, hub_errors, hub_files
from chat_ui.models.progress import LoadProgress, Progress, ignore

log = logging.getLogger(__name__)

# Longer than the client's own patience with a connection, which tries again.
STALLED_AFTER_S: Final = 60.0
_TICK_S: Final = 0.2

_ROOT: Final = Path(__file__).resolve().parents[2]
_CHILD: Final = "chat_ui.models.download_child"
_ERRORS: Final[dict[str, type[ModelError]]] = {
    one.__name__: one for one in (AccessError, BadCheckpointError, HubError, ModelNotFoundError)
}


def download(
    model_id: str,
    progress: Progress = ignore,
    token: str | None = None,
    *,
    stalled_after_s: float = STALLED_AFTER_S,
) -> Path:
    """The folder of a Hub model's files; blocks while they come.

    What is in the cache is taken as it is, without asking whether there is a newer revision.

    Args:
        model_id: "owner/name".
        progress: told of bytes about five times a second, also when none come; what it raises ends
            the download.
        token: of the Hub, for this call; None for the one that the Hub client finds, if any.
        stalled_after_s: seconds without a byte after which the download is given up.

    Raises:
        LoadCancelledError: `progress` raised it.
        ModelNotFoundError: the Hub has no such model, or not for this account.
        AccessError: it is gated, or the token doesn't do.
        HubError: the Hub can't be reached, the connection stands still, or a file came damaged.
        BadCheckpointError: what came is no model that can be loaded.
        ModelError: the disk is full.
    """
    from huggingface_hub import constants

    if not checkpoint.is_hub_id(model_id):
        raise checkpoint.not_found(model_id)
    here = cached.find(model_id)
    if here is not None:
        return here.folder
    if constants.is_offline_mode():
        raise hub_errors.offline(model_id)
    progress(LoadProgress("checking"))
    with _Child(model_id, token) as child:
        return _follow(child, model_id, progress, stalled_after_s)


class _Child:
    """The process that downloads, and the lines it writes; leaving the context ends it."""

    def __init__(self, model_id: str, token: str | None) -> None:
        self._asked = json.dumps({"model_id": model_id, "token": token}).encode() + b"\n"
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._process = subprocess.Popen(  # noqa: S603 - nothing of it comes from a person
            [sys.executable, "-P", "-m", _CHILD],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl+C is for this process, which ends the other
        )
        self._reader = threading.Thread(target=self._read, name="download", daemon=True)

    def __enter__(self) -> "_Child":
        self._reader.start()
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        with suppress(OSError):  # it has ended already, and the reader will know
            # Not in its arguments, which everybody on the machine can read.
            self._process.stdin.write(self._asked)
            self._process.stdin.flush()
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def next_line(self) -> bytes | None:
        """What it wrote; b"" after a moment without, None once it has ended."""
        try:
            return self._lines.get(timeout=_TICK_S)
        except queue.Empty:
            return b""

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)


def _follow(child: _Child, model_id: str, progress: Progress, stalled_after_s: float) -> Path:
    """Pass on what the child tells, until it has the folder."""
    now, moved, since_s = LoadProgress("checking"), 0, time.monotonic()
    while True:
        progress(now)
        line = child.next_line()
        if line is None:
            log.error("The process that downloads %s ended without a word.", model_id)
            raise HubError(
                f"The download of {model_id} ended unexpectedly.",
                "Try again: it goes on where it was. The server's log has the details.",
            )
        said = parsed(line)
        if isinstance(said.get("folder"), str):
            return Path(said["folder"])
        if "error" in said:
            kind = _ERRORS.get(str(said["error"]), ModelError)
            raise kind(str(said.get("sentence")), str(said.get("next_step")))
        if said.get("moved_bytes", moved) != moved:
            moved, since_s = said["moved_bytes"], time.monotonic()
        if said.get("total_bytes"):
            now = LoadProgress("downloading", said["here_bytes"], said["total_bytes"])
        if time.monotonic() - since_s > stalled_after_s:
            raise HubError(
                f"The download of {model_id} stood still for {stalled_after_s:.0f} seconds.",
                "Check the connection and try again: it goes on where it was.",
            )


def parsed(line: bytes) -> dict[str, Any]:
    """What a line of the child says; {} for what is none of its messages."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    counts = ("here_bytes", "total_bytes", "moved_bytes")
    if not isinstance(said, dict):
        return {}
    if any(key in said for key in counts):
        return said if all(type(said.get(key)) is int for key in counts) else {}
    return said


def _environment() -> dict[str, str]:
    """This process's, with what its Hub client was told since it began."""
    from huggingface_hub import constants

    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HUB_CACHE": str(hub_files.cache_folder()),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
