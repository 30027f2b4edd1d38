"""The open pages: whose each is, and what lies there for it that it has not fetched.

An open page is named by a `session_hash` that its browser draws with Math.random and sends in
addresses, and whoever knows it gets what Gradio streams to that page. So it is bound here to the
visitor who used it first. What Gradio keeps for a page goes with it, and before that where nobody
fetches it (`outbox.py`).

A page's streams are numbered by the page itself, so that it can be told which has ended here:
`assets/js/streams.js` says what for.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Scope, Send

from chat_ui.web.outbox import Outbox

# More than one visitor has open; one that draws new names for pages pushes out their own.
PAGES_PER_VISITOR: Final = 32
# Of one page; it has one, and another where it does not know yet that the first is dead.
STREAMS: Final = 3
# Begun and not fetched to their end, of one visitor; many tabs begin at once with a few each.
EVENTS: Final = 32
# What nobody fetched for so long is dropped. Whoever comes back later asks anew.
UNFETCHED_S: Final = 30.0
SWEEP_S: Final = 10.0
# How Gradio 6.31 writes the last message of a stream.
CLOSE: Final = b'data: {"msg":"close_stream"'


@dataclass(slots=True, eq=False)
class OpenPage:
    """One open page.

    Attributes:
        name: its `session_hash`.
        owner: whose; None for one whose browser refuses the cookie, and can't be known again.
        visitor: whose events count together; the page by itself where nobody is known.
        used_s: when it last began an event or fetched something, by the clock.
        streams: how many streams of it are open.
        sending: how many of them are sending something.
        was_idle: whether there was nothing to do for it at the last sweep either.
        ended: the newest of its streams that has ended; 0 where there is none.
    """

    name: str
    owner: str | None
    visitor: str
    used_s: float
    streams: int = 0
    sending: int = 0
    was_idle: bool = False
    ended: int = 0

    def note_end(self, stream: int) -> None:
        """A stream of it brings nothing from now on."""
        self.ended = max(self.ended, stream)


class Pages:
    """The open pages. Only the event loop asks.

    Args:
        most: how many are remembered; then the ones that were not used for longest are forgotten.
        outbox: what Gradio keeps for them.
        clock: gives seconds.
    """

    def __init__(
        self, most: int, outbox: Outbox, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._outbox, self._clock = most, outbox, clock
        self._pages: OrderedDict[str, OpenPage] = OrderedDict()
        # Their names, by whose they are; in the same order.
        self._names: dict[str | None, OrderedDict[str, None]] = {}
        # Those that Gradio may keep something for, until it doesn't.
        self._watched: dict[OpenPage, None] = {}
        # Events of forgotten pages since the last sweep, by visitor: new names make no room.
        self._forgotten: Counter[str] = Counter()
        self._next_sweep: asyncio.TimerHandle | None = None

    def known(self, session_hash: str, scope: Scope) -> OpenPage | None:
        """The page, if there is one and it is the asking visitor's."""
        page = self._pages.get(session_hash)
        if page is None or page.owner not in (None, _owner(scope)):
            return None
        self._pages.move_to_end(session_hash)
        self._names[page.owner].move_to_end(session_hash)
        return page

    def of(self, session_hash: str, scope: Scope) -> OpenPage | None:
        """The page, if it is the asking visitor's; one that is nobody's becomes theirs."""
        if session_hash not in self._pages:
            owner = _owner(scope)
            visitor = scope["state"]["owner"] or f"page {session_hash}"
            page = OpenPage(session_hash, owner, visitor, self._clock())
            self._pages[session_hash] = page
            self._names.setdefault(owner, OrderedDict())[session_hash] = None
            self._forget_one(owner)
        return self.known(session_hash, scope)

    def begins(self, page: OpenPage) -> bool:
        """Whether one more event of it may begin; it is then watched whether it fetches that."""
        visitor = [one for one in self._watched if one.visitor == page.visitor]
        unfetched = sum(self._outbox.outstanding(one.name) for one in visitor)
        if unfetched + self._forgotten[page.visitor] >= EVENTS:
            return False
        if not self._outbox.has_unfetched(page.name):
            page.used_s = self._clock()
        self._watch(page)
        return True

    def has_news(self, page: OpenPage) -> bool:
        """Whether a stream of it would have something to bring, now or later."""
        name = page.name
        return self._outbox.knows(name) and (
            self._outbox.has_unfetched(name) or self._outbox.has_running(name)
        )

    def knows(self, page: OpenPage) -> bool:
        """Whether Gradio keeps anything for it."""
        return self._outbox.knows(page.name)

    @contextmanager
    def streaming(self, page: OpenPage, send: Send, number: int = 0) -> Iterator[Send]:
        """While a stream of it, with this number, is open; gives what it sends with."""

        async def send_noted(message: Message) -> None:
            # Before it is sent, which may take a while: an event that begins meanwhile misses it.
            if message.get("body", b"").startswith(CLOSE):
                page.note_end(number)
            page.sending += 1
            try:
                await send(message)
            finally:
                page.sending -= 1
            page.used_s = self._clock()

        page.streams += 1
        page.used_s = self._clock()
        self._watch(page)
        try:
            yield send_noted
        finally:
            page.streams -= 1
            page.note_end(number)

    def sweep(self) -> None:
        """Drop what nobody fetched, and end streams that wait for nothing."""
        self._forgotten.clear()
        for page in list(self._watched):
            is_idle = not page.sending and not self.has_news(page)
            if self._outbox.has_unfetched(page.name):
                if self._clock() - page.used_s >= UNFETCHED_S:
                    self._drop(page)
            # At two sweeps: a message may be on its way from Gradio's queue into the stream.
            elif is_idle and page.was_idle:
                if page.streams and self._outbox.knows(page.name):
                    self._outbox.end_streams(page.name, page.streams)
                else:
                    self._drop(page)
            page.was_idle = is_idle

    def _watch(self, page: OpenPage) -> None:
        page.was_idle = False
        self._watched[page] = None
        self._sweep_later()

    def _sweep_later(self) -> None:
        if self._next_sweep is None:
            self._next_sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep_on)

    def _sweep_on(self) -> None:
        self._next_sweep = None
        self.sweep()
        if self._watched:
            self._sweep_later()

    def _forget_one(self, owner: str | None) -> None:
        """Of too many, the one that was not used for longest. Of those that have a stream open
        there are only so many as requests may be.
        """
        own = self._names[owner]
        # Those who can't be told apart have as many together as there are.
        if owner is not None and len(own) > PAGES_PER_VISITOR:
            among = iter(own)
        elif len(self._pages) > self._most:
            among = iter(self._pages)
        else:
            return
        surplus = next((one for one in among if not self._pages[one].streams), None)
        if surplus is None:
            return
        page = self._pages.pop(surplus)
        del self._names[page.owner][surplus]
        if not self._names[page.owner]:
            del self._names[page.owner]
        if page in self._watched:
            self._forgotten[page.visitor] += self._outbox.outstanding(page.name)
        self._drop(page)

    def _drop(self, page: OpenPage) -> None:
        self._watched.pop(page, None)
        self._outbox.drop(page.name)


def _owner(scope: Scope) -> str | None:
    state = scope["state"]
    owner: str | None = state["owner"] if state["has_cookie"] else None
    return owner
