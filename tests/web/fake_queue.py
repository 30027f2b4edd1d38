"""What Gradio's queue keeps when an event of a page runs, ends and is fetched."""

import asyncio
from types import SimpleNamespace
from typing import Any

import gradio as gr


def put(demo: gr.Blocks, page: str, *, is_running: bool = False) -> str:
    """An event of a page; its id. One that doesn't run has ended, and its messages lie there."""
    queue: Any = demo._queue
    messages = queue.pending_messages_per_session.get(page)
    if messages is None:
        messages = queue.pending_messages_per_session[page] = asyncio.Queue()
    ids = queue.pending_event_ids_session.setdefault(page, set())
    event = f"{page} {len(ids)}"
    ids.add(event)
    if is_running:
        queue.event_ids_to_events[event] = SimpleNamespace(_id=event, alive=True, session_hash=page)
    else:
        messages.put_nowait("process_completed")
    return event


def end(demo: gr.Blocks, page: str, event: str) -> None:
    """A running event ends."""
    queue: Any = demo._queue
    del queue.event_ids_to_events[event]
    queue.pending_messages_per_session[page].put_nowait("process_completed")


def fetch(demo: gr.Blocks, page: str) -> list[Any]:
    """What lies there, as a stream that reads to its end does."""
    queue: Any = demo._queue
    messages = queue.pending_messages_per_session[page]
    found = [messages.get_nowait() for _ in range(messages.qsize())]
    queue.pending_event_ids_session[page] = set()
    return found


def keeps(demo: gr.Blocks, page: str) -> bool:
    """Whether anything of a page is left."""
    queue: Any = demo._queue
    tables = (queue.pending_messages_per_session, queue.pending_event_ids_session)
    return any(page in table for table in tables)
