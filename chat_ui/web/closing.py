"""What becomes of requests and answers while the stop switch is on; see `service/stop_file.py`."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_ui.service.stop_file import FILE_NAME, is_stopped
from chat_ui.web.bare_page import TextsIn, bare_page, bare_text, say_in
from chat_ui.web.key import OPEN_PATHS

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
RETRY_AFTER_S: Final = 60
# Being told what is kept, and having it deleted, is a right that does not pause.
LET_IN: Final = OPEN_PATHS | {"/metrics", "/privacy", "/forget"}


class ClosingMiddleware:
    """Answers with 503 while the server is closed, but to the owner and to what is in `LET_IN`.

    Args:
        app: the next ASGI app; `is_owner` has to be in the state already.
        data_dir: where the file is looked for, at each request.
        texts_in: gives the texts for an Accept-Language header.
    """

    def __init__(self, app: ASGIApp, data_dir: Path, texts_in: TextsIn) -> None:
        self._app = app
        self._data_dir = data_dir
        self._texts_in = texts_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        is_refused = (
            scope["type"] == "http" and not self._is_let_in(scope) and is_stopped(self._data_dir)
        )
        await (self._answer(scope) if is_refused else self._app)(scope, receive, send)

    def _is_let_in(self, scope: Scope) -> bool:
        return Request(scope).state.is_owner or scope["path"] in LET_IN

    def _answer(self, scope: Scope) -> Response:
        say = say_in(Request(scope), self._texts_in)
        tell = bare_page if scope["path"] == "/" else bare_text
        answer = tell(say, "entrance.closed", 503)
        answer.headers["retry-after"] = str(RETRY_AFTER_S)
        return answer


class StopSwitch:
    """Stops what runs when the file comes.

    Args:
        data_dir: where it is looked for.
        close: called once each time that it has come.
    """

    def __init__(self, data_dir: Path, close: Callable[[], None]) -> None:
        self._data_dir = data_dir
        self._close = close
        self._was_closed = False

    def look(self) -> None:
        """Look for the file, once."""
        is_closed = is_stopped(self._data_dir)
        if is_closed and not self._was_closed:
            log.warning("closed for visitors: %s is there", self._data_dir / FILE_NAME)
            self._close()
        self._was_closed = is_closed

    def watch(self, ended: threading.Event) -> None:
        """Look for it every second on a thread of its own, until the end."""

        def run() -> None:
            while not ended.wait(LOOK_EVERY_S):
                self.look()

        threading.Thread(target=run, name="stop-switch", daemon=True).start()
