"""Handlers: what they pass on, what they refuse, and that the event loop is left free."""

import asyncio
import threading
from dataclasses import replace

import gradio as gr
import pytest

from chat_ui.chat.generation import GenerationConfig
from chat_ui.errors import BusyError
from chat_ui.limits import LIMITS
from chat_ui.service import ReplyOptions
from chat_ui.ui.follow import WINDOW
from chat_ui.ui.handlers import Handlers
from chat_ui.ui.offload import Threads
from tests.ui.conftest import OWNER, FakeService, conversation_of, on_this_thread, request_of
from tests.ui.test_generation_panel import DEFAULTS, NAMES

VALUES = [DEFAULTS[name] for name in NAMES]


@pytest.fixture
def handlers(service: FakeService) -> Handlers:
    return Handlers(service, on_this_thread)  # type: ignore[arg-type]


def test_a_message_goes_to_the_service_with_the_panels_settings(service, handlers, request_):
    given = asyncio.run(
        handlers.send(request_, "Hello", "", False, "", "", "Be kind.", "Well, ", True, *VALUES)
    )
    assert service.asked == [
        ("reply", OWNER, None, "Hello", ReplyOptions("Be kind.", GenerationConfig(), "Well, "))
    ]
    assert (given[0], given[1]["kind"], given[1]["conversation"]) == ("new", "sent", "new")


@pytest.mark.parametrize(
    "texts",
    [
        (5, "", False, "", "", "", ""),
        (["Hello"], "", False, "", "", "", ""),
        ("Hello", 5, False, "c1", "", "", ""),
        ("Hello", "x" * 65, False, "c1", "", "", ""),
        ("Hello", "", False, {"a": 1}, "", "", ""),
        ("Hello", "", False, "x" * 65, "", "", ""),
        ("Hello", "", False, "c1", 5, "", ""),
        ("Hello", "", False, "c1", "x" * 65, "", ""),
        ("Hello", "", False, "", "", 7, ""),
        ("Hello", "", False, "", "", "", ["Well"]),
    ],
)
def test_what_is_no_text_is_refused_and_stays_unsent(service, handlers, request_, texts):
    _, said = asyncio.run(handlers.send(request_, *texts, True, *VALUES))
    assert said["kind"] == "unsent"
    assert said["sentence"]
    assert service.asked == []


@pytest.mark.parametrize("count", [513, 600, 4096, 100_000])
def test_more_new_tokens_than_this_server_gives_are_refused_with_its_own_limit(
    service, request_, count
):
    service.settings = replace(service.settings, door="share", limits=LIMITS["share"])
    handlers = Handlers(service, on_this_thread)
    settings = [count if name == "max_new_tokens" else DEFAULTS[name] for name in NAMES]
    said = [
        asyncio.run(handlers.send(request_, "Hi", "", False, "", "", "", "", True, *settings))[1],
        asyncio.run(handlers.regenerate(request_, "c1", "", "", "", True, *settings)),
        asyncio.run(handlers.go_on(request_, "c1", "", "", "", True, *settings)),
    ]
    for one in said:
        assert one["sentence"] == (
            "Max new tokens has to be a whole number from 1 to 512. Set it in its panel."
        )
    assert service.asked == []


def test_the_service_is_told_who_asks_for_an_answer(service, handlers):
    request = request_of(is_owner=True, address="8.8.4.4")
    asyncio.run(handlers.send(request, "Hi", "", False, "", "", "", "", True, *VALUES))
    asyncio.run(handlers.regenerate(request, "c1", "", "", "", True, *VALUES))
    asyncio.run(handlers.go_on(request, "c1", "", "", "", True, *VALUES))
    told = [value for one in service.asked for value in one if isinstance(value, ReplyOptions)]
    assert [(one.is_owner, one.address) for one in told] == [(True, "8.8.4.4")] * 3


def test_a_refusal_keeps_the_conversation_and_says_why(service, handlers, request_):
    service.raises = BusyError("An answer is being written.", "Wait for it.")
    given, said = asyncio.run(
        handlers.send(request_, "Hello", "", False, "c1", "", "", "", True, *VALUES)
    )
    assert given == gr.skip(), "the page shows what it showed"
    assert "conversation" not in said
    assert (said["kind"], said["sentence"]) == (
        "unsent",
        "An answer is being written. Wait for it.",
    )


def test_a_defect_is_logged_and_never_shown(service, handlers, request_, caplog):
    service.raises = RuntimeError("secret detail")
    _, said = asyncio.run(
        handlers.send(request_, "Hello", "", False, "c1", "", "", "", True, *VALUES)
    )
    assert "secret" not in said["sentence"]
    assert said["sentence"].startswith("Something went wrong inside the app.")
    assert "secret detail" in caplog.text


def test_without_a_cookie_nothing_is_done(service, handlers):
    for owner in (None, "", 5):
        request = request_of(owner)  # type: ignore[arg-type]
        _, said = asyncio.run(
            handlers.send(request, "Hello", "", False, "", "", "", "", True, *VALUES)
        )
        assert said["kind"] == "unsent"
        assert "cookie" in said["sentence"]
    assert service.asked == []
    assert service.refused == ["NoCookieError"] * 3


def test_opening_gives_the_system_prompt(service, handlers, request_):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    given = asyncio.run(handlers.open(request_, "c1"))
    assert given[:4] == ("c1", "Be kind.", "", WINDOW)
    assert (given[4]["kind"], given[4]["conversation"]) == ("opened", "c1")


def test_loading_a_new_chat_leaves_alone_what_was_typed_or_sent_meanwhile(
    service, handlers, request_
):
    *given, said = asyncio.run(handlers.load(request_, ""))
    assert given == [gr.skip()] * 4
    assert said["kind"] == "opened"
    assert "conversation" not in said, "the page may show one by now"
    service.kept["c1"] = conversation_of("Hello", "Hi")
    assert asyncio.run(handlers.load(request_, "c1"))[:2] == ("c1", "Be kind.")


def test_an_unknown_conversation_opens_a_new_chat_with_a_notice(handlers, request_):
    for unknown in ("nowhere", "x" * 1000, 5, ["c1"], "c1\n", "\ud800"):
        *given, said = asyncio.run(handlers.open(request_, unknown))
        assert given == ["", "", "", WINDOW]
        assert (said["kind"], said["conversation"]) == ("absent", "")
        assert said["sentence"]


def test_a_new_chat_asks_the_service_nothing(service, handlers, request_):
    *given, said = asyncio.run(handlers.open(request_, ""))
    assert given == ["", "", "", WINDOW]
    assert (said["kind"], said["sentence"]) == ("opened", "")
    assert service.asked == []


def test_two_equal_outcomes_can_be_told_apart(handlers, request_):
    one, two = (asyncio.run(handlers.open(request_, "nowhere"))[4] for _ in range(2))
    assert one["nonce"] != two["nonce"]


@pytest.mark.parametrize(
    ("has_switch", "value", "thinking"),
    [(True, True, True), (True, False, False), (True, None, None), (False, False, None)],
)
def test_thinking_is_switched_only_where_the_model_has_a_switch(
    service, handlers, request_, has_switch, value, thinking
):
    service.status = replace(service.status, has_thinking_switch=has_switch)
    asyncio.run(handlers.send(request_, "Hello", "", False, "c1", "", "", "", value, *VALUES))
    assert service.asked[-1][-1] == ReplyOptions(thinking=thinking)


def test_a_switch_is_kept_for_the_model_that_is_being_loaded(service, handlers, request_):
    service.status = replace(service.status, phase="loading")
    asyncio.run(handlers.send(request_, "Hello", "", False, "c1", "", "", "", False, *VALUES))
    assert service.asked[-1][-1] == ReplyOptions(thinking=False)


def test_an_edited_question_goes_to_the_service_as_such(service, handlers, request_):
    given, said = asyncio.run(
        handlers.send(request_, "Hello", "b0", False, "c1", "b3", "Be kind.", "", True, *VALUES)
    )
    assert service.asked == [
        ("edit_question", OWNER, "c1", "b0", "Hello", ReplyOptions("Be kind."))
    ]
    assert (given, said["kind"], said["conversation"]) == ("c1", "sent", "c1")


def test_a_temporary_chat_is_begun_where_the_page_says_so_and_nothing_else(
    service, handlers, request_
):
    for value in (True, False, None, 1, "true", ["x"]):
        asyncio.run(handlers.send(request_, "Hello", "", value, "", "", "", "", True, *VALUES))
    asked = ("reply", OWNER, None, "Hello", ReplyOptions())
    assert service.asked == [(*asked, "temporary"), asked], "what is neither is refused"


def test_going_on_is_asked_of_the_last_answer_and_begins_with_nothing_else(
    service, handlers, request_
):
    said = asyncio.run(handlers.go_on(request_, "c1", "", "Be kind.", "Well, ", True, *VALUES))
    assert service.asked == [("continue_answer", OWNER, "c1", None, ReplyOptions("Be kind."))]
    assert said["kind"] == "done"


def test_what_is_asked_for_is_asked_of_the_message_that_the_page_shows(service, handlers, request_):
    asked = (request_, "c1", "b3", "", "", True, *VALUES)
    asyncio.run(handlers.send(request_, "Hello", "", False, *asked[1:]))
    asyncio.run(handlers.regenerate(*asked))
    asyncio.run(handlers.go_on(*asked))
    assert service.asked == [
        ("reply", OWNER, "c1", "Hello", ReplyOptions(), "after b3"),
        ("regenerate", OWNER, "c1", ReplyOptions(), "b3"),
        ("continue_answer", OWNER, "c1", "b3", ReplyOptions()),
    ]


def test_regenerate_and_stop_go_to_the_service(service, handlers, request_):
    asyncio.run(handlers.regenerate(request_, "c1", "", "", "", True, *VALUES))
    asyncio.run(handlers.stop(request_, "c1"))
    assert service.asked == [
        ("regenerate", OWNER, "c1", ReplyOptions(), None),
        ("stop_reply", OWNER, "c1"),
    ]


def test_earlier_messages_come_by_the_window(handlers):
    assert asyncio.run(handlers.earlier(WINDOW)) == 2 * WINDOW
    assert asyncio.run(handlers.earlier("all")) == 2 * WINDOW
    assert asyncio.run(handlers.earlier(10**9)) == 3000


def test_the_service_is_never_called_on_the_event_loop_s_thread(service, request_):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    handlers = Handlers(service, Threads())

    async def all_of_them() -> None:
        await handlers.open(request_, "c1")
        await handlers.send(request_, "Hello", "", False, "c1", "", "", "", True, *VALUES)
        await handlers.regenerate(request_, "c1", "", "", "", True, *VALUES)
        await handlers.send(request_, "Hello", "b0", False, "c1", "", "", "", True, *VALUES)
        await handlers.go_on(request_, "c1", "", "", "", True, *VALUES)
        await handlers.stop(request_, "c1")

    asyncio.run(all_of_them())
    called = {method for method, _ in service.called}
    assert called == {
        "conversation", "reply", "regenerate", "edit_question", "continue_answer", "stop_reply",
    }  # fmt: skip
    assert threading.main_thread() not in {thread for _, thread in service.called}
