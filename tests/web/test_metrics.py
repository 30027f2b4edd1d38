"""/metrics: the format, to whom it is shown, and that it holds nothing of anybody."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from chat_ui.chat.generation import GenerationConfig
from chat_ui.engine.fake import FakeLoader, Script
from chat_ui.errors import BusyError
from chat_ui.limits import LIMITS, Door
from chat_ui.service import ChatService, ReplyOptions
from chat_ui.settings import Settings
from chat_ui.ui.texts import texts_in
from chat_ui.web import metrics
from chat_ui.web.guard import Guard
from chat_ui.web.hosts import Hosts
from chat_ui.web.key import KeyMiddleware, Keys
from chat_ui.web.metrics import Visitors, metrics_route
from tests.service.instruments import FakeInstruments

KEYS = Keys(visitor="v" * 43, owner="o" * 43)
OWNER = "a" * 64
CANARY = "canary-in-a-prompt"
DEADLINE_S = 20.0

# Source: prometheus.io/docs/instrumenting/exposition_formats.
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)?\}})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


def parsed(text: str) -> dict[str, float]:
    """Samples by name and labels; fails at whatever the format does not allow."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        if match := re.fullmatch(rf"# HELP ({NAME}) .+", line):
            assert match[1] not in kinds
            kinds[match[1]] = ""
        elif match := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|summary)", line):
            assert kinds[match[1]] == ""
            assert match[1] == list(kinds)[-1]
            kinds[match[1]] = match[2]
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            name, kind = list(kinds.items())[-1]
            names = {name} if kind != "summary" else {f"{name}_sum", f"{name}_count"}
            assert sample[1] in names
            assert kind != "counter" or name.endswith("_total")
            key = sample[1] + (f"{{{sample[2]}}}" if sample[2] else "")
            assert key not in found
            found[key] = float(sample[3])
    return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ChatService]:
    def answer(prompt: str) -> Script:
        fails = {"fails_at": 2} if "fail" in prompt else {}
        return Script(text=f"You said: {prompt}", **fails)  # type: ignore[arg-type]

    settings = Settings(data_dir=tmp_path, model="pocket-guide", limits=LIMITS["local"])
    made = ChatService(settings, FakeLoader(answer), FakeInstruments())
    yield made
    made.close()


def browser(service: ChatService, door: Door, keys: Keys, tmp_path: Path) -> TestClient:
    settings = Settings(data_dir=tmp_path, door=door, limits=LIMITS[door])
    app = Starlette(routes=[metrics_route(service, keys, Visitors())])
    gated = Guard(KeyMiddleware(app, settings, keys, texts_in), settings, Hosts.of(settings))
    return TestClient(gated, base_url="https://127.0.0.1:7860", follow_redirects=False)


def test_metrics_count_and_hold_nothing_of_anybody(
    service: ChatService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chat_ui.events")
    options = ReplyOptions(config=GenerationConfig(seed=1))
    for text in (CANARY, f"fail {CANARY}"):
        assert service.reply(OWNER, None, text, options).stored.wait(DEADLINE_S)
    service.note_refusal(BusyError(CANARY))
    service.note_refusal(RuntimeError(CANARY))
    page = browser(service, "local", Keys(), tmp_path).get("/metrics")
    assert page.headers["content-type"] == metrics.MEDIA_TYPE
    found = parsed(page.text)
    assert found['chat_ui_answers_total{state="complete"}'] == 1
    assert found['chat_ui_answers_total{state="failed"}'] == 1
    assert sum(n for name, n in found.items() if "errors_total" in name) == 1
    assert found['chat_ui_refusals_total{error="BusyError"}'] == 1
    assert found['chat_ui_refusals_total{error="defect"}'] == 1
    assert found["chat_ui_generated_tokens_total"] >= 5
    assert found["chat_ui_first_token_seconds_count"] == 2
    assert found["chat_ui_first_token_seconds_sum"] > 0
    assert found["chat_ui_answers_running"] == found["chat_ui_answers_waiting"] == 0
    assert found["chat_ui_memory_bytes"] > 1e6
    lines = [json.loads(one.message) for one in caplog.records if one.name == "chat_ui.events"]
    assert [one["event"] for one in lines] == ["answer", "answer", "refusal", "refusal"]
    assert [one.get("state") for one in lines[:2]] == ["complete", "failed"]
    assert lines[0]["model"] == "pocket-guide"
    assert len({one["id"] for one in lines}) == 4
    for secret in (CANARY, OWNER, "You said"):
        assert secret not in page.text + json.dumps(lines)


def test_an_id_with_quotes_and_lines_breaks_no_line(
    service: ChatService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Settings(data_dir=tmp_path, model='a"b\\c\nd')
    monkeypatch.setattr(service, "settings", odd)
    assert parsed(browser(service, "local", Keys(), tmp_path).get("/metrics").text)


@pytest.mark.parametrize("door", ["space", "share"])
def test_where_strangers_come_metrics_are_the_owner_s(
    service: ChatService, tmp_path: Path, door: Door
) -> None:
    keys = KEYS if door == "share" else Keys(owner=KEYS.owner)
    visitor = browser(service, door, keys, tmp_path)
    for header in ("", "Bearer ", "Bearer wrong", f"Bearer {KEYS.visitor}", KEYS.owner, "Basic x"):
        answer = visitor.get("/metrics", headers={"authorization": header})
        assert (answer.status_code, answer.text) == (404, "There is nothing here.\n")
    visitor.get("/", params={"key": KEYS.visitor})
    assert visitor.get("/metrics").status_code == 404
    by_key = visitor.get("/metrics", headers={"authorization": f"Bearer {KEYS.owner}"})
    assert parsed(by_key.text)
    visitor.get("/", params={"owner": KEYS.owner})
    assert parsed(visitor.get("/metrics").text)


def test_visitors_are_those_of_the_last_quarter_of_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    visitors = Visitors(lambda: now)
    for owner in ("a", "b", "a"):
        visitors.see(owner)
    assert visitors.count() == 2
    now = metrics.SEEN_S
    visitors.see("a")
    now += 1
    assert visitors.count() == 1
    monkeypatch.setattr(metrics, "MAX_SEEN", 3)
    for number in range(10):
        visitors.see(str(number))
    assert visitors.count() == 3
