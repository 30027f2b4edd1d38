"""Files of conversations on their way out: one of a visitor, and few in all."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from chat_ui.web.exports import AT_ONCE, FETCHED_S, PART_BYTES, Exports


class Asked:
    """Somebody who asks for a file, and fetches it when they are let."""

    def __init__(self, exports: Exports, owner: str) -> None:
        self.may_fetch, self.is_dropped = asyncio.Event(), False
        self.parts: list[bytes] = []
        self._file = b"x" * (3 * PART_BYTES)
        state = {"owner": owner, "connection": self}
        scope = {"type": "http", "method": "POST", "headers": [], "state": state}
        self.task = asyncio.create_task(
            exports.pass_on(self._answer, scope, self._nothing, self._send)
        )

    def drop(self) -> None:
        self.is_dropped = True
        self.may_fetch.set()

    @property
    def is_refused(self) -> bool:
        return b"Another file" in b"".join(self.parts)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self._file})

    async def _nothing(self) -> Message:
        return {"type": "http.request"}

    async def _send(self, message: Message) -> None:
        # As uvicorn: one part is taken at once, the next one when that was fetched.
        if len(self.parts) == 1:
            await self.may_fetch.wait()
        if body := message.get("body"):
            assert len(body) <= PART_BYTES
            self.parts.append(body)


def test_a_visitor_has_one_file_at_once_until_it_is_fetched():
    async def run() -> None:
        exports = Exports()
        first = Asked(exports, "ann")
        await asyncio.sleep(0)
        second = Asked(exports, "ann")
        await second.task
        assert second.is_refused
        first.may_fetch.set()
        await first.task
        assert b"".join(first.parts) == b"x" * (3 * PART_BYTES)
        third = Asked(exports, "ann")
        third.may_fetch.set()
        await third.task
        assert not third.is_refused

    asyncio.run(run())


@pytest.mark.parametrize("waited_s", [FETCHED_S - 1, FETCHED_S])
def test_who_fetches_for_long_gives_way_where_all_places_are_taken(waited_s):
    async def run() -> None:
        now: list[Any] = [0.0]
        exports = Exports(lambda: now[0])
        all_ = [Asked(exports, f"visitor {number}") for number in range(AT_ONCE)]
        await asyncio.sleep(0)
        now[0] = waited_s
        late = Asked(exports, "late")
        late.may_fetch.set()
        await late.task
        gave_way = waited_s == FETCHED_S
        assert late.is_refused != gave_way
        assert [one.is_dropped for one in all_] == [gave_way] + [False] * (AT_ONCE - 1)
        for one in all_:
            one.may_fetch.set()
            await one.task
        assert not exports._places

    asyncio.run(run())
