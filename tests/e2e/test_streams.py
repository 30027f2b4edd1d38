"""Streams over plain HTTP, as a program asks that is no page: what is held, and what is logged."""

import threading
from contextlib import ExitStack

import httpx
import pytest

from chat_ui.web.pages import STREAMS
from tests.e2e.chat import LONG
from tests.e2e.conftest import Serve
from tests.e2e.test_strangers import (
    DOOR_FLAGS,
    NO_RATES,
    Target,
    config_of,
    cookie_of,
    joined,
    named,
    targets_of,
    visitor,
)

SEND = Target("send", "queue/join", {})


@pytest.fixture
def visit(serve: Serve):
    server = serve(*DOOR_FLAGS["share"], *NO_RATES)
    server.wait_for(phase="ready")
    page = httpx.get(server.url)
    with visitor(server, {"cookie": cookie_of(page)}) as anna:
        yield server, targets_of(config_of(page.text)), anna


def test_streams_are_not_held_and_nothing_that_strangers_do_with_them_is_logged(visit):
    server, targets, anna = visit

    def stream(page: str) -> str:
        return f"/gradio_api/queue/data?session_hash={page}"

    assert anna.client.get(stream("nosuch")).status_code == 410
    once = {**joined(targets, "hello"), "session_hash": "once"}
    status, text = anna.outcome(SEND, once)
    assert status == 200
    assert '"process_completed"' in text
    for _ in range(16):
        assert '"close_stream"' in anna.client.get(stream("once")).text
    # Several at once, of which one takes the page's queue with it when it is left.
    long = {**joined(targets, LONG, new_tokens=500), "session_hash": "cut"}
    _, text = anna.outcome(SEND, {**long, "session_hash": "begins"})
    conversation = text.split('"data":["')[1].split('"')[0]
    follow = next(one for one in targets if one.values == 2)
    asked = {**follow.body, "session_hash": "cut", "data": [conversation, 20]}
    assert anna.post("queue/join", asked).status_code == 200
    with ExitStack() as streams:
        for _ in range(STREAMS):
            answer = streams.enter_context(anna.client.stream("GET", stream("cut")))
            assert answer.status_code == 200
        assert anna.client.get(stream("cut")).status_code == 429
    pulse = named(targets, "pulse")
    seen = {**pulse.body, "data": {"conversation": conversation, "list": ""}}
    for _ in range(100):
        # Until the server has seen that they left.
        if '"session_not_found"' in anna.client.get(stream("cut")).text:
            break
        threading.Event().wait(0.1)
    assert anna.post(pulse.path, seen).status_code == 200
    status, text = anna.outcome(SEND, {**once, "session_hash": "cut"})
    assert (status, '"process_completed"' in text) == (200, True)
    assert not [line for line in server.lines if "Traceback" in line or "ERROR" in line]
