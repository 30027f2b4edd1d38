"""Following a reply: every change is shown, its end always; one follower writes to a page."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest

from chat_ui.chat.messages import Conversation, Numbers
from chat_ui.engine.protocol import Delta, Finished
from chat_ui.limits import DOORS
from chat_ui.service import Reply
from chat_ui.ui import follow
from chat_ui.ui.follow import STRANGERS_WINDOW, TICK_S, WINDOW, Follower, tick_s
from chat_ui.ui.offload import Threads
from tests.ui.conftest import FakeService, conversation_of, on_this_thread, request_of

DEADLINE_S = 10.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "TICK_S", 0.002)


@pytest.fixture
def follower(service: FakeService) -> Follower:
    return Follower(service, on_this_thread)  # type: ignore[arg-type]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"][0]["text"] for message in messages]


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, DEADLINE_S))


async def all_of(stream: AsyncIterator[Any]) -> list[Any]:
    """What is shown; without the last value, which changes nothing."""
    *shown, last = [shown async for shown in stream]
    assert last == (gr.skip(), shown[-1][1]), "Gradio sends the last value again, and too late"
    return shown


def end(service: FakeService, reply: Reply) -> None:
    """The answer is over and stored, as the service does it."""
    reply.take(Finished("stop"))
    found = service.conversation("owner", reply.conversation_id)
    service.kept[reply.conversation_id] = found
    del service.replies[reply.conversation_id]


def test_the_empty_page_is_shown_at_once(follower, request_):
    for nothing in ("", None):
        ((messages, status),) = run(all_of(follower.follow(request_, nothing, WINDOW)))
        assert messages == []
        assert status["empty"] is True


def test_what_is_no_conversation_is_a_failure(service, follower, request_):
    for wrong in (5, {"id": "c1"}, "nowhere", "c1\x00", "\ud800"):
        ((_, status),) = run(all_of(follower.follow(request_, wrong, WINDOW)))
        assert "isn't here" in status["failure"]
    assert service.asked == []


def test_a_finished_conversation_is_shown_once(service, follower, request_):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    ((messages, status),) = run(all_of(follower.follow(request_, "c1", WINDOW)))
    assert texts(messages) == ["Hello", "Hi"]
    assert (status["conversation"], status["busy"]) == ("c1", False)


def test_another_version_is_shown_while_an_answer_goes_on(service, follower, request_):
    conversation = conversation_of("Hello", "Hi", "More", "")
    service.kept["c1"] = conversation
    reply = service.begin()
    # Its versions are beside what is shown: the head is the first answer.
    service.kept["c1"] = replace(conversation, head_id="b1")

    async def scene() -> list[tuple[list[str], bool]]:
        seen = []
        async for messages, status in follower.follow(request_, "c1", WINDOW):
            if messages == gr.skip():
                break
            seen.append((texts(messages), status["busy"]))
            if len(seen) < 4:
                reply.take(Delta("word ", 1))
            elif not reply.ended.is_set():
                end(service, reply)
        return seen

    *growing, last = run(scene())
    assert {(tuple(shown), busy) for shown, busy in growing} == {(("Hello", "Hi"), True)}
    assert last == (["Hello", "Hi"], False)
    assert service.kept["c1"].messages[-1].content == "word word word "


def test_an_answer_is_shown_while_it_grows_and_at_its_end(service, follower, request_):
    service.kept["c1"] = conversation_of("Hello", "")
    reply = service.begin()

    async def scene() -> list[tuple[str, bool]]:
        seen = []
        async for messages, status in follower.follow(request_, "c1", WINDOW):
            if messages == gr.skip():
                break
            seen.append((texts(messages)[-1], status["busy"]))
            if len(seen) < 4:
                reply.take(Delta(f"w{len(seen)} ", 1))
            elif not reply.ended.is_set():
                end(service, reply)
        return seen

    seen = run(scene())
    assert [text for text, _ in seen[1:]] == ["w1 ", "w1 w2 ", "w1 w2 w3 ", "w1 w2 w3 "]
    assert [busy for _, busy in seen] == [True, True, True, True, False]


def test_nothing_is_sent_while_nothing_changes(service, follower, request_):
    service.kept["c1"] = conversation_of("Hello", "")
    reply = service.begin()

    async def scene() -> int:
        asyncio.get_running_loop().call_later(0.1, end, service, reply)
        return len(await all_of(follower.follow(request_, "c1", WINDOW)))

    assert run(scene()) == 2


def test_a_reply_knows_that_it_is_followed_and_when_no_longer(service, follower, request_):
    service.kept["c1"] = conversation_of("Hello", "")
    reply = service.begin()

    async def scene() -> float:
        stream = follower.follow(request_, "c1", WINDOW)
        await anext(stream)
        followed = reply.orphaned_s()
        await stream.aclose()  # what Gradio does when the page is gone
        assert reply.orphaned_s() > 0.0, "at once, not when Python collects the generator"
        return followed

    assert run(scene()) == 0.0
    assert not reply.is_stopping, "a page that is closed must not stop the answer"


def test_a_page_shows_what_was_opened_last(service, follower, request_):
    service.kept["c1"] = conversation_of("Long", "")
    service.kept["c2"] = conversation_of("Other", "Done", conversation_id="c2")
    reply = service.begin("c1")

    async def scene() -> tuple[list[Any], list[Any]]:
        first = asyncio.create_task(all_of(follower.follow(request_, "c1", WINDOW)))
        await asyncio.sleep(0.02)
        second = await all_of(follower.follow(request_, "c2", WINDOW))
        assert first.done(), "the old follower writes its last before the new one begins"
        reply.take(Delta("late", 1))
        return await first, second

    first, second = run(scene())
    assert {status["conversation"] for _, status in first} == {"c1"}
    assert [status["conversation"] for _, status in second] == ["c2"]
    assert not reply.is_stopping


def test_two_pages_follow_the_same_reply(service, follower):
    service.kept["c1"] = conversation_of("Hello", "")
    reply = service.begin()

    async def scene() -> list[list[Any]]:
        tasks = [
            asyncio.create_task(all_of(follower.follow(request_of(page=page), "c1", WINDOW)))
            for page in ("one", "two")
        ]
        await asyncio.sleep(0.02)
        reply.take(Delta("both", 1))
        end(service, reply)
        return await asyncio.gather(*tasks)

    for shown in run(scene()):
        assert texts(shown[-1][0])[-1] == "both"
        assert shown[-1][1]["busy"] is False


def test_the_page_hears_of_a_status_that_is_the_same_again(service, follower, request_):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    one, two = (run(all_of(follower.follow(request_, "c1", WINDOW)))[0][1] for _ in range(2))
    assert one != two
    assert one | {"nonce": 0} == two | {"nonce": 0}


def test_an_end_that_is_stored_meanwhile_is_not_taken_for_a_lost_answer(
    service, follower, request_, monkeypatch
):
    """The service may read the row before the end is stored, and see no reply after it."""
    whole = conversation_of("Hello", "Hi")
    half = replace(whole.messages[1], state="writing", content="H")
    service.kept["c1"] = replace(whole, messages=(whole.messages[0], half))
    reply = Reply("c1", "b1", Numbers(), 0.0)
    reply.take(Finished("stop"))

    def running(owner: str, conversation_id: str) -> Reply:
        service.asked.append(("running", owner, conversation_id))
        return reply

    def conversation(owner: str, conversation_id: str) -> Conversation:
        found = service.kept["c1"]
        service.kept["c1"] = whole
        return found

    monkeypatch.setattr(service, "running", running)
    monkeypatch.setattr(service, "conversation", conversation)
    ((messages, status),) = run(all_of(follower.follow(request_, "c1", WINDOW)))
    assert texts(messages) == ["Hello", "Hi"]
    assert status["text"] == ""


def test_nothing_is_kept_of_a_page_that_is_gone(service, follower, request_):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    run(all_of(follower.follow(request_, "c1", WINDOW)))
    run(all_of(follower.follow(request_, "nowhere", WINDOW)))
    assert follower._views == {}


def test_only_the_window_is_shown_and_the_rest_counted(service, follower, request_):
    many = [str(number) for number in range(100)]
    service.kept["c1"] = conversation_of(*many)
    ((messages, status),) = run(all_of(follower.follow(request_, "c1", WINDOW)))
    assert texts(messages) == many[-WINDOW:]
    assert status["earlier"] == 100 - WINDOW
    ((messages, status),) = run(all_of(follower.follow(request_, "c1", 10**9)))
    assert (len(messages), status["earlier"]) == (100, 0)


@pytest.mark.parametrize(
    ("chars", "shown"),
    [([1] * 1000, 400), ([100_000] * 50, 5), ([1, 499_999, 1], 2), ([1, 1, 1_000_000], 1)],
)
def test_what_one_answer_carries_to_a_stranger_is_bounded(service, request_, chars, shown):
    service.kept["c1"] = conversation_of(*("x" * count for count in chars))
    counts = []
    for door in DOORS:
        service.settings = replace(service.settings, door=door)
        follower = Follower(service, on_this_thread)
        ((messages, status),) = run(all_of(follower.follow(request_, "c1", 1000)))
        assert status["shown"] == len(messages)
        counts.append(len(messages))
    assert counts == [len(chars), shown, shown]


def test_where_no_more_can_be_shown_it_is_said_and_no_button_asks_for_more(service, request_):
    service.settings = replace(service.settings, door="share")
    service.kept["c1"] = conversation_of(*map(str, range(1000)))
    follower, ends = Follower(service, on_this_thread), []
    for window in (WINDOW, STRANGERS_WINDOW - 1, STRANGERS_WINDOW, 1000):
        ((_, status),) = run(all_of(follower.follow(request_, "c1", window)))
        ends.append((status["earlier"], bool(status["unshown"])))
    assert ends == [(980, False), (601, False), (0, True), (0, True)]


@pytest.mark.parametrize("window", [None, "all", True, -5, float("nan")])
def test_a_window_that_is_no_number_is_the_usual_one(service, follower, request_, window):
    service.kept["c1"] = conversation_of(*map(str, range(100)))
    ((messages, _),) = run(all_of(follower.follow(request_, "c1", window)))
    assert len(messages) == WINDOW


def test_a_failure_leaves_the_page_as_it_is(service, follower, request_, caplog):
    service.raises = RuntimeError("secret detail")
    ((chat, status),) = run(all_of(follower.follow(request_, "c1", WINDOW)))
    assert chat == {"__type__": "update"}
    assert set(status) == {"failure", "nonce"}
    assert "secret" not in status["failure"]
    assert "secret detail" in caplog.text


def test_a_foreign_conversation_is_not_shown(service, follower):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    ((chat, status),) = run(all_of(follower.follow(request_of("stranger"), "c1", WINDOW)))
    assert chat == {"__type__": "update"}
    assert status["failure"].startswith("This conversation isn't here.")


def test_an_answer_of_another_version_is_followed_without_being_shown(service, follower, request_):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    reply = Reply("c1", "elsewhere", Numbers(), 0.0)
    service.replies["c1"] = reply

    async def scene() -> list[Any]:
        asyncio.get_running_loop().call_later(0.02, reply.take, Finished("stop"))
        return await all_of(follower.follow(request_, "c1", WINDOW))

    shown = run(scene())
    assert texts(shown[0][0]) == ["Hello", "Hi"]
    assert shown[-1][1]["busy"] is False


def test_the_service_is_called_on_other_threads(service, request_):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    run(all_of(Follower(service, Threads()).follow(request_, "c1", WINDOW)))
    assert service.called
    assert threading.main_thread() not in {thread for _, thread in service.called}


def test_a_long_open_code_block_is_updated_more_rarely():
    code = "```python\n" + "x = 1\n" * 2000
    assert tick_s(code) > TICK_S
    assert tick_s(code + "```\nDone.") < TICK_S  # TICK_S is what it was before the fixture
    assert tick_s("word " * 10_000) == follow.TICK_S
