"""What the meter "Context" asks for."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_ui.chat.generation import GenerationConfig
from chat_ui.service import ReplyOptions
from chat_ui.ui.context_server import server_functions
from tests.ui.conftest import OWNER, FakeService, on_this_thread, request_of


def ask(service: FakeService, given: Any) -> dict[str, Any]:
    (function,) = server_functions(service, on_this_thread)  # type: ignore[arg-type]
    answer: dict[str, Any] = asyncio.run(function(given, request_of()))  # type: ignore[arg-type]
    assert json.dumps(answer)
    return answer


@pytest.mark.parametrize(("has_switch", "thinking"), [(True, True), (False, None)])
def test_it_counts_what_would_be_sent_with_the_panels_settings(service, has_switch, thinking):
    service.status = replace(service.status, has_thinking_switch=has_switch)
    sent = {
        "conversation": "c1",
        "edited": "b3",
        "draft": "Hello",
        "system_prompt": "Be kind.",
        "max_new_tokens": 64,
        "thinking": True,
        "begins_with": "Dear",
    }
    use = ask(service, sent)["use"]
    assert (use["window_tokens"], use["history_tokens"]) == (2_048, 300)
    assert (use["dropped_messages"], use["first_message_id"]) == (2, "b4")
    config = GenerationConfig(max_new_tokens=64)
    options = ReplyOptions("Be kind.", config, "Dear", thinking)
    assert service.asked == [("context_use", OWNER, "c1", "Hello", options, "b3")]


def test_a_new_chat_has_no_conversation(service):
    ask(service, {})
    assert service.asked == [("context_use", OWNER, None, "", ReplyOptions(), None)]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_NAMES = [
    "conversation", "edited", "draft", "system_prompt", "begins_with", "max_new_tokens", "thinking",
]  # fmt: skip


@given(sent=_JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(_NAMES, _JSON)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_it_takes_anything(service, sent):
    answer = ask(service, sent)
    assert "error" not in answer or "Something went wrong" not in answer["error"]
