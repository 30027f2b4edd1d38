"""Removes conversations for good.

They are deleted ones, once the time for their undo is over; those that nobody used for as long as
the settings say, or for an hour where the room is nearly full; and all of an owner who wants to be
forgotten.

Gone for good is what stands in no file any more: SQLite overwrites the rows, and its write-ahead
log is emptied after them.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from chat_ui.errors import ChatUIError
from chat_ui.limits import HOURS_WHERE_FULL
from chat_ui.service.replies import Replies
from chat_ui.service.temporary import Lifetimes, Stores

log = logging.getLogger(__name__)

# How long a deleted conversation can be brought back.
UNDO_S: Final = 120.0
# How long it is waited for the answers of an owner who is forgotten. One that ends later is stored
# nowhere: its rows are gone.
STOP_DEADLINE_S: Final = 2.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Purge:
    """One timer for everything: whoever deletes a thousand must not begin a thousand threads.

    Args:
        stores: what is purged.
        lifetimes: of the temporary conversations.
        replies: the answers that are being written; their conversations are in use.
        kept_hours: what nobody used for so long is removed, in hours; 0 keeps it.
        gone: called once conversations are gone.
        now: the time.
    """

    def __init__(
        self,
        stores: Stores,
        lifetimes: Lifetimes,
        replies: Replies,
        kept_hours: int,
        gone: Callable[[], None],
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._stores = stores
        self._lifetimes = lifetimes
        self._replies = replies
        self._kept_hours = kept_hours
        self._gone = gone
        self._now = now
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_log_full = True  # perhaps: the process before may have been killed
        self._is_closed = False

    def start(self) -> None:
        """Remove what the process before left, whose undo ended with it; look again later."""
        self._remove_or_retry(self._now())

    def later(self) -> None:
        """Purge what is deleted now, in `UNDO_S` seconds at least and twice that at most."""
        with self._lock:
            if self._timer is not None or self._is_closed:
                return
            timer = threading.Timer(UNDO_S, self._purge)
            timer.daemon = True
            timer.start()
            self._timer = timer

    def forget(self, owner: str) -> None:
        """Remove all of an owner's conversations at once, and end their answers.

        Raises:
            HistoryError: they could not be removed; the temporary ones may be gone.
        """
        self._replies.stop_all(owner, STOP_DEADLINE_S)
        self._stores.temporary.list.remove_all(owner)
        self._lifetimes.forgotten(owner)
        self._stores.kept.list.remove_all(owner)
        self._removed()
        # A reader may hold the log for a moment.
        if self._is_log_full:
            self.later()

    def close(self) -> None:
        """Leave the rest to the next start."""
        with self._lock:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()

    def _purge(self) -> None:
        with self._lock:
            self._timer = None
            if self._is_closed:
                return
        self._remove_or_retry(self._now() - timedelta(seconds=UNDO_S))

    def _remove_or_retry(self, deleted_before: datetime) -> None:
        try:
            self._remove(deleted_before)
            is_due = self._is_due()
        except ChatUIError as error:
            log.warning("conversations are not purged yet: %s", error)
            is_due = True
        if is_due:
            self.later()

    def _is_due(self) -> bool:
        """Whether something is to be removed later; some may have been deleted just now."""
        stores = (self._stores.kept, self._stores.temporary)
        return (
            self._kept_hours > 0
            or self._is_log_full
            or any(store.list.has_deleted() for store in stores)
        )

    def _remove(self, deleted_before: datetime) -> None:
        kept, temporary = self._stores.kept.list, self._stores.temporary.list
        count = kept.purge(deleted_before) + temporary.purge(deleted_before)
        if self._kept_hours:
            hours = self._kept_hours
            if kept.is_nearly_full():
                hours = min(hours, HOURS_WHERE_FULL)
            used_before = self._now() - timedelta(hours=hours)
            count += kept.remove_unused(used_before, self._replies.conversation_ids)
        if count:
            self._removed()
        elif self._is_log_full:
            self._empty_log()

    def _removed(self) -> None:
        self._gone()
        self._empty_log()

    def _empty_log(self) -> None:
        self._is_log_full = not self._stores.kept.empty_log()
