"""Where strangers come, their messages make this server ask the Hub for nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chat_ui.engine.fake import FakeLoader
from chat_ui.models import drafts
from chat_ui.models.spec import BUILT_IN_FOLDER, ModelSpec, find
from chat_ui.service import ChatService, ModelHost, ReplyOptions, host
from chat_ui.service.loading import Load
from chat_ui.service.state import ModelState
from tests.fake_hub import FakeHub, used_by
from tests.service.conftest import ended, wait_until

STRANGER = "a" * 64
MODEL = "owner/model"


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as fake, used_by(monkeypatch, fake, tmp_path / "home"):
        yield fake


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """That of the service's host, which pauses by it."""
    clock = Clock()

    class Clocked(ModelState):
        def __init__(self, spec: Any, precision: Any, settled: Any, _clock: Any) -> None:
            super().__init__(spec, precision, settled, clock)

    monkeypatch.setattr(host, "ModelState", Clocked)
    return clock


def begun(service: ChatService) -> str:
    """Start it, and wait for the first load; in which phase that ended."""
    service.start()
    wait_until(lambda: service.model.phase in ("ready", "failed"))
    return service.model.phase


def said(service: ChatService) -> str | None:
    """What a stranger gets instead of an answer; None for an answer."""
    return ended(service.reply(STRANGER, None, "Hello", ReplyOptions())).snapshot().error


def test_after_the_start_a_stranger_s_message_asks_the_hub_for_nothing(
    make_service: Callable[..., ChatService], hub: FakeHub, clock: Clock
) -> None:
    repository = hub.add(MODEL, BUILT_IN_FOLDER, fault="broken")
    service = make_service(door="share", model=MODEL)
    assert begun(service) == "failed"
    reason, asked = service.model.error, len(hub.asked)
    assert asked > 0
    repository.fault = ""
    for _ in range(2):
        assert said(service) == f"{reason} The server's owner can load one."
        clock.now += 3600
    assert service.model.error == reason
    assert len(hub.asked) == asked
    service.switch_model(MODEL, "full", is_owner=True)
    wait_until(lambda: service.model.phase == "ready")
    assert len(hub.asked) > asked
    assert said(service) is None


def test_a_model_that_is_here_is_tried_again_without_the_hub_after_a_pause(
    make_service: Callable[..., ChatService], hub: FakeHub, clock: Clock, loader: FakeLoader
) -> None:
    hub.add(MODEL, BUILT_IN_FOLDER)
    loader.fails.add("full")
    service = make_service(door="share", model=MODEL)
    assert begun(service) == "failed"
    asked = len(hub.asked)
    loads = len(loader.loads)
    clock.now += 59
    assert "in a minute" in (said(service) or "")
    assert len(loader.loads) == loads
    clock.now += 1
    assert "can't be loaded" in (said(service) or "")
    assert len(loader.loads) == loads + 1
    assert "in a minute" in (said(service) or "")
    loader.fails.clear()
    clock.now += 60
    assert said(service) is None
    assert len(hub.asked) == asked


@pytest.mark.parametrize("changes", [{"allows_hub": True, "door": "space"}, {"door": "local"}])
def test_where_it_is_allowed_and_at_home_the_hub_is_asked_again(
    make_service: Callable[..., ChatService], hub: FakeHub, clock: Clock, changes: dict[str, Any]
) -> None:
    repository = hub.add(MODEL, BUILT_IN_FOLDER)
    service = make_service(model=MODEL, **changes)
    if changes["door"] == "local":
        repository.file_fault = "held"
        service.start()
        assert repository.held.wait(20)
        service.cancel_load()
        wait_until(lambda: service.model.phase == "unloaded")
        repository.file_fault = ""
    else:
        repository.fault = "broken"
        assert begun(service) == "failed"
        repository.fault = ""
    clock.now += 60
    assert said(service) is None


def test_a_draft_that_is_not_here_is_left_out_where_the_hub_is_not_asked(hub: FakeHub) -> None:
    hub.add("owner/draft", BUILT_IN_FOLDER)
    assert drafts.choose("owner/draft", find(""), [], asks_hub=False) is None
    assert hub.asked == []


def test_a_load_that_may_not_ask_the_hub_does_not(hub: FakeHub, loader: FakeLoader) -> None:
    """Whoever begins it, and however: the download is where it is held to."""
    hub.add(MODEL, BUILT_IN_FOLDER)
    made = ModelHost(ModelSpec(MODEL, "model", "hub"), "full", loader)
    with made._state.changed:  # no caller asks for one, as the tests above show
        made._changes.begin(Load(*made._state.wanted, asks_hub=False))
    wait_until(lambda: made.status.phase == "failed")
    assert made.status.error == f"{MODEL} is not on this machine. The server's owner can load it."
    assert hub.asked == []
    made.close()
