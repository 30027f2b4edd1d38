"""Removes deleted conversations for good, once the time for their undo is over."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from chat_ui.errors import ChatUIError
from chat_ui.history.conversation_list import ConversationList

log = logging.getLogger(__name__)

# How long a deleted conversation can be brought back.
UNDO_S: Final = 120.0


class Purge:
    """One timer for all deletions: whoever deletes a thousand must not begin a thousand threads.

    Args:
        lists: what is purged.
        gone: called once conversations are gone.
    """

    def __init__(self, lists: Sequence[ConversationList], gone: Callable[[], None]) -> None:
        self._lists = lists
        self._gone = gone
        self._lock = threading.Lock()
        self._is_due = False
        self._is_closed = False

    def later(self) -> None:
        """Purge what is deleted now, in `UNDO_S` seconds at least and twice that at most."""
        with self._lock:
            if self._is_due:
                return
            timer = threading.Timer(UNDO_S, self._purge)
            timer.daemon = True
            timer.start()
            self._is_due = True

    def close(self) -> None:
        """Leave the rest to the next start."""
        self._is_closed = True

    def _purge(self) -> None:
        with self._lock:
            self._is_due = False
        if self._is_closed:
            return
        try:
            for one in self._lists:
                if one.purge(datetime.now(UTC) - timedelta(seconds=UNDO_S)):
                    self._gone()
            if any(
                one.has_deleted() for one in self._lists
            ):  # some were deleted while this one waited
                self.later()
        except ChatUIError as error:
            log.warning("deleted conversations are not purged yet: %s", error)
            self.later()
