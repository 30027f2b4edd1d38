"""A service over a real store and a fake engine, and waiting with a deadline."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chat_ui.engine.fake import FakeLoader, Script
from chat_ui.limits import LIMITS, Door
from chat_ui.service import ChatService, Reply
from chat_ui.settings import Settings
from tests.service.instruments import FakeInstruments

DEADLINE_S = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that must come; fail when it doesn't."""
    nothing, ends_at = threading.Event(), time.monotonic() + DEADLINE_S
    while time.monotonic() < ends_at:
        if condition():
            return
        nothing.wait(0.005)
    raise AssertionError("it did not come in time")


def ended(reply: Reply) -> Reply:
    """The reply, once it is stored as it ended."""
    assert reply.stored.wait(DEADLINE_S)
    return reply


@pytest.fixture
def loader() -> FakeLoader:
    def answer(prompt: str) -> Script:
        if "slow" in prompt:
            return Script(text="word " * 2000, tokens_per_s=200)
        if "hang" in prompt:
            return Script(hangs=True)
        if "fail" in prompt:
            return Script(text="One two three", fails_at=2)
        return Script(text=f"You said: {prompt}")

    return FakeLoader(answer)


@pytest.fixture
def make_service(tmp_path: Path, loader: FakeLoader) -> Iterator[Callable[..., ChatService]]:
    made: list[ChatService] = []

    def make(door: Door = "local", limits: Mapping[str, int] = {}, **changes: Any) -> ChatService:
        changes = {"data_dir": tmp_path, "store_every_s": 0.02, **changes}
        settings = Settings(door=door, limits=replace(LIMITS[door], **limits), **changes)
        made.append(ChatService(settings, loader, FakeInstruments()))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def service(make_service: Callable[..., ChatService]) -> ChatService:
    return make_service()
