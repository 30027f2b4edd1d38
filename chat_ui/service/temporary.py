"""Temporary conversations: in which store they are, for how long, and how many.

Nothing of them is on a disk. They end with the process, an hour after their last message, and
when there are too many, the ones that were used longest ago first.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from chat_ui.chat.messages import is_temporary
from chat_ui.errors import ChatUIError
from chat_ui.history.store import Store
from chat_ui.service.reply import Reply

log = logging.getLogger(__name__)

# As the page says, beside the box that begins one.
LIFE_S: Final = 3600.0
# How often it is looked whose time is over.
CHECK_S: Final = 20.0
# Memory is what strangers must not fill; `history` limits its bytes, too.
MOST_OF_AN_OWNER: Final = 20
MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Stores:
    """The two places in which conversations are.

    Attributes:
        kept: on the disk.
        temporary: in memory.
    """

    kept: Store
    temporary: Store

    def of(self, conversation_id: object) -> Store:
        """The one that has this conversation, if any has it; its id says so by itself."""
        return self.temporary if is_temporary(conversation_id) else self.kept

    def close(self) -> None:
        """Close both; what is in memory is gone."""
        self.kept.close()
        self.temporary.close()


@dataclass(slots=True)
class _Use:
    owner: str
    at: float


class Lifetimes:
    """Ends temporary conversations in time. All methods may be called from any thread.

    Args:
        store: the one in memory.
        running: gives the reply that is being written in an owner's conversation, if any.
        gone: called once conversations are gone.
    """

    def __init__(
        self,
        store: Store,
        running: Callable[[str, str], Reply | None],
        gone: Callable[[], None],
    ) -> None:
        self._store = store
        self._gone = gone
        self._running = running
        self._lock = threading.Lock()
        # By conversation, the one that was used longest ago first. Not `updated_at`: an answer may
        # take long, and a clock can be set.
        self._used: dict[str, _Use] = {}
        self._is_due = False
        self._is_closed = False

    def begun(self, owner: str, conversation_id: str) -> None:
        """Count a conversation that is new or back.

        The oldest of too many are removed, and their answers end.
        """
        with self._lock:
            self._used[conversation_id] = _Use(owner, time.monotonic())
            own = [id_ for id_, use in self._used.items() if use.owner == owner]
            # A dictionary: one may be too many of both kinds.
            surplus = dict.fromkeys(own[:-MOST_OF_AN_OWNER] + list(self._used)[:-MOST])
            self._remove(surplus)
            self._later()

    def used(self, conversation_id: str) -> None:
        """A message comes to a conversation, or is whole: its time begins again.

        Conversations that are not temporary, or are gone, are passed over.
        """
        if not is_temporary(conversation_id):
            return  # whoever removes temporary ones holds the lock, and others need not wait
        with self._lock:
            use = self._used.pop(conversation_id, None)
            if use is not None:
                use.at = time.monotonic()
                self._used[conversation_id] = use

    def deleted(self, conversation_id: str) -> None:
        """Count a conversation no more: its owner deleted it, and `Purge` removes it.

        One that is brought back counts as new, with `begun`.
        """
        if not is_temporary(conversation_id):
            return
        with self._lock:
            self._used.pop(conversation_id, None)

    def forgotten(self, owner: str) -> None:
        """Count none of an owner's any more: `Purge` has removed them."""
        with self._lock:
            for id_ in [id_ for id_, use in self._used.items() if use.owner == owner]:
                del self._used[id_]

    def close(self) -> None:
        """Remove nothing any more: the process ends."""
        self._is_closed = True

    def _later(self) -> None:
        if self._is_due or self._is_closed or not self._used:
            return
        timer = threading.Timer(CHECK_S, self._check)
        timer.daemon = True
        timer.start()
        self._is_due = True

    def _check(self) -> None:
        with self._lock:
            self._is_due = False
            if self._is_closed:
                return
            before = time.monotonic() - LIFE_S
            over = [
                id_
                for id_, use in self._used.items()
                # An answer that is still being written is no last message yet.
                if use.at <= before and self._running(use.owner, id_) is None
            ]
            self._remove(over)
            self._later()

    def _remove(self, ids: Iterable[str]) -> None:
        ids = list(ids)
        if not ids:
            return
        for id_ in ids:
            reply = self._running(self._used[id_].owner, id_)
            if reply is not None:
                reply.stop()
        try:
            self._store.list.remove(ids)
        except (
            ChatUIError
        ) as error:  # they are counted still, and the next one who looks tries again
            log.warning("temporary conversations are not removed yet: %s", error)
            return
        for id_ in ids:
            del self._used[id_]
        self._gone()
