"""Every answer of the server is in the language of whoever asks for it."""

import asyncio
from typing import Any

from chat_ui.ui import message_server, model_server
from chat_ui.ui.follow import WINDOW, Follower
from chat_ui.ui.pulse import pulse_of
from tests.ui.conftest import conversation_of, on_this_thread, request_of

GERMAN = request_of(language="de-DE,de;q=0.9,en;q=0.8")


def ask(functions: list[Any], name: str, given: Any) -> dict[str, Any]:
    (function,) = [one for one in functions if one.__name__ == name]
    answer: dict[str, Any] = asyncio.run(function(given, GERMAN))
    return answer


def test_the_line_under_the_chat(service):
    service.kept["t1"] = conversation_of("Hello", "", conversation_id="t1")

    async def scene() -> list[Any]:
        follower = Follower(service, on_this_thread)
        return [one async for one in follower.follow(GERMAN, "t1", WINDOW)]

    messages, status = asyncio.run(scene())[0]
    assert status["notes"] == ["Temporärer Chat: Er wird nicht gespeichert."]
    assert "Die Antwort ist leer." in messages[1]["content"][0]["text"]


def test_the_line_under_the_chat_while_an_answer_grows(service):
    service.kept["c1"] = conversation_of("Hello", "")
    reply = service.begin()

    async def scene() -> str:
        async for _, status in Follower(service, on_this_thread).follow(GERMAN, "c1", WINDOW):
            reply.ended.set()
            return str(status["text"])
        return ""

    assert asyncio.run(scene()) == "In der Warteschlange…"


def test_the_pulse(service):
    service.kept["c1"] = conversation_of()
    pulse: Any = pulse_of(service, on_this_thread)
    now = asyncio.run(pulse({}, GERMAN))
    assert now["model"]["state"] == "Bereit"


def test_details(service):
    service.kept["c1"] = conversation_of("Hello", "Hi")
    functions = message_server.server_functions(service, on_this_thread)
    answer = ask(functions, "message_details", {"conversation": "c1", "message": "b1"})
    assert dict(answer["details"])["Modell"] == "Nicht bekannt: von Hand geändert oder importiert"


def test_the_panel_model(service):
    functions = model_server.server_functions(service, on_this_thread)
    groups = ask(functions, "model_choices", {})["groups"]
    assert [group["title"] for group in groups] == ["Auf diesem Rechner"]
    card = ask(functions, "any_card", {"model": "a/small-1B"})["card"]
    assert card["counts"] == "4.700.000 Parameter"
    assert card["precisions"][0]["label"] == "Voll"
