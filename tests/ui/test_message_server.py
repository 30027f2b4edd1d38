"""What is asked of the server about one message."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_ui.errors import BusyError
from chat_ui.ui.message_bars import bars, digest
from chat_ui.ui.message_server import server_functions
from tests.ui.conftest import OWNER, FakeService, conversation_of, on_this_thread, request_of

M1 = {"conversation": "c1", "message": "b1"}
CHANGES = ("edit_answer", "show_version", "branch", "python_script")
NAMES = ("message_bars", "message_text", "message_details", *CHANGES)


@pytest.fixture
def service(service: FakeService) -> FakeService:
    service.kept["c1"] = conversation_of("Hello", "Hi **you**")
    return service


def ask(service: FakeService, name: str, given: Any, request: Any = None) -> dict[str, Any]:
    functions = server_functions(service, on_this_thread)  # type: ignore[arg-type]
    (function,) = [one for one in functions if one.__name__ == name]
    answer: dict[str, Any] = asyncio.run(function(given, request or request_of()))  # type: ignore[arg-type]
    assert json.dumps(answer)
    return answer


def test_a_message_s_text_is_the_original(service):
    marked = replace(service.kept["c1"].messages[1], content="a\u2060b <tag>")
    first = service.kept["c1"].messages[0]
    service.kept["c1"] = replace(service.kept["c1"], messages=(first, marked))
    assert ask(service, "message_text", M1) == {"text": "a\u2060b <tag>"}


def test_the_bars_come_with_the_digest_that_the_status_names(service):
    answer = ask(service, "message_bars", {"conversation": "c1", "shown": 2})
    assert [bar["id"] for bar in answer["bars"]] == ["b0", "b1"]
    assert answer["digest"] == digest(bars(service.kept["c1"], 30))


@pytest.mark.parametrize(("door", "most"), [("local", 1000), ("space", 400), ("share", 400)])
def test_a_page_gets_as_many_bars_as_it_shows_messages_and_a_stranger_few(service, door, most):
    service.settings = replace(service.settings, door=door)
    service.kept["c1"] = conversation_of(*map(str, range(1000)))
    for shown, count in ((0, 1), (1, 1), (7, 7), (10**9, most)):
        answer = ask(service, "message_bars", {"conversation": "c1", "shown": shown})
        assert len(answer["bars"]) == count


def test_details_are_names_and_values(service):
    answer = json.loads(json.dumps(ask(service, "message_details", M1)))
    assert ["Model", "Not known: edited by hand, or imported"] in answer["details"]
    assert answer["written"] == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(
    ("name", "more", "asked", "answer"),
    [
        ("edit_answer", {"text": "No."}, ("No.",), {}),
        ("show_version", {}, (), {}),
        ("branch", {}, (), {"conversation": "c9"}),
        ("python_script", {}, (), {"text": "print()"}),
    ],
)
def test_the_rest_is_passed_on_with_the_owner_of_the_cookie(service, name, more, asked, answer):
    assert ask(service, name, {**M1, **more}) == answer
    assert service.asked == [(name, OWNER, "c1", "b1", *asked)]
    assert ask(service, name, {**M1, **more, "owner": "another"})["error"]
    assert len(service.asked) == 1


@pytest.mark.parametrize("name", NAMES)
def test_strangers_and_those_without_a_cookie_get_a_sentence(service, name):
    for owner in (None, "another"):
        if owner and name in CHANGES:
            continue  # the service's own check
        assert ask(service, name, M1, request_of(owner))["error"]


@pytest.mark.parametrize("name", ["message_text", "message_details"])
def test_an_unknown_message_is_told_as_such(service, name):
    answer = ask(service, name, {"conversation": "c1", "message": "b7"})
    assert "Something went wrong" not in answer["error"]


def test_a_refusal_comes_as_its_sentence(service):
    service.raises = BusyError("It is being written.", "Wait for it.")
    assert ask(service, "branch", M1)["error"] == "It is being written. Wait for it."


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("name", NAMES)
@given(
    sent=_JSON | st.fixed_dictionaries({}, optional=dict.fromkeys([*M1, "text", "shown"], _JSON))
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_they_take_anything(service, name, sent):
    answer = ask(service, name, sent)
    assert "error" not in answer or "Something went wrong" not in answer["error"]
