"""Every event and call of the page over plain HTTP, as a program asks that is no page.

At each of the three doors.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_ui.limits import DOORS, Door
from tests.e2e.chat import LONG
from tests.e2e.conftest import ROOT, Serve, Server

# So many at each door; `FUZZ_REQUESTS=10000 pytest tests/e2e/test_strangers.py` for a deep run.
REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "240"))
DOOR_FLAGS: dict[Door, list[str]] = {
    "local": [],
    "space": ["--door", "space"],
    "share": ["--door", "share", "--public"],
}
# Off, because one visitor asks what a hundred would: the rates have tests of their own.
NO_RATES = [
    "--max-turns-per-minute", "0",
    "--max-turns-per-minute-per-visitor", "0",
    "--max-visitors-per-minute", "0",
    "--max-conversations-per-visitor", "0",
]  # fmt: skip
SETTINGS = [0.7, 0.95, 64, 0, 0, 1, None, None, False]
CANARY = "canary-7d41c0"
SESSION = "abc123"
JSON_TYPE = {"content-type": "application/json"}

# What a call takes, where it isn't a conversation and a message.
FIELDS: dict[str, tuple[str, ...]] = {
    "search_conversations": ("text",), "rename_conversation": ("id", "title"),
    "pin_conversation": ("id", "is_pinned"), "delete_conversation": ("id",),
    "restore_conversation": ("id",), "export_conversations": ("id", "form"),
    "message_bars": ("conversation", "shown"), "pulse": ("conversation", "list"),
    "edit_answer": ("conversation", "message", "text"),
    "context_use": ("conversation", "edited"),
    "any_card": ("model",), "search_models": ("text",), "switch_model": (),
    "model_choices": (), "cancel_load": (), "unload_model": (), "present_card": (),
}  # fmt: skip


@dataclass
class Target:
    """An event or a call, as the page's own config names it."""

    name: str
    path: str
    body: dict[str, Any]
    values: int = 0


@dataclass
class Asked:
    """One visitor's connection."""

    server: Server
    client: httpx.Client

    def post(self, path: str, body: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(f"/gradio_api/{path}", content=content, headers=JSON_TYPE)

    def outcome(self, target: Target, body: Any) -> tuple[int, str]:
        """The status, and everything that comes back: of an event also its stream."""
        answer = self.post(target.path, body)
        if answer.status_code != 200 or target.path != "queue/join":
            return answer.status_code, answer.text
        session = body["session_hash"] if isinstance(body, dict) else SESSION
        lines: list[str] = []
        url = f"/gradio_api/queue/data?session_hash={session}"
        with self.client.stream("GET", url) as stream:
            for line in stream.iter_lines():
                lines.append(line)
                if '"close_stream"' in line:
                    break
        return 200, "\n".join(lines)


def config_of(page: str) -> dict[str, Any]:
    start = page.index("window.gradio_config = ") + len("window.gradio_config = ")
    config: dict[str, Any] = json.JSONDecoder().raw_decode(page[start:])[0]
    return config


def targets_of(config: dict[str, Any]) -> list[Target]:
    events = [
        Target(
            f"event {one['id']}",
            "queue/join",
            {"fn_index": one["id"], "session_hash": SESSION, "trigger_id": None},
            len(one["inputs"]),
        )
        for one in config["dependencies"]
        if one["backend_fn"]
    ]
    calls = [
        Target(
            name,
            "component_server",
            {"component_id": one["id"], "fn_name": name, "session_hash": SESSION},
        )
        for one in config["components"]
        for name in one["props"].get("server_fns") or one.get("server_fns") or ()
    ]
    assert len(events) >= 15
    assert len(calls) >= 20
    return events + calls


@pytest.fixture(params=DOORS)
def visit(
    serve: Serve, request: pytest.FixtureRequest
) -> Iterator[tuple[Server, list[Target], Asked]]:
    """A server behind a door, what can be asked of it, and a visitor with a cookie."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    server = serve(*DOOR_FLAGS[request.param], *NO_RATES, environ=offline)
    server.wait_for(phase="ready")
    page = httpx.get(server.url)
    with visitor(server, {"cookie": cookie_of(page)}) as anna:
        yield server, targets_of(config_of(page.text)), anna


@contextmanager
def visitor(server: Server, headers: dict[str, str]) -> Iterator[Asked]:
    """Somebody with these headers; a cookie is one of them, because a client keeps secure ones."""
    with httpx.Client(base_url=server.url, timeout=30, headers=headers) as client:
        yield Asked(server, client)


def cookie_of(page: httpx.Response) -> str:
    """The session's cookie that came with a page, as a browser sends it back."""
    (cookie,) = page.headers.get_list("set-cookie")
    return str(cookie).partition(";")[0]


def joined(
    targets: list[Target], text: str, after: tuple[str, str] = ("", ""), new_tokens: int = 64
) -> dict[str, Any]:
    """What a page posts to send a message, after another one of a conversation."""
    conversation, message = after
    values = [*SETTINGS[:2], new_tokens, *SETTINGS[3:]]
    sent = [text, "", False, conversation, message, CANARY, "", True, *values]
    send = next(one for one in targets if one.values == len(sent))
    return {**send.body, "data": sent}


def named(targets: list[Target], name: str) -> Target:
    return next(one for one in targets if one.name == name)


def begun(anna: Asked, targets: list[Target]) -> tuple[str, str]:
    """Let a visitor send a message; the ids of the conversation and of its newest message."""
    _, stream = anna.outcome(Target("send", "queue/join", {}), joined(targets, CANARY))
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    (done,) = [one for one in events if one["msg"] == "process_completed"]
    conversation = done["output"]["data"][0]
    bars = named(targets, "message_bars")
    given_ = {"conversation": conversation, "shown": 20}
    answer = anna.post(bars.path, {**bars.body, "data": given_}).json()
    return conversation, answer["bars"][-1]["id"]


def test_who_has_no_cookie_or_a_forged_or_another_one_gets_nothing_of_anybody_s(visit):
    server, targets, anna = visit
    conversation, message = begun(anna, targets)
    long = {**joined(targets, LONG, (conversation, message), 500), "session_hash": "anna2"}
    assert anna.post("queue/join", long).status_code == 200
    pulse = named(targets, "pulse")
    seen = {**pulse.body, "data": {"conversation": conversation, "list": ""}}
    nothing = threading.Event()
    for _ in range(100):
        if anna.post(pulse.path, seen).json()["running"]:
            break
        nothing.wait(0.1)
    fields: dict[str, Any] = {
        "conversation": conversation, "id": conversation, "message": message, "edited": message,
        "text": CANARY[:6], "title": "Mine", "is_pinned": True, "form": "json", "shown": 20,
        "list": "", "model": "pocket-guide", "precision": "full",
    }  # fmt: skip
    own = anna.client.headers["cookie"]
    name, _, token = own.partition("=")
    others = [{}, {"cookie": f"{name}={'A' * len(token)}"}, {"cookie": another(server)}]
    for number, headers in enumerate(others):
        page = {"session_hash": f"other{number}"}
        with visitor(server, headers) as ben:
            for target in targets:
                data = asked_of(target, fields)
                # Anna's open page isn't theirs; in one of their own they get none of what is hers.
                status, text = ben.outcome(target, {**target.body, "data": data})
                assert (status, CANARY in text) == (410, False), (target, text)
                status, text = ben.outcome(target, {**target.body, "data": data, **page})
                assert status == 200, (target, text)
                assert CANARY not in text.replace(str(data), ""), target
                if headers != others[-1] and target.path == "component_server":
                    assert "cookie" in json.loads(text)["error"], target
    # Nobody has stopped it: on a slow machine it may have come to its end.
    if not anna.post(pulse.path, seen).json()["running"]:
        assert "w500" in newest_text(anna, targets, conversation)
    kept = named(targets, "message_text")
    data = {"conversation": conversation, "message": message}
    _, text = anna.outcome(kept, {**kept.body, "data": data})
    assert CANARY in text, "nobody has changed it"
    assert not [line for line in server.lines if "Traceback" in line]


def newest_text(visitor: Asked, targets: list[Target], conversation: str) -> str:
    """What the newest message says."""
    bars, text = named(targets, "message_bars"), named(targets, "message_text")
    given_ = {"conversation": conversation, "shown": 20}
    newest = visitor.post(bars.path, {**bars.body, "data": given_}).json()["bars"][-1]["id"]
    given_ = {"conversation": conversation, "message": newest}
    return visitor.post(text.path, {**text.body, "data": given_}).text


def asked_of(target: Target, fields: dict[str, Any]) -> Any:
    """What is posted to a target, where it takes these."""
    settings_ = [fields["conversation"], fields["message"], "", "", True, *SETTINGS]
    by_count = {1: [fields["conversation"]], 2: [fields["conversation"], 20]}
    by_count |= {14: settings_, 17: ["Mine", fields["message"], False, *settings_]}
    if target.path != "component_server":
        return by_count[target.values]
    names = FIELDS.get(target.name, ("conversation", "message"))
    return {name: fields[name] for name in names}


def another(server: Server) -> str:
    """A cookie of another visitor."""
    return cookie_of(httpx.get(server.url))


@pytest.mark.parametrize("visit", ["space", "share"], indirect=True)
def test_a_stranger_neither_changes_the_model_nor_raises_a_limit(visit):
    server, targets, anna = visit
    fields = {"model": "pocket-guide", "precision": "8bit", "text": "qwen"}
    switch = {"model": "pocket-guide", "precision": "8bit"}
    for name in ("switch_model", "unload_model", "cancel_load", "search_models", "any_card"):
        target = named(targets, name)
        data = switch if name == "switch_model" else {one: fields[one] for one in FIELDS[name]}
        _, text = anna.outcome(target, {**target.body, "data": data})
        assert "fixed on this server" in json.loads(text)["error"], (name, text)
    assert server.health()["precision"] == "full"
    assert sum(line.startswith("loads ") for line in server.lines) == 1
    send = Target("send", "queue/join", {})
    _, much = anna.outcome(send, joined(targets, "count to 9", new_tokens=100_000))
    assert "Max new tokens" in much
    assert "w1" not in much
    _, long = anna.outcome(send, joined(targets, "x" * 8001))
    assert "8,000" in long


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=20)
    | st.sampled_from(
        [10**400, -(10**30), 1e308, "\0", "\ud800", "x" * 100_000, "../../etc/passwd", "", "t0",
         "0" * 32, "${7*7}", "<script>", -1, 10**9]
    )
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = [
    "conversation", "message", "id", "text", "title", "is_pinned", "form", "shown", "list", "model",
    "precision", "token", "context", "edited", "draft", "system_prompt", "begins_with", "thinking",
    "max_new_tokens", "anyway",
]  # fmt: skip


def bodies(target: Target) -> st.SearchStrategy[Any]:
    """What may be posted to a target: nearly right most of the time."""
    data: st.SearchStrategy[Any] = (
        st.lists(SCALARS, min_size=target.values, max_size=target.values)
        if target.values
        else st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=4) | st.just({})
    )
    wrong = {
        "fn_index": VALUES, "trigger_id": VALUES, "event_data": VALUES, "session_hash": VALUES,
        "component_id": VALUES, "fn_name": VALUES, "data": VALUES, "batched": VALUES,
        "simple_format": VALUES, "event_id": VALUES, "oauth_token": VALUES,
    }  # fmt: skip
    right = data.map(lambda drawn: {**target.body, "data": drawn})
    nearly = st.tuples(right, st.fixed_dictionaries({}, optional=wrong)).map(
        lambda both: {**both[0], **both[1]}
    )
    raw = st.binary(max_size=60) | st.sampled_from(
        [b"[" * 100_000, b'{"data":' * 5_000, b"", b"null", b'{"a":NaN}', b"9" * 5_000]
    )
    return right | right | nearly | VALUES | raw


def test_whatever_is_posted_gets_an_answer_without_a_traceback_and_leaves_no_thread(visit):
    server, targets, anna = visit
    conversation, _ = begun(anna, targets)
    process = psutil.Process(server.process.pid)
    asked = [0, 0]  # in all, and taken

    def fuzz(target: Target, count: int) -> None:
        @settings(
            max_examples=count, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(bodies(target))
        def ask(body: Any) -> None:
            status, text = anna.outcome(target, body)
            asked[0] += 1
            asked[1] += status == 200
            assert status in (200, 400, 413), (target, status, text)
            for trace in ("Traceback", str(ROOT), str(server.data_dir), "site-packages"):
                assert trace not in text, (target, body)

        ask()

    def ask_all(count: int) -> None:
        for target in targets:
            fuzz(target, count)

    ask_all(2)
    threads = process.num_threads()
    ask_all(max(1, REQUESTS // len(targets)))
    assert asked[1] > asked[0] // 10, "most are refused unread, and others are not"
    assert process.num_threads() <= threads + 8, "threads wait for work; none is left behind"
    text = next(one for one in targets if one.name == "message_bars")
    data = {"conversation": conversation, "shown": 20}
    assert anna.post(text.path, {**text.body, "data": data}).json()["bars"]
    assert server.health()["status"] == "ok"
    assert not [line for line in server.lines if "Traceback" in line or "ERROR" in line]
