"""What Gradio keeps for open pages until they fetch it: without end and without bound.

It has a queue of messages for each page, and the ids of the events whose end was not fetched. Both
stay when a page never comes; and a stream of a page for which nothing runs any more gets heartbeats
for ever, because only the end of an event ends a stream. All of this is of Gradio 6.31.
"""

import asyncio
from typing import Any

import gradio as gr
from gradio.server_messages import ProcessCompletedMessage


class Outbox:
    """Gradio's messages to pages, by their names. Only the event loop asks.

    Args:
        demo: the page, built.
    """

    def __init__(self, demo: gr.Blocks) -> None:
        self._demo = demo
        self._cleaning: set[asyncio.Task[None]] = set()

    @property
    def _queue(self) -> Any:
        return self._demo._queue  # another one once it is launched

    def outstanding(self, page: str) -> int:
        """How many events of it are running, or have ended and were not fetched."""
        return len(self._queue.pending_event_ids_session.get(page, ())) if self.knows(page) else 0

    def has_unfetched(self, page: str) -> bool:
        """Whether messages lie here for it."""
        messages = self._queue.pending_messages_per_session.get(page)
        return messages is not None and not messages.empty()

    def has_running(self, page: str) -> bool:
        """Whether an event of it is running, or waits for that. Gradio's own list won't do: an
        event whose stream was cut stays on it.
        """
        events = map(
            self._queue.event_ids_to_events.get,
            self._queue.pending_event_ids_session.get(page, ()),
        )
        return any(event is not None and event.alive for event in events)

    def knows(self, page: str) -> bool:
        """Whether there is anything of it; a stream of a page that Gradio doesn't know fails."""
        return page in self._queue.pending_messages_per_session

    def end_streams(self, page: str, count: int) -> None:
        """Have Gradio end a page's streams, for which nothing runs: it does so at an event's end.

        Args:
            page: its name.
            count: how many there are.
        """
        self._queue.pending_event_ids_session[page] = set()
        messages = self._queue.pending_messages_per_session[page]
        for _ in range(count):
            end = ProcessCompletedMessage(output={}, success=True, event_id="none")
            messages.put_nowait(end)

    def drop(self, page: str) -> None:
        """Forget all that is for a page, and end its events; a stream of it finds nothing."""
        self._queue.pending_messages_per_session.pop(page, None)
        if ids := self._queue.pending_event_ids_session.pop(page, None):
            # Now, and not when the task begins: an event that is alive writes to the page's queue,
            # and where that is gone ends in a traceback.
            for event in filter(None, map(self._queue.event_ids_to_events.get, ids)):
                event.alive = False
            cleaning = asyncio.create_task(self._queue.clean_events(session_hash=page))
            self._cleaning.add(cleaning)
            cleaning.add_done_callback(self._cleaning.discard)
