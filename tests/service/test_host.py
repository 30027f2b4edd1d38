"""The server's one model: loading, switching, and putting back."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chat_ui.engine.fake import FakeLoader
from chat_ui.errors import (
    BusyError,
    EngineStoppedError,
    InvalidRequestError,
    ModelError,
    ModelNotFoundError,
    NotAllowedError,
)
from chat_ui.models.spec import BUILT_IN_FOLDER, find
from chat_ui.service import ChatService, ModelHost, ReplyOptions
from tests.service.conftest import ended, wait_until

ANNA = "a" * 64


@pytest.fixture
def make_host(loader: FakeLoader) -> Iterator[Callable[[bool], ModelHost]]:
    hosts: list[ModelHost] = []

    def make(fits_beside: bool) -> ModelHost:
        hosts.append(ModelHost(find(""), "full", loader, lambda *_: fits_beside))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def never() -> bool:
    return False


def ready(host: ModelHost) -> None:
    wait_until(lambda: host.status.phase in ("ready", "failed"))


@pytest.mark.parametrize("fits_beside", [True, False])
def test_a_switch_loads_the_other_precision(
    make_host: Callable[[bool], ModelHost], fits_beside: bool, loader: FakeLoader
) -> None:
    host = make_host(fits_beside)
    host.start()
    ready(host)
    host.switch("", "4bit")
    wait_until(lambda: host.status.precision == "4bit")
    assert host.status.phase == "ready"
    assert host.status.error is None
    with host.lend(never) as engine:
        assert engine.facts.precision == "4bit"
    assert [precision for _, precision in loader.loads] == ["full", "4bit"]


@pytest.mark.parametrize(("fits_beside", "loads"), [(True, 2), (False, 3)])
def test_a_failed_switch_puts_the_old_model_back_and_says_why(
    make_host: Callable[[bool], ModelHost], fits_beside: bool, loads: int, loader: FakeLoader
) -> None:
    host = make_host(fits_beside)
    host.start()
    ready(host)
    loader.fails.add("8bit")
    host.switch("", "8bit")
    wait_until(lambda: host.status.error is not None)
    assert host.status.phase == "ready"
    assert host.status.precision == "full"
    assert host.status.error == "The fake model can't be loaded. Choose another."
    assert len(loader.loads) == loads
    with host.lend(never) as engine:
        assert engine.facts.precision == "full"


def test_when_no_model_is_left_every_message_gets_the_reason(
    make_host: Callable[[bool], ModelHost], loader: FakeLoader
) -> None:
    host = make_host(False)
    host.start()
    ready(host)
    loader.fails |= {"8bit", "full"}
    host.switch("", "8bit")
    wait_until(lambda: host.status.phase == "failed")
    with pytest.raises(ModelError, match="couldn't be loaded again"), host.lend(never):
        raise AssertionError("there is nothing to lend")
    loader.fails.clear()
    host.switch("", "8bit")  # and the way out of it
    wait_until(lambda: host.status.phase == "ready")
    assert host.status.precision == "8bit"


def test_a_switch_waits_for_the_replies_that_are_running(
    make_host: Callable[[bool], ModelHost],
) -> None:
    host = make_host(True)
    with host.lend(never) as engine:
        host.switch("", "4bit")
        wait_until(lambda: "when the answers" in host.status.note)
        assert host.status.phase == "loading"
        assert engine.facts.precision == "full"
        got = []
        borrower = threading.Thread(
            target=lambda: got.append(next(iter(_borrowed(host))))  # comes while it changes
        )
        borrower.start()
        assert got == []
    borrower.join(20)
    assert got == ["4bit"]


def _borrowed(host: ModelHost) -> Iterator[str]:
    with host.lend(never) as engine:
        yield engine.facts.precision


def test_one_change_at_a_time(make_host: Callable[[bool], ModelHost], loader: FakeLoader) -> None:
    loader.gate.clear()
    host = make_host(True)
    host.start()
    with pytest.raises(BusyError):
        host.switch("", "4bit")
    loader.gate.set()
    ready(host)
    host.switch("", "full")  # what is loaded already
    assert host.status.phase == "ready"
    assert len(loader.loads) == 1


def test_who_gives_up_while_it_loads_is_let_go(
    make_host: Callable[[bool], ModelHost], loader: FakeLoader
) -> None:
    loader.gate.clear()
    host = make_host(True)
    host.start()
    with pytest.raises(EngineStoppedError), host.lend(lambda: True):
        raise AssertionError("it is not loaded yet")
    loader.gate.set()


def test_a_model_that_comes_after_the_end_is_unloaded_again(
    make_host: Callable[[bool], ModelHost], loader: FakeLoader
) -> None:
    closed = threading.Event()
    loader.gate.clear()
    host = make_host(True)

    def load(spec: object, precision: object) -> object:
        engine = FakeLoader.__call__(loader, spec, precision)  # type: ignore[arg-type]
        engine.close = closed.set  # type: ignore[method-assign]
        return engine

    host._load = load  # type: ignore[assignment]
    host.start()
    host.close()
    loader.gate.set()
    assert closed.wait(20)


def test_a_page_switches_for_everybody_and_strangers_for_nobody(
    make_service: Callable[..., ChatService], tmp_path: Path
) -> None:
    service = make_service()
    service.start()
    wait_until(lambda: service.model.phase == "ready")
    service.switch_model("pocket-guide", "8bit")
    wait_until(lambda: service.model.precision == "8bit" and service.model.phase == "ready")
    reply = ended(service.reply(ANNA, None, "Hello", ReplyOptions()))
    assert reply.snapshot().numbers.precision == "8bit"
    with pytest.raises(InvalidRequestError):
        service.switch_model("pocket-guide", "3bit")
    fixed = make_service(door="share", data_dir=tmp_path / "shared")
    with pytest.raises(NotAllowedError):
        fixed.switch_model("pocket-guide", "8bit")


def test_a_path_that_is_no_model_changes_nothing(service: ChatService, tmp_path: Path) -> None:
    service.start()
    wait_until(lambda: service.model.phase == "ready")
    with pytest.raises(ModelNotFoundError):
        service.switch_model(str(tmp_path / "nothing here"), "full")
    assert service.model.phase == "ready"


def test_a_folder_becomes_a_choice_once_it_is_loaded(service: ChatService, tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    shutil.copytree(BUILT_IN_FOLDER, folder)
    service.start()
    wait_until(lambda: service.model.phase == "ready")
    service.switch_model(str(folder), "full")
    wait_until(lambda: service.model.model_id == str(folder))
    labels = [label for label, _ in service.models()]
    assert labels[0].startswith("Pocket Guide (built in, ")
    assert labels[1].startswith("my-model (")


def test_a_hub_model_that_can_not_be_had_unloads_nothing(
    make_host: Callable[[bool], ModelHost],
    loader: FakeLoader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(model_id: str) -> Path:
        raise ModelNotFoundError("There is no such model.", "Check its name.")

    monkeypatch.setattr("chat_ui.models.hub.download", refuse)
    host = make_host(False)
    host.start()
    ready(host)
    host.switch("nobody/nothing-here", "full")
    wait_until(lambda: host.status.error is not None)
    assert host.status.phase == "ready"
    assert len(loader.loads) == 1
