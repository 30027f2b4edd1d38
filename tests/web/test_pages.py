"""Open pages: whose they are, and what is kept of them and for them."""

import asyncio
from typing import Any

import gradio as gr
import orjson
import pytest
from gradio.server_messages import CloseStreamMessage, ProcessStartsMessage
from starlette.types import Message, Scope

from chat_ui.web.outbox import Outbox
from chat_ui.web.pages import PAGES_PER_VISITOR, UNFETCHED_S, OpenPage, Pages
from tests.web.fake_queue import end, fetch, keeps, put


@pytest.fixture
def demo() -> gr.Blocks:
    with gr.Blocks() as demo:
        pass
    return demo


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def pages(demo: gr.Blocks, clock: list[float]) -> Pages:
    return Pages(10, Outbox(demo), lambda: clock[0])


def of(owner: str | None) -> Scope:
    return {"state": {"owner": owner, "has_cookie": owner is not None}}


def used(pages: Pages, name: str, owner: str | None = "ann") -> OpenPage:
    page = pages.of(name, of(owner))
    assert page is not None
    return page


async def nothing(message: Message) -> None:
    pass


def test_what_is_kept_of_pages_goes_with_them(pages):
    for number in range(100):
        used(pages, f"a{number}", f"visitor {number}")
        used(pages, f"b{number}", None)
    assert set(pages._pages) == {f"{letter}{n}" for letter in "ab" for n in range(95, 100)}
    names = {name for own in pages._names.values() for name in own}
    assert names == set(pages._pages)
    assert len(pages._names) == 6
    # One of nobody is anybody's, and stays counted among those of nobody.
    used(pages, "b95", "visitor 99")
    used(pages, "c", "visitor 99")
    assert "b95" in pages._pages


def test_what_gradio_keeps_for_a_forgotten_page_goes_with_it(demo):
    async def run() -> None:
        pages = Pages(1000, Outbox(demo))
        for number in range(PAGES_PER_VISITOR):
            page = used(pages, f"p{number}")
            assert pages.begins(page)
            put(demo, page.name)
        late = used(pages, "late")
        assert not keeps(demo, "p0")
        assert keeps(demo, "p1")
        assert not pages.begins(late), "under new names there is no more room"
        pages.sweep()
        assert pages.begins(late)

    asyncio.run(run())


def test_a_page_with_an_open_stream_is_not_forgotten(demo, pages):
    async def run() -> None:
        put(demo, "streams")
        with pages.streaming(used(pages, "streams"), nothing):
            for number in range(20):
                used(pages, f"other{number}")
            assert keeps(demo, "streams")
            assert pages.known("streams", of("ann"))
        assert pages.known("other0", of("ann")) is None

    asyncio.run(run())


def test_what_nobody_fetches_is_dropped_and_no_longer_counts(demo, pages, clock):
    async def run() -> None:
        page = used(pages, "lazy")
        while pages.begins(page):
            put(demo, page.name)
        clock[0] += UNFETCHED_S - 1
        pages.sweep()
        assert keeps(demo, "lazy")
        assert not pages.begins(page)
        clock[0] += 1
        pages.sweep()
        assert not keeps(demo, "lazy")
        assert not pages._watched
        assert pages.begins(page)

    asyncio.run(run())


def test_a_stream_has_ended_before_its_last_message_is_on_its_way(demo, pages):
    async def run() -> None:
        page = used(pages, "closes")
        sent = []

        async def note(message: Message) -> None:
            sent.append((message["body"], page.ended))

        news = b'data: {"msg":"close_stream?"}\n\n'
        close = b"data: " + orjson.dumps(CloseStreamMessage().model_dump()) + b"\n\n"
        with pages.streaming(page, note, 2) as send, pages.streaming(page, note, 1):
            for body in (news, close, b""):
                await send({"type": "http.response.body", "body": body})
        assert sent == [(news, 0), (close, 2), (b"", 2)]
        with pages.streaming(page, note, 3):
            assert page.ended == 2
        assert page.ended == 3, "one that breaks off has ended, too"

    asyncio.run(run())


def test_an_event_writes_nothing_to_a_page_that_was_dropped(demo, pages, clock):
    async def run() -> None:
        page = used(pages, "dropped")
        pages.begins(page)
        put(demo, "dropped")
        queue: Any = demo._queue
        event = queue.event_ids_to_events[put(demo, "dropped", is_running=True)]
        clock[0] += UNFETCHED_S
        pages.sweep()
        queue.send_message(event, ProcessStartsMessage())

    asyncio.run(run())


def test_a_stream_that_reads_nothing_keeps_nothing_here(demo, pages, clock):
    async def run() -> None:
        page = used(pages, "stuck")
        pages.begins(page)
        put(demo, "stuck")
        never = asyncio.Event()

        async def stuck(message: Message) -> None:
            await never.wait()

        with pages.streaming(page, stuck) as send:
            sending = asyncio.create_task(send({}))
            clock[0] += UNFETCHED_S
            pages.sweep()
            assert not keeps(demo, "stuck")
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    asyncio.run(run())


def test_a_stream_is_held_open_only_while_something_runs(demo, pages, clock):
    async def run() -> None:
        page = used(pages, "held")
        pages.begins(page)
        event = put(demo, "held", is_running=True)
        with pages.streaming(page, nothing), pages.streaming(page, nothing):
            for _ in range(20):
                clock[0] += UNFETCHED_S
                pages.sweep()
            assert pages.has_news(page), "an answer may be written for long"
            end(demo, "held", event)
            assert fetch(demo, "held") == ["process_completed"]
            pages.sweep()
            assert not pages.has_news(page), "not yet: something may be on its way"
            pages.sweep()
            ends: list[Any] = fetch(demo, "held")
            assert [one.msg.value for one in ends] == ["process_completed"] * 2
        pages.sweep()
        pages.sweep()
        assert not keeps(demo, "held")
        assert not pages._watched

    asyncio.run(run())


def test_an_event_whose_stream_was_cut_holds_no_later_one_open(demo, pages):
    async def run() -> None:
        page = used(pages, "cut")
        pages.begins(page)
        event = put(demo, "cut", is_running=True)
        queue: Any = demo._queue
        queue.event_ids_to_events[event].alive = False  # as Gradio leaves it
        with pages.streaming(page, nothing):
            pages.sweep()
            pages.sweep()
            assert len(fetch(demo, "cut")) == 1

    asyncio.run(run())
