"""A file of conversations over HTTP: whose it becomes, how long it may be, and how many at once."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from chat_ui.errors import HistoryError
from chat_ui.limits import LIMITS
from chat_ui.service.files import Added
from chat_ui.settings import Settings
from chat_ui.web import guard
from chat_ui.web.guard import Guard
from chat_ui.web.hosts import Hosts
from chat_ui.web.imports import import_route

LIMIT = 1_000


class Service:
    """Adds whatever it is given."""

    def __init__(self, data_dir: Path) -> None:
        limits = replace(LIMITS["share"], body_bytes=100, import_bytes=LIMIT)
        self.settings = Settings(data_dir, door="share", limits=limits)
        self.added: list[tuple[str, str]] = []
        self.raises: Exception | None = None
        self.begun, self.goes_on = threading.Semaphore(0), threading.Event()
        self.goes_on.set()

    def add_conversations(self, owner: str, text: str) -> Added:
        assert threading.current_thread() is not threading.main_thread()
        self.begun.release()
        assert self.goes_on.wait(10)
        if self.raises is not None:
            raise self.raises
        self.added.append((owner, text))
        return Added(("c9", "c8"), left_out=1)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


class Owners:
    """The owner is what the header says."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            names = [value.decode() for key, value in scope["headers"] if key == b"x-owner"]
            scope.setdefault("state", {})["owner"] = names[0] if names else None
        await self._app(scope, receive, send)


def app(service: Service) -> Starlette:
    guarding = Middleware(Guard, settings=service.settings, hosts=Hosts())
    route = import_route(service)  # type: ignore[arg-type]
    return Starlette(routes=[route], middleware=[guarding, Middleware(Owners)])


@pytest.fixture
def client(service: Service):
    with TestClient(app(service), base_url="http://127.0.0.1") as client:
        yield client


def post(client: TestClient, body: Any, owner: str | None = "anna") -> Any:
    headers = {"x-owner": owner} if owner else {}
    return client.post("/import", content=body, headers=headers)


def test_a_file_becomes_the_owner_s_and_the_answer_says_what_came_of_it(service, client):
    answer = post(client, "\ufeff[ä]".encode() + b"\xff")
    assert answer.json() == {"added": 2, "left_out": 1, "conversation": "c9"}
    assert service.added == [("anna", "[ä]\ufffd")]


def test_it_may_be_longer_than_other_requests_and_no_longer_than_its_limit(service, client):
    assert post(client, b"x" * LIMIT).status_code == 200
    assert post(client, b"x" * (LIMIT + 1)).status_code == 413
    assert len(service.added) == 1


def test_a_body_without_a_length_is_counted_as_it_comes(service, client):
    assert post(client, iter([b"x" * 400] * 2)).status_code == 200
    answer = post(client, iter([b"x" * 400] * 3))
    assert answer.status_code == 413
    assert "1,000" in answer.text
    assert len(service.added) == 1


def test_who_has_no_cookie_adds_nothing(service, client):
    answer = post(client, b"[]", owner=None)
    assert answer.status_code == 403
    assert "cookie" in answer.json()["error"]
    assert service.added == []


def test_a_refusal_is_a_sentence(service, client):
    service.raises = HistoryError("The disk is full.")
    answer = post(client, b"[]")
    assert (answer.status_code, answer.json()) == (400, {"error": "The disk is full."})


def test_a_defect_is_no_traceback_for_the_visitor_and_gives_the_place_back(service):
    service.raises = RuntimeError("secret")
    with TestClient(
        app(service), base_url="http://127.0.0.1", raise_server_exceptions=False
    ) as client:
        for _ in range(3):
            answer = post(client, b"[]")
            assert answer.status_code == 500
            assert "secret" not in answer.text
        service.raises = None
        assert post(client, b"[]").status_code == 200


def test_one_at_a_time_of_a_visitor_and_two_in_all(service):
    service.goes_on.clear()

    async def scene() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app(service))

        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

            async def add(owner: str) -> httpx.Response:
                return await client.post("/import", content=b"[]", headers={"x-owner": owner})

            running = []
            for owner in ("anna", "ben"):
                running.append(asyncio.ensure_future(add(owner)))
                assert await asyncio.to_thread(service.begun.acquire, timeout=10)
            refused = [await add("anna"), await add("chris")]
            service.goes_on.set()
            return [*refused, *[await one for one in running], await add("anna")]

    refused, full, *others = asyncio.run(scene())
    for answer in (refused, full):
        assert answer.status_code == 429
        assert "Another file" in answer.json()["error"]
    assert [one.status_code for one in others] == [200] * 3


def test_a_file_that_never_ends_gives_its_place_back(service, monkeypatch):
    monkeypatch.setattr(guard, "IMPORT_READ_S", 0.01)
    guarded = app(service)

    async def scene(owner: str) -> tuple[int, bytes]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not sent:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {
            "type": "http", "method": "POST", "path": "/import", "raw_path": b"/import",
            "query_string": b"", "root_path": "", "http_version": "1.1",
            "headers": [(b"host", b"127.0.0.1"), (b"x-owner", owner.encode())],
        }  # fmt: skip
        await guarded(scope, receive, send)
        return sent[0]["status"], sent[1]["body"]

    for owner in ("anna", "anna", "ben", "chris"):
        status, body = asyncio.run(scene(owner))
        assert status == 408
        assert b"took too long" in body
    assert service.added == []
    with TestClient(guarded, base_url="http://127.0.0.1") as client:
        assert post(client, b"[]").status_code == 200
