"""The process that downloads a model: `python -m chat_ui.models.download_child`; see `download`.

It reads a line of JSON (the model's id and perhaps a token) and writes lines of JSON: how far it
is, several times a second, and at last the folder or what went wrong. It ends at once when its
parent closes the other end of its input, or dies.
"""

import json
import logging
import os
import sys
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final, TextIO

from chat_ui.models import checkpoint, hub, hub_errors, hub_files, hub_request
from chat_ui.models.hub import ModelInfo
from chat_ui.models.hub_fetch import Meter, fetch_file

log = logging.getLogger(__name__)

TICK_S: Final = 0.2
# Files that are fetched at once: one stream seldom fills a fast line.
_STREAMS: Final = 4
_WRITING: Final = threading.Lock()


def main() -> None:
    """Download what the line on standard input asks for."""
    logging.basicConfig(level=logging.WARNING)
    lines, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    meter = Meter()
    threading.Thread(target=_tell, args=(meter, lines), daemon=True).start()
    try:
        said = {"folder": str(bring(asked["model_id"], asked["token"], meter))}
    except Exception as error:
        shown = hub_errors.as_model_error(error, asked["model_id"])
        said = {
            "error": type(shown).__name__,
            "sentence": shown.sentence,
            "next_step": shown.next_step,
        }
    _write(said, lines)
    os._exit(0)  # without waiting for streams that nobody wants any more


def bring(model_id: str, token: str | None, meter: Meter) -> Path:
    """Bring a model's files into the Hub cache; blocks while they come.

    Args:
        model_id: "owner/name".
        token: see `hub.check_access`.
        meter: counts the bytes.

    Returns:
        The folder of the files.

    Raises:
        ModelError: the files can't be had, or are no model; see `hub.check_access`.
        Exception: see `hub_errors.as_model_error`.
    """
    from huggingface_hub import constants, snapshot_download

    token = (token or "").strip() or None
    info = hub.check_access(model_id, token)
    _fetch_all(info, token, meter)
    folder = Path(
        snapshot_download(
            model_id,
            allow_patterns=hub_files.WANTED,
            ignore_patterns=hub_files.UNWANTED,
            cache_dir=constants.HF_HUB_CACHE,
            token=token,
        )
    )
    _drop_copies(info, folder)
    return checkpoint.read(folder).folder


def _fetch_all(info: ModelInfo, token: str | None, meter: Meter) -> None:
    """Fetch the files that are not here, some at once; the first failure ends them all."""
    headers, stop = hub_request.headers(token), threading.Event()
    files = {file.hash: file for file in info.files if file.hash}  # one of each content
    meter.total_bytes = sum(file.size_bytes for file in files.values())
    pool = ThreadPoolExecutor(_STREAMS)
    fetched = [
        pool.submit(fetch_file, info.id, info.commit, file, headers, meter, stop)
        for file in files.values()
    ]
    done, _ = wait(fetched, return_when=FIRST_EXCEPTION)
    stop.set()
    pool.shutdown(wait=False, cancel_futures=True)  # a stream may be waiting for its next piece
    for one in done:
        one.result()


def _drop_copies(info: ModelInfo, folder: Path) -> None:
    """Delete the blobs where there are copies in place of links, for want of links."""
    for file in info.files:
        found = folder / file.name
        if file.hash and found.is_file() and not found.is_symlink():
            hub_files.blob(info.id, file).unlink(missing_ok=True)


def _tell(meter: Meter, lines: TextIO) -> None:
    never = threading.Event()
    while not never.wait(TICK_S):
        _write(
            {
                "here_bytes": meter.here_bytes,
                "total_bytes": meter.total_bytes,
                "moved_bytes": meter.moved_bytes,
            },
            lines,
        )


def _write(message: dict[str, Any], lines: TextIO) -> None:
    with _WRITING:
        lines.write(json.dumps(message) + "\n")
        lines.flush()


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
