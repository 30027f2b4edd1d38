"""The stop switch: a file closes the page for all but the owner."""

import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from chat_ui.service.stop_file import FILE_NAME
from chat_ui.ui.texts import LANGUAGES, texts_in
from chat_ui.web import closing
from chat_ui.web.closing import ClosingMiddleware, StopSwitch

DEADLINE_S = 20.0
PATHS = ("/", "/healthz", "/privacy", "/forget", "/x")


def client(data_dir: Path, *, is_owner: bool) -> TestClient:
    async def there(request: Request) -> PlainTextResponse:
        return PlainTextResponse("there")

    app = Starlette(routes=[Route(path, there) for path in PATHS])
    closes = ClosingMiddleware(app, data_dir, texts_in)

    async def known(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["is_owner"] = is_owner
        await closes(scope, receive, send)

    return TestClient(known)


def test_a_file_closes_for_strangers_and_its_removal_opens(tmp_path: Path) -> None:
    stranger, owner = client(tmp_path, is_owner=False), client(tmp_path, is_owner=True)
    assert stranger.get("/").text == "there"
    (tmp_path / FILE_NAME).touch()
    page = stranger.get("/")
    assert (page.status_code, page.headers["retry-after"]) == (503, "60")
    assert page.text.startswith("<!doctype html>")
    assert "Come back later" in page.text
    other = stranger.get("/x")
    assert other.status_code == 503
    assert "<" not in other.text
    assert stranger.get("/healthz").text == "there"
    # The right to know, and to be forgotten, does not pause.
    assert stranger.get("/privacy").text == stranger.get("/forget").text == "there"
    assert owner.get("/").text == owner.get("/x").text == "there"
    (tmp_path / FILE_NAME).unlink()
    assert stranger.get("/").text == "there"


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_finds_it_closed_reads_so_in_their_language(tmp_path: Path, language: str) -> None:
    stranger, say = client(tmp_path, is_owner=False), texts_in(language)
    (tmp_path / FILE_NAME).touch()
    for path in ("/", "/x"):
        answer = stranger.get(path, headers={"accept-language": f"{language}, en;q=0.5"})
        assert say("entrance.closed") in answer.text
        assert answer.headers["vary"] == "Accept-Language"
        assert answer.headers["retry-after"] == "60"
    assert f'<html lang="{say.tag}">' in stranger.get(
        "/", headers={"accept-language": language}
    ).text  # fmt: skip


def test_what_runs_is_stopped_once_each_time_the_file_comes(tmp_path: Path) -> None:
    closed = []
    switch = StopSwitch(tmp_path, lambda: closed.append(True))
    for times in (1, 2):
        switch.look()
        (tmp_path / FILE_NAME).touch()
        switch.look()
        switch.look()
        assert len(closed) == times
        (tmp_path / FILE_NAME).unlink()


def test_the_file_is_looked_for_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "LOOK_EVERY_S", 0.001)
    closed, ended = threading.Event(), threading.Event()
    StopSwitch(tmp_path, closed.set).watch(ended)
    (tmp_path / FILE_NAME).touch()
    assert closed.wait(DEADLINE_S)
    ended.set()
