"""The pulse: what every open page asks for, all the time."""

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from chat_ui.ui.pulse import pulse_of
from tests.ui.conftest import OWNER, FakeService, conversation_of, on_this_thread, request_of


@pytest.fixture
def pulse(service: FakeService):
    asked: Any = pulse_of(service, on_this_thread)  # type: ignore[arg-type]
    return lambda seen, request=None: asyncio.run(asked(seen, request or request_of()))


def test_it_tells_the_model_the_list_and_the_notice(service, pulse):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    service.notice = "A damaged database was set aside."
    now = pulse({"conversation": "c1", "list": ""})
    assert now["model"]["label"] == "Pocket Guide"
    assert now["model"]["facts"] == "Full precision · float32"
    assert [(one["id"], one["title"]) for one in now["conversations"]] == [("c1", "Title")]
    assert now["notice"] == "A damaged database was set aside."
    assert now["running"] is False
    assert json.dumps(now)


def test_it_tells_who_may_change_the_model(service, pulse):
    assert pulse({})["model"]["may_change"] is True
    service.settings = replace(service.settings, door="space")
    assert pulse({})["model"]["may_change"] is False
    assert pulse({}, request_of(is_owner=True))["model"]["may_change"] is True


def test_the_owner_alone_is_told_that_the_chat_is_paused(service, pulse, tmp_path):
    service.settings = replace(service.settings, door="share", data_dir=tmp_path)
    owner = request_of(is_owner=True, language="de")
    assert pulse({}, owner)["notice"] == ""
    (tmp_path / "STOP").touch()
    assert pulse({}, owner)["notice"] == "Angehalten: Nur du kommst herein."
    assert pulse({})["notice"] == ""
    service.notice = "A damaged database was set aside."
    assert pulse({}, owner)["notice"].endswith("herein. A damaged database was set aside.")


def test_a_list_that_the_page_has_is_not_sent_again(service, pulse):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    digest = pulse({})["list"]
    assert pulse({"list": digest})["conversations"] is None
    service.kept["c1"] = replace(service.kept["c1"], title="Another")
    assert pulse({"list": digest})["conversations"][0]["title"] == "Another"


def test_a_pinned_conversation_is_news_of_the_list(service, pulse):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    digest = pulse({})["list"]
    service.pinned.add("c1")
    assert pulse({"list": digest})["conversations"][0]["is_pinned"] is True


def test_it_tells_that_an_answer_is_being_written(service, pulse):
    service.kept["c1"] = conversation_of("Hello", "")
    reply = service.begin()
    assert pulse({"conversation": "c1"})["running"] is True
    reply.fail(RuntimeError())
    assert pulse({"conversation": "c1"})["running"] is False


def test_news_in_the_page_s_conversation_changes_the_version(service, pulse):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    before = pulse({"conversation": "c1"})["version"]
    newer = service.kept["c1"].updated_at.replace(year=2030)
    service.kept["c1"] = replace(service.kept["c1"], updated_at=newer)
    assert pulse({"conversation": "c1"})["version"] != before != ""


def test_a_temporary_chat_is_in_no_list_and_has_news_of_its_own(service, pulse):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    service.kept["t1"] = conversation_of("Hello", "Hi", conversation_id="t1")
    before = pulse({"conversation": "t1"})
    assert [one["id"] for one in before["conversations"]] == ["c1"]
    newer = service.kept["t1"].updated_at.replace(year=2030)
    service.kept["t1"] = replace(service.kept["t1"], updated_at=newer)
    after = pulse({"conversation": "t1", "list": before["list"]})
    assert after["conversations"] is None
    assert after["version"] != before["version"] != ""
    reply = service.begin("t1")
    assert pulse({"conversation": "t1"})["running"] is True
    reply.fail(RuntimeError())
    assert pulse({"conversation": "t1"})["gone"] == ""
    del service.kept["t1"]
    assert pulse({"conversation": "t1"})["version"] == ""


def test_it_says_that_the_page_s_conversation_was_deleted_elsewhere(service, pulse):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    assert pulse({"conversation": "c1"})["gone"] == ""
    del service.kept["c1"]
    assert pulse({"conversation": "c1"})["gone"] == "c1"
    assert pulse({"conversation": ""})["gone"] == ""


def test_one_that_is_in_the_list_is_not_looked_up_again(service, pulse):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    pulse({"conversation": "c1"})
    pulse({"conversation": ""})
    assert "summary" not in [method for method, *_ in service.asked]


@pytest.mark.parametrize("seen", [5, "c1", [], {"conversation": ["c1"], "list": {}}, {"x": 1}])
def test_it_takes_anything_and_answers_with_a_sentence(service, pulse, seen):
    now = pulse(seen)
    assert set(now) == {"server", "error"}
    assert "Something went wrong" not in now["error"]
    assert service.asked == []


def test_a_page_that_knows_nothing_yet_is_told_all(pulse):
    assert pulse({"conversation": None, "list": ""})["running"] is False


def test_without_a_cookie_it_tells_nothing_but_why(service, pulse):
    now = pulse({}, request_of(None))
    assert set(now) == {"server", "error"}
    assert "cookie" in now["error"]
    assert service.asked == []


def test_a_defect_is_logged_and_not_told(service, pulse, caplog):
    service.raises = RuntimeError("secret detail")
    now = pulse({})
    assert "secret" not in json.dumps(now)
    assert "secret detail" in caplog.text


def test_it_knows_the_visitor_of_a_plain_request(service, pulse):
    """Gradio hands a server function the plain request, not its own."""
    pulse({}, SimpleNamespace(state=SimpleNamespace(owner=OWNER)))
    assert service.asked[0] == ("conversations", OWNER)
