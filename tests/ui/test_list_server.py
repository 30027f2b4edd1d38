"""What the list of conversations asks for, and what it is told where that fails."""

import asyncio
import json
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_ui.errors import NotFoundError
from chat_ui.ui.list_server import server_functions
from chat_ui.ui.offload import Threads
from tests.ui.conftest import OWNER, FakeService, conversation_of, on_this_thread, request_of

GIVEN = {
    "search_conversations": {"text": "x"},
    "rename_conversation": {"id": "c1", "title": "Whales"},
    "pin_conversation": {"id": "c1", "is_pinned": True},
    "delete_conversation": {"id": "c1"},
    "restore_conversation": {"id": "c1"},
    "export_conversations": {"id": "c1", "form": "json"},
}
NAMES = tuple(GIVEN)


def ask(
    service: FakeService, name: str, given: Any, request: Any = None, offload: Any = on_this_thread
) -> dict[str, Any]:
    functions = server_functions(service, offload)  # type: ignore[arg-type]
    (function,) = [one for one in functions if one.__name__ == name]
    answer: dict[str, Any] = asyncio.run(function(given, request or request_of()))  # type: ignore[arg-type]
    assert json.dumps(answer)
    return answer


def test_a_search_gives_lines_with_what_was_found(service):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    answer = ask(service, "search_conversations", {"text": "hello"})
    assert answer["conversations"] == [
        {
            "id": "c1",
            "title": "Title",
            "updated_at": "2026-01-02T03:04:05+00:00",
            "is_pinned": False,
            "found": "… hello …",
        }
    ]
    assert service.asked == [("search_conversations", OWNER, "hello")]


@pytest.mark.parametrize(
    ("name", "given", "asked"),
    [
        ("rename_conversation", {"id": "c1", "title": "Whales"}, ("c1", "Whales")),
        ("pin_conversation", {"id": "c1", "is_pinned": True}, ("c1", True)),
        ("pin_conversation", {"id": "c1", "is_pinned": False}, ("c1", False)),
        ("delete_conversation", {"id": "c1"}, ("c1",)),
        ("restore_conversation", {"id": "c1"}, ("c1",)),
    ],
)
def test_a_change_is_passed_on_with_the_owner_of_the_cookie(service, name, given, asked):
    assert ask(service, name, given) == {}
    assert service.asked == [(name, OWNER, *asked)]
    assert ask(service, name, given | {"owner": "another"})["error"]
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("given", "asked", "name", "kind"),
    [
        ({"id": "c1", "form": "json"}, ("export_json", OWNER, "c1"), "Title.json", "json"),
        ({"id": "", "form": "json"}, ("export_json", OWNER, None), "Title.json", "json"),
        (
            {"id": "c1", "form": "markdown"},
            ("export_markdown", OWNER, "c1"),
            "Title.md",
            "markdown",
        ),
        ({"form": "markdown"}, ("export_markdown", OWNER, None), "Title.md", "markdown"),
    ],
)
def test_an_export_is_a_file_of_one_conversation_or_all(service, given, asked, name, kind):
    answer = ask(service, "export_conversations", given)
    assert service.asked == [asked]
    assert answer["name"] == name
    assert kind in answer["type"]
    assert answer["text"]


@pytest.mark.parametrize("name", NAMES)
def test_who_has_no_cookie_changes_nothing(service, name):
    answer = ask(service, name, GIVEN[name], request_of(owner=None))
    assert "cookie" in answer["error"]
    assert service.asked == []


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_is_a_sentence_and_no_exception(service, name):
    service.raises = NotFoundError()
    assert ask(service, name, GIVEN[name])["error"]
    service.raises = RuntimeError("secret")
    assert "secret" not in ask(service, name, GIVEN[name])["error"]


@pytest.mark.parametrize("name", NAMES)
def test_the_database_is_asked_off_the_event_loop(service, name):
    ask(service, name, GIVEN[name], offload=Threads())
    assert service.called
    assert all(thread is not threading.main_thread() for _, thread in service.called)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("name", NAMES)
@given(
    sent=_JSON | st.fixed_dictionaries({}, optional={"id": _JSON, "text": _JSON, "title": _JSON})
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_they_take_anything(service, name, sent):
    answer = ask(service, name, sent)
    assert "error" not in answer or "Something went wrong" not in answer["error"]
