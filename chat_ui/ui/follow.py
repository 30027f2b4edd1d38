"""The one writer of the chat: it shows a conversation, and its answer while that grows.

    open, send, regenerate, another tab --> Follower.follow --> chat, status line
                                                  ^ service: a Reply, polled

A page's newest follower takes over from the one before, which has ended when the new one begins to
write. Reload, dropped connection and second tab are nothing but further followers of the same
Reply. The cost of one update depends on the window shown, not on the conversation's length.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final

import gradio as gr

from chat_ui.chat.messages import Conversation, Message
from chat_ui.errors import ChatUIError, as_shown
from chat_ui.service import ChatService, Reply, ReplySnapshot
from chat_ui.ui import events, view
from chat_ui.ui.events import checked
from chat_ui.ui.message_bars import bars, digest, rows
from chat_ui.ui.offload import Offload
from chat_ui.ui.status import Status, conversation_status, empty_status, writing_status
from chat_ui.ui.texts import Texts, texts_for
from chat_ui.ui.visitor import page_of

log = logging.getLogger(__name__)

# Messages shown at once: Gradio walks over all of them at each update. 30 cost 1.3 to 1.5 times as
# much as two in the browser, 20 cost 1.16 times as much.
WINDOW: Final = 20
MAX_WINDOW: Final = 3000
# Where strangers come: what one answer carries, whatever is asked for. An imported conversation may
# be megabytes long, and each look at it would be as long.
STRANGERS_WINDOW: Final = 400
STRANGERS_CHARS: Final = 500_000
TICK_S: Final = 0.08
# An open code fence is highlighted anew at every update: 48 ms with 8,000 characters of it.
LONG_FENCE_CHARS: Final = 6_000
SLOW_TICK_S: Final = 0.25
# How long a follower waits for the one before it; longer than any hiccup of the event loop.
TAKE_OVER_S: Final = 5.0

Shown = tuple[Any, Status]
Stream = AsyncGenerator[Shown, None]


class _View:
    """One follower's right to write to its page."""

    def __init__(self) -> None:
        self._superseded = asyncio.Event()
        self.has_left = asyncio.Event()

    @property
    def is_newest(self) -> bool:
        return not self._superseded.is_set()

    def supersede(self) -> None:
        self._superseded.set()

    async def wait(self, seconds: float) -> None:
        """Wait, but not when a newer follower wants the page."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._superseded.wait(), seconds)


class Follower:
    """Shows conversations on pages.

    Args:
        service: whose conversations.
        offload: runs the service's blocking calls.
    """

    def __init__(self, service: ChatService, offload: Offload) -> None:
        self._service = service
        self._offload = offload
        self._views: dict[tuple[str, str], _View] = {}
        self._count = itertools.count()

    async def follow(self, request: gr.Request, conversation_id: object, window: object) -> Stream:
        """Show a conversation and, as long as an answer is being written, go on.

        Args:
            request: who asks.
            conversation_id: which; "" is the empty page.
            window: how many of its newest messages.
        """
        try:
            page = page_of(request)
        except ChatUIError as error:
            yield gr.skip(), {"failure": as_shown(error)}
            return
        async with self._sole_view(page) as mine:
            say = texts_for(request)
            shown = self._shown(page[0], conversation_id, window, mine, say)
            last: Status = {}
            async with aclosing(self._or_failure(shown)) as stream:
                async for messages, status in stream:
                    # The page hears of a value only when it differs from the one before.
                    last = status | {"nonce": next(self._count)}
                    yield messages, last
            # Gradio sends an event's last value once more when it ends, by which time the page may
            # show another conversation. This one leaves the chat alone, and the page's script
            # passes over a status of another conversation than its own.
            yield gr.skip(), last

    async def _or_failure(self, shown: Stream) -> Stream:
        try:
            async with aclosing(shown) as stream:
                async for one in stream:
                    yield one
        except Exception as error:
            if not isinstance(error, ChatUIError):
                log.exception("showing a conversation failed")
            # What the page shows stays: the server may just be ending, and the reader is not done.
            yield gr.skip(), {"failure": as_shown(error)}

    async def _shown(
        self, owner: str, conversation_id: object, asked: object, mine: _View, say: Texts
    ) -> Stream:
        known = checked(events.Conversation, {"conversation": conversation_id}).conversation
        if not known:
            yield [], empty_status()
            return
        while mine.is_newest:
            reply, conversation = await self._offload(self._look, owner, known)
            window = self._window(conversation, asked)
            earlier = len(conversation.path()) - window
            newest = _newest(conversation, window)
            below = _below(bars(conversation, window, say))
            if earlier and window == self._window(conversation, window + WINDOW):
                # As many as are ever shown: a button for more would do nothing.
                earlier, below["unshown"] = 0, say("status.unshown")
            if reply is None or reply.ended.is_set():
                status = conversation_status(newest, earlier, say) | below
                yield _messages(newest, window, say), status
                return
            with reply.followed():
                growing = self._growing(newest, earlier, below, reply, mine, say)
                async with aclosing(growing) as stream:
                    async for shown in stream:
                        yield shown

    async def _growing(
        self,
        newest: Conversation,
        earlier: int,
        below: Status,
        reply: Reply,
        mine: _View,
        say: Texts,
    ) -> Stream:
        """The window while its answer grows, until that ends or the page shows something else."""
        *above, answer = newest.messages
        before = _messages(_of(newest, above), len(above), say) if above else []
        is_newest_answer = answer.id == reply.message_id
        seen = -1
        while mine.is_newest and not reply.ended.is_set():
            now = reply.snapshot()
            if now.revision != seen:
                seen = now.revision
                last = _grown(answer, now) if is_newest_answer else answer
                # A thought has a row of its own, so the answer has two where it follows one.
                status = writing_status(newest, earlier, now, self._service.model, say)
                shown = view.entries(last, say, is_newest=True)
                yield before + shown, status | below | {"last": rows(shown)}
            await mine.wait(tick_s(now.text))

    def _window(self, conversation: Conversation, asked: object) -> int:
        return window_of(conversation, asked, is_public=self._service.settings.is_public)

    def _look(self, owner: str, conversation_id: str) -> tuple[Reply | None, Conversation]:
        # The reply first: one that ends in between is then followed to its end, not missed.
        reply = self._service.running(owner, conversation_id)
        conversation = self._service.conversation(owner, conversation_id)
        if _is_unfinished(conversation) and (reply is None or reply.ended.is_set()):
            # Its end was stored between the two: what is there now is whole.
            conversation = self._service.conversation(owner, conversation_id)
        return reply, conversation

    @asynccontextmanager
    async def _sole_view(self, page: tuple[str, str]) -> AsyncIterator[_View]:
        """Take the page over: whoever wrote to it before has written its last when this begins."""
        mine, before = _View(), self._views.get(page)
        self._views[page] = mine
        try:
            if before is not None:
                before.supersede()
                with suppress(TimeoutError):
                    await asyncio.wait_for(before.has_left.wait(), TAKE_OVER_S)
            yield mine
        finally:
            mine.has_left.set()
            if self._views.get(page) is mine:
                del self._views[page]


def tick_s(text: str) -> float:
    """Seconds between two updates of a growing text: fewer where the browser's work is heavy."""
    fence = text.rfind("```")
    is_open = fence >= 0 and text.count("```") % 2 == 1
    return SLOW_TICK_S if is_open and len(text) - fence > LONG_FENCE_CHARS else TICK_S


def checked_shown(shown: int, *, is_public: bool) -> int:
    """How many bars a page gets, which says that it shows so many messages."""
    return min(STRANGERS_WINDOW if is_public else MAX_WINDOW, max(1, shown))


def checked_window(value: object) -> int:
    """How many messages are shown, from what the page says of it, which may be anything."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return WINDOW
    return min(MAX_WINDOW, max(WINDOW, value))


def window_of(conversation: Conversation, asked: object, *, is_public: bool) -> int:
    """How many of the newest messages of a conversation's shown path are shown.

    Args:
        conversation: which.
        asked: what the page says of it, which may be anything.
        is_public: whether strangers come; then there are fewer where they are many or long.
    """
    path = conversation.path()
    window = min(len(path), checked_window(asked))
    if not is_public:
        return window
    room = STRANGERS_CHARS
    for count, message in enumerate(reversed(path[-min(window, STRANGERS_WINDOW) :])):
        room -= len(message.content)
        if room < 0 and count:  # the newest is shown, however long it is
            return count
    return min(window, STRANGERS_WINDOW)


def _below(found: Sequence[dict[str, Any]]) -> Status:
    """What the status says of the messages' bars: enough to know whether one has them."""
    last = {name: found[-1][name] for name in ("parts", "at")} if found else None
    return {"bars": digest(found), "shown": len(found), "last": last}


def _is_unfinished(conversation: Conversation) -> bool:
    path = conversation.path()
    return bool(path) and path[-1].state == "writing"


def _newest(conversation: Conversation, window: int) -> Conversation:
    """The conversation with nothing but the newest messages of its shown path."""
    return _of(conversation, conversation.path()[-window:])


def _of(conversation: Conversation, messages: Sequence[Message]) -> Conversation:
    """The conversation with nothing but these messages, one following the other."""
    if not messages:
        return replace(conversation, messages=(), head_id=None)
    first = replace(messages[0], parent_id=None)
    return replace(conversation, messages=(first, *messages[1:]), head_id=messages[-1].id)


def _grown(answer: Message, now: ReplySnapshot) -> Message:
    return replace(answer, content=now.text, state=now.state, error=now.error, numbers=now.numbers)


def _messages(conversation: Conversation, window: int, say: Texts) -> list[dict[str, Any]]:
    return view.messages(conversation, window=window, say=say)
