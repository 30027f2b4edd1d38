"""So many requests at once, of one visitor and in all."""

import asyncio
from dataclasses import replace
from typing import Any

from starlette.types import Message

from chat_ui.limits import LIMITS
from chat_ui.service.rates import Rate
from chat_ui.web.connections import STRANGERS, Connections

LIMIT = replace(LIMITS["share"], connections=20, connections_per_visitor=2)


class Held:
    """An app whose requests stay open until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.guarded = Connections(self, LIMIT, "share")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def ask(
        self,
        owner: str | None,
        path: str = "/",
        *,
        is_owner: bool = False,
        address: str = "127.0.0.1",
    ) -> asyncio.Task[int]:
        """Ask; the status of the answer."""
        state = {"owner": owner, "is_owner": is_owner}
        scope = {"type": "http", "path": path, "state": state, "headers": []}
        return asyncio.create_task(self._ask(scope | {"client": (address, 1)}))

    async def _ask(self, scope: dict[str, Any]) -> int:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        await self.guarded(scope, receive, send)
        return int(sent[0]["status"])


def test_one_visitor_has_few_and_leaves_room_for_others() -> None:
    async def run() -> None:
        held = Held()
        first, second = held.ask("ann"), held.ask("ann")
        await asyncio.sleep(0)
        assert await held.ask("ann") == 429
        other = held.ask("ben")
        await asyncio.sleep(0)
        held.go.set()
        assert [await one for one in (first, second, other)] == [200] * 3
        assert await held.ask("ann") == 200  # those before have ended

    asyncio.run(run())


def test_all_together_have_so_many() -> None:
    async def run() -> None:
        held = Held()
        open_ones = [held.ask(str(number)) for number in range(LIMIT.connections)]
        await asyncio.sleep(0)
        assert await held.ask("one more") == 503
        watching = held.ask(None, "/healthz")  # by whoever would restart a server that is full
        held.go.set()
        assert await watching == 200
        assert {await one for one in open_ones} == {200}

    asyncio.run(run())


def test_a_few_more_are_the_server_owner_s() -> None:
    async def run() -> None:
        held = Held()
        open_ones = [held.ask(str(number)) for number in range(LIMIT.connections)]
        await asyncio.sleep(0)
        theirs = held.ask("me", is_owner=True)
        await asyncio.sleep(0)
        assert await held.ask("one more") == 503
        held.go.set()
        assert {await one for one in (*open_ones, theirs)} == {200}

    asyncio.run(run())


def test_who_comes_as_many_visitors_from_one_address_keeps_nobody_out() -> None:
    async def run() -> None:
        held = Held()
        share = LIMIT.connections // 3
        open_ones = [held.ask(str(number), address="8.8.4.4") for number in range(share)]
        await asyncio.sleep(0)
        assert await held.ask("one more", address="8.8.4.4") == 503
        others = held.ask("ann", address="9.9.9.9"), held.ask("ben")
        owner = held.ask("me", is_owner=True, address="8.8.4.4")
        held.go.set()
        assert {await one for one in (*open_ones, *others, owner)} == {200}
        assert await held.ask("one more", address="8.8.4.4") == 200  # those before have ended
        assert not held.guarded._by_address

    asyncio.run(run())


def test_those_without_a_session_share_one_allowance() -> None:
    async def run() -> None:
        held = Held()
        open_ones = [held.ask(None) for _ in range(LIMIT.connections_per_visitor * STRANGERS)]
        await asyncio.sleep(0)
        assert await held.ask(None) == 429
        held.go.set()
        assert {await one for one in open_ones} == {200}

    asyncio.run(run())


def test_a_minute_slides() -> None:
    now = [0.0]
    rate = Rate(2, clock=lambda: now[0])
    assert [rate.takes(), rate.takes(), rate.takes()] == [True, True, False]
    now[0] = 59.9
    assert not rate.takes()
    now[0] = 60.0
    assert rate.takes()
    assert all(Rate(0).takes() for _ in range(1000))
