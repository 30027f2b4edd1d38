"""What the panel "Model" asks for, and what it is told where that fails."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_ui.errors import AccessError, BusyError
from chat_ui.settings import Settings
from chat_ui.ui.model_server import KEPT_CARDS, KEPT_CARDS_S, _KeptCards, server_functions
from chat_ui.ui.offload import Threads
from tests.ui.conftest import SMALL, FakeService, on_this_thread, request_of

SECRET = "hf_secret"
DEADLINE_S = 20.0
GIVEN: dict[str, dict[str, Any]] = {
    "model_choices": {},
    "search_models": {"text": "x"},
    "any_card": {"model": "a/b"},
    "switch_model": {"model": "a/b", "precision": "full"},
    "cancel_load": {},
    "unload_model": {},
    "present_card": {"context": 2048},
}


def ask(service: FakeService, name: str, given: Any, request: Any = None) -> dict[str, Any]:
    functions = server_functions(service, on_this_thread)  # type: ignore[arg-type]
    (function,) = [one for one in functions if one.__name__ == name]
    answer: dict[str, Any] = asyncio.run(function(given, request or request_of()))  # type: ignore[arg-type]
    assert json.dumps(answer)
    return answer


def test_the_choices_come_in_groups(service):
    answer = ask(service, "model_choices", {})
    assert [group["title"] for group in answer["groups"]] == ["On this machine"]
    assert answer["is_pending"] is False


def test_who_opens_the_list_before_all_is_forecast_may_ask_again(service):
    service.unknown = (SMALL,)
    assert ask(service, "model_choices", {})["is_pending"] is True


def test_a_search_passes_the_words_on(service):
    assert ask(service, "search_models", {"text": "small"})["options"][0]["id"] == "a/small-1B"
    assert service.asked == [("search_models", "small")]


def test_a_card_is_asked_for_with_context_and_token(service):
    given = {"model": " a/small-1B ", "context": 8192, "token": f" {SECRET}\n"}
    answer = ask(service, "any_card", given)
    assert answer["card"]["id"] == "a/small-1B"
    assert service.asked == [("model_card", "a/small-1B", 8192, SECRET)]


def test_a_change_is_passed_on_and_gives_nothing_back(service):
    given = {"model": "pocket-guide", "precision": "4bit", "token": SECRET}
    assert ask(service, "switch_model", given) == {}
    assert ask(service, "cancel_load", {}) == {}
    assert ask(service, "unload_model", {}) == {}
    assert service.asked == [
        ("switch_model", "pocket-guide", "4bit", SECRET, False),
        ("cancel_load",),
        ("unload_model",),
    ]


def test_a_refusal_is_a_sentence_and_tells_whether_a_token_may_help(service):
    service.raises = BusyError("Another model is being loaded.", "Wait.")
    assert ask(service, "switch_model", GIVEN["switch_model"]) == {
        "error": "Another model is being loaded. Wait.",
        "is_access": False,
    }
    service.raises = AccessError("It is gated.")
    assert ask(service, "any_card", GIVEN["any_card"])["is_access"] is True


def test_a_token_is_neither_logged_nor_sent_back(service, caplog):
    service.raises = RuntimeError("a defect")
    for name in ("any_card", "switch_model"):
        answer = ask(service, name, GIVEN[name] | {"token": SECRET})
        assert answer["error"].startswith("Something went wrong inside the app.")
        assert SECRET not in json.dumps(answer)
    too_long = ask(service, "any_card", {"model": "a/b", "token": SECRET * 100})
    assert SECRET not in json.dumps(too_long)
    assert SECRET not in caplog.text
    assert "a defect" in caplog.text


@pytest.mark.parametrize(
    "given", [{}, {"model": "  "}, {"model": 5}, {"model": "x" * 5000}, None, ["a/b"]]
)
def test_what_is_no_model_is_refused(service, given):
    for name in ("any_card", "switch_model"):
        assert ask(service, name, given)["error"]
    assert service.asked == []


@pytest.mark.parametrize("context", ["4096", 0, -1, 1.5, True, 2**40, [4096]])
def test_what_is_no_context_is_refused(service, context):
    assert "context" in ask(service, "any_card", {"model": "a/b", "context": context})["error"]
    assert service.asked == []


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ANYTHING
    | st.fixed_dictionaries(
        {"model": ANYTHING, "precision": ANYTHING, "text": ANYTHING, "context": ANYTHING}
    )
)
def test_whatever_a_browser_sends_gets_an_answer(service, given):
    for function in server_functions(service, on_this_thread):
        answer = ask(service, function.__name__, given)
        assert isinstance(answer, dict)


def test_without_a_cookie_nothing_is_asked(service):
    for function in server_functions(service, on_this_thread):
        name = function.__name__
        assert "cookie" in ask(service, name, GIVEN[name], request_of(None))["error"]
    assert service.asked == []


@pytest.mark.parametrize("door", ["space", "share"])
def test_where_the_model_is_fixed_strangers_are_told_the_loaded_one_only(tmp_path, door):
    service = FakeService(Settings(data_dir=tmp_path, door=door))
    for function in server_functions(service, on_this_thread):  # type: ignore[arg-type]
        if function.__name__ not in ("present_card", "model_choices"):
            given = GIVEN[function.__name__]
            assert "fixed" in ask(service, function.__name__, given)["error"]
    assert service.asked == []
    assert ask(service, "present_card", {"context": 2048})["card"]["id"] == "pocket-guide"
    assert service.asked == [("model_card", "pocket-guide", 2048, "")]


@pytest.mark.parametrize("door", ["space", "share"])
def test_where_the_model_is_fixed_the_owner_may_change_it(tmp_path, door):
    service = FakeService(Settings(data_dir=tmp_path, door=door))
    for function in server_functions(service, on_this_thread):  # type: ignore[arg-type]
        given = GIVEN[function.__name__]
        answer = ask(service, function.__name__, given, request_of(is_owner=True))
        assert "error" not in answer
    for name in ("switch_model", "model_card", "search_models", "unload_model", "cancel_load"):
        assert name in {asked[0] for asked in service.asked}


def test_strangers_cards_are_kept_and_few(tmp_path):
    now, made = 0.0, []

    def make(context: int | None) -> Any:
        made.append(context)
        return object()

    kept = _KeptCards(make, clock=lambda: now)
    first = kept.card(1, None)
    assert kept.card(1, None) is first
    for context in range(1, KEPT_CARDS):
        kept.card(1, context)
    for refused in (KEPT_CARDS, 2**31):
        with pytest.raises(BusyError, match="few seconds"):
            kept.card(1, refused)
    assert kept.card(1, 5)
    assert made == [None, *range(1, KEPT_CARDS)]
    now = KEPT_CARDS_S
    assert kept.card(1, None) is not first
    assert kept.card(2, None) is not kept.card(1, None)


def test_a_slow_card_holds_up_none_but_its_own():
    slow, made = threading.Event(), []

    def make(context: int | None) -> Any:
        made.append(context)
        assert context is not None or slow.wait(DEADLINE_S)
        return f"card of {context}"

    kept: Any = _KeptCards(make)
    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(kept.card, 1, None) for _ in range(3)]
        assert kept.card(1, 4096) == "card of 4096"
        slow.set()
        assert {one.result(DEADLINE_S) for one in asking} == {"card of None"}
    assert made.count(None) == 1


def test_a_card_that_failed_is_made_again():
    failures = [RuntimeError("the first time")]

    def make(context: int | None) -> Any:
        if failures:
            raise failures.pop()
        return "card"

    kept: Any = _KeptCards(make)
    with pytest.raises(RuntimeError, match="the first time"):
        kept.card(1, None)
    assert kept.card(1, None) == "card"


def test_the_service_is_never_called_on_the_event_loop_s_thread(service):
    functions = server_functions(service, Threads())

    async def all_of_them() -> None:
        for function in functions:
            await function(GIVEN[function.__name__], request_of())

    asyncio.run(all_of_them())
    assert len(service.called) == len(functions)
    assert threading.main_thread() not in {thread for _, thread in service.called}
