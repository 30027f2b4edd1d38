"""The server's models: loading, switching, putting back, and which stay in memory."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chat_ui.engine.fake import WEIGHT_BYTES, FakeEngine, FakeLoader
from chat_ui.engine.protocol import LoadEngine
from chat_ui.errors import (
    BusyError,
    EngineStoppedError,
    InvalidRequestError,
    ModelError,
    ModelNotFoundError,
    NotAllowedError,
)
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import BUILT_IN_FOLDER, ModelSpec, find
from chat_ui.service import ChatService, ModelHost, ReplyOptions
from chat_ui.service.status import Loading
from tests.service.conftest import ended, wait_until

ANNA = "a" * 64


MakeHost = Callable[..., ModelHost]


@pytest.fixture
def make_host(loader: FakeLoader) -> Iterator[MakeHost]:
    """Makes hosts on a machine with room for so many models."""
    hosts: list[ModelHost] = []

    def make(room: int, load: LoadEngine = loader, **options: Any) -> ModelHost:
        def fits(
            spec: ModelSpec,
            precision: Precision,
            draft: ModelSpec | None,
            *,
            resident_bytes: int,
            budget_bytes: int | None,
        ) -> bool:
            return resident_bytes < room * WEIGHT_BYTES

        hosts.append(ModelHost(find(""), "full", load, **{"fits": fits} | options))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def never() -> bool:
    return False


def ready(host: ModelHost) -> None:
    wait_until(lambda: host.status.phase in ("ready", "failed"))


def switched(host: ModelHost, precision: Precision) -> None:
    """Change, and wait until that is done."""
    host.switch("", precision)
    wait_until(lambda: host.status.phase == "ready" and host.status.precision == precision)


def in_memory(loader: FakeLoader) -> list[str]:
    return [engine.facts.precision for engine in loader.engines if not engine.is_closed]


@pytest.mark.parametrize("room", [1, 2])
def test_a_switch_loads_the_other_precision(
    make_host: MakeHost, room: int, loader: FakeLoader
) -> None:
    host = make_host(room)
    host.start()
    ready(host)
    host.switch("", "4bit")
    wait_until(lambda: host.status.precision == "4bit")
    assert host.status.phase == "ready"
    assert host.status.error is None
    with host.lend(never) as engine:
        assert engine.facts.precision == "4bit"
    assert [precision for _, precision in loader.loads] == ["full", "4bit"]


@pytest.mark.parametrize(("room", "loads"), [(2, 2), (1, 3)])
def test_a_failed_switch_puts_the_old_model_back_and_says_why(
    make_host: MakeHost, room: int, loads: int, loader: FakeLoader
) -> None:
    host = make_host(room)
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
    make_host: MakeHost, loader: FakeLoader
) -> None:
    host = make_host(1)
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


def test_a_switch_waits_for_the_replies_whose_model_has_to_leave(make_host: MakeHost) -> None:
    host = make_host(1)
    with host.lend(never) as engine:
        host.switch("", "4bit")
        wait_until(lambda: "when the answers" in loading(host).note)
        assert engine.facts.precision == "full"
        got = []
        borrower = threading.Thread(
            target=lambda: got.append(next(iter(_borrowed(host))))  # comes while it changes
        )
        borrower.start()
        assert got == []
    borrower.join(20)
    assert got == ["4bit"]


def test_the_old_model_answers_until_the_new_one_is_there(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    host = make_host(2)
    host.start()
    ready(host)
    loader.gate.clear()
    host.switch("", "4bit")
    wait_until(lambda: host.status.loading is not None)
    assert host.status.phase == "ready"
    assert next(iter(_borrowed(host))) == "full"
    loader.gate.set()
    wait_until(lambda: host.status.precision == "4bit")
    assert next(iter(_borrowed(host))) == "4bit"


def test_a_cancelled_change_leaves_the_old_model_where_it_is(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    host = make_host(2)
    host.start()
    ready(host)
    loader.gate.clear()
    host.switch("", "4bit")
    wait_until(lambda: host.status.loading is not None)
    host.cancel()
    wait_until(lambda: host.status.loading is None)
    assert (host.status.phase, host.status.precision) == ("ready", "full")
    assert host.status.error is None
    assert host.status.note == f"Loading {find('').label}, 4-bit was cancelled."
    assert in_memory(loader) == ["full"]
    loader.gate.set()
    switched(host, "4bit")  # and it can be had afterwards


def test_a_cancelled_change_loads_a_model_again_that_had_to_leave(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    host = make_host(1)
    host.start()
    ready(host)
    loader.gate.clear()
    host.switch("", "4bit")
    wait_until(lambda: host.status.phase == "loading" and in_memory(loader) == [])
    host.cancel()
    loader.gate.set()
    wait_until(lambda: host.status.phase == "ready")
    assert host.status.precision == "full"
    assert in_memory(loader) == ["full"]


def test_a_change_that_waits_for_answers_can_be_cancelled(make_host: MakeHost) -> None:
    host = make_host(1)
    with host.lend(never):
        host.switch("", "4bit")
        wait_until(lambda: "when the answers" in loading(host).note)
        host.cancel()
        wait_until(lambda: host.status.loading is None)
        assert (host.status.phase, host.status.precision) == ("ready", "full")
        assert next(iter(_borrowed(host))) == "full"


def test_who_wants_it_anyway_has_it_tried(make_host: MakeHost, loader: FakeLoader) -> None:
    asked: list[object] = []

    def load(spec: ModelSpec, precision: Precision, **options: object) -> FakeEngine:
        asked.append(options["anyway"])
        return loader(spec, precision)

    host = make_host(2, load)
    host.start()
    ready(host)
    switched(host, "4bit")
    host.switch("", "8bit", anyway=True)
    wait_until(lambda: host.status.precision == "8bit")
    assert asked == [False, False, True]


def test_when_the_first_load_is_cancelled_who_waits_is_told_and_the_next_message_loads_it(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    loader.gate.clear()
    host = make_host(1)
    host.start()
    got: list[str] = []
    waits = threading.Event()

    def gives_up() -> bool:  # asked of who waits
        waits.set()
        return False

    def wait() -> None:
        with pytest.raises(ModelError) as refused, host.lend(gives_up):
            raise AssertionError("there is nothing to lend")
        got.append(str(refused.value))

    reader = threading.Thread(target=wait)
    reader.start()
    assert waits.wait(20)
    host.cancel()
    reader.join(20)
    assert "was cancelled" in got[0]
    assert host.status.phase == "unloaded"
    loader.gate.set()
    assert next(iter(_borrowed(host))) == "full"


def test_unloading_by_hand_frees_the_memory_and_the_next_message_loads_it_again(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    host = make_host(2)
    host.start()
    ready(host)
    switched(host, "4bit")
    with host.lend(never), pytest.raises(BusyError):
        host.unload()
    host.unload()
    assert in_memory(loader) == []
    assert host.status.phase == "unloaded"
    assert host.status.note == "It was unloaded; the next message loads it again."
    assert next(iter(_borrowed(host))) == "4bit"


def test_a_server_whose_model_is_fixed_tries_again_what_could_not_be_loaded(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    loader.fails.add("full")
    host = make_host(1, tries_again=True)
    host.start()
    wait_until(lambda: host.status.phase == "failed")
    with pytest.raises(ModelError, match="can't be loaded"), host.lend(never):
        raise AssertionError("there is nothing to lend")
    loader.fails.clear()
    assert next(iter(_borrowed(host))) == "full"


def test_a_model_that_asks_for_code_is_refused_before_it_is_downloaded_or_another_leaves(
    make_host: MakeHost, loader: FakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(model_id: str, token: str | None) -> dict[str, Any]:
        return {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}

    downloaded: list[object] = []
    monkeypatch.setattr("chat_ui.models.hub.fetch_config", config)
    monkeypatch.setattr("chat_ui.models.hub.download", lambda *given: downloaded.append(given))
    host = make_host(1)
    host.start()
    ready(host)
    host.switch("owner/own-code", "full")
    wait_until(lambda: host.status.error is not None)
    assert "code" in (host.status.error or "")
    assert downloaded == []
    assert in_memory(loader) == ["full"]


def test_the_end_of_the_server_ends_a_load(make_host: MakeHost, loader: FakeLoader) -> None:
    loader.gate.clear()
    host = make_host(1)
    host.start()
    wait_until(lambda: host.status.loading is not None)
    host.close()
    wait_until(lambda: host.status.loading is None)
    assert loader.loads == []


def test_where_no_thread_can_be_had_nothing_is_being_loaded(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    host = make_host(2)
    host.start()
    ready(host)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            host.switch("", "4bit")
    assert host.status.loading is None
    switched(host, "4bit")


def test_nothing_is_unloaded_while_another_model_is_loaded(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    loader.gate.clear()
    host = make_host(2)
    host.start()
    with pytest.raises(BusyError, match="or cancel it"):
        host.unload()
    loader.gate.set()


def loading(host: ModelHost) -> Loading:
    wait_until(lambda: host.status.loading is not None or host.status.phase == "failed")
    assert host.status.loading is not None
    return host.status.loading


def _borrowed(host: ModelHost) -> Iterator[str]:
    with host.lend(never) as engine:
        yield engine.facts.precision


def test_one_change_at_a_time(make_host: MakeHost, loader: FakeLoader) -> None:
    loader.gate.clear()
    host = make_host(2)
    host.start()
    with pytest.raises(BusyError):
        host.switch("", "4bit")
    loader.gate.set()
    ready(host)
    host.switch("", "full")  # what is loaded already
    assert host.status.phase == "ready"
    assert len(loader.loads) == 1


def test_who_gives_up_while_it_loads_is_let_go(make_host: MakeHost, loader: FakeLoader) -> None:
    loader.gate.clear()
    host = make_host(2)
    host.start()
    with pytest.raises(EngineStoppedError), host.lend(lambda: True):
        raise AssertionError("it is not loaded yet")
    loader.gate.set()


def test_a_model_that_comes_after_the_end_is_unloaded_again(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    begun, closed = threading.Event(), threading.Event()
    loader.gate.clear()

    def load(spec: ModelSpec, precision: Precision, **_: object) -> FakeEngine:
        begun.set()
        engine = loader(spec, precision)
        engine.close = closed.set  # type: ignore[method-assign]
        return engine

    host = make_host(2, load)
    host.start()
    assert begun.wait(20)
    host.close()
    loader.gate.set()
    assert closed.wait(20)


def test_going_back_to_a_model_in_memory_loads_nothing(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    host = make_host(2)
    host.start()
    ready(host)
    switched(host, "4bit")
    assert host.status.others == (f"{find('').label}, Full",)
    host.switch("", "full")
    assert (host.status.phase, host.status.precision) == ("ready", "full")  # at once
    assert host.status.others == (f"{find('').label}, 4-bit",)
    with host.lend(never) as engine:
        assert engine.facts.precision == "full"
    assert len(loader.loads) == 2


def test_running_replies_end_on_their_own_model_while_new_ones_have_the_new_one(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    host = make_host(2)
    with host.lend(never) as before:
        switched(host, "4bit")
        with host.lend(never) as after:
            assert (before.facts.precision, after.facts.precision) == ("full", "4bit")
            assert in_memory(loader) == ["full", "4bit"]


def test_who_was_used_longest_ago_leaves_first(make_host: MakeHost, loader: FakeLoader) -> None:
    host = make_host(2)
    host.start()
    ready(host)
    switched(host, "8bit")
    host.switch("", "full")  # so 8-bit is the older one
    switched(host, "4bit")
    assert in_memory(loader) == ["full", "4bit"]


def test_a_lent_model_stays_and_another_leaves_for_a_third(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    host = make_host(2)
    with host.lend(never):
        switched(host, "8bit")
        switched(host, "4bit")
        assert in_memory(loader) == ["full", "4bit"]


def test_a_model_that_is_larger_than_the_budget_unloads_nothing(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    def refuse(spec: ModelSpec, precision: Precision, *_: object, **__: object) -> bool:
        raise ModelError("It takes more than models may.", "Choose a smaller one.")

    host = make_host(1, fits=refuse)  # which the first model is not asked of
    host.start()
    ready(host)
    host.switch("", "4bit")
    wait_until(lambda: host.status.error is not None)
    assert (host.status.phase, host.status.precision) == ("ready", "full")
    assert in_memory(loader) == ["full"]
    assert len(loader.loads) == 1


def test_the_first_model_may_not_be_larger_than_the_budget_either(
    make_service: Callable[..., ChatService], loader: FakeLoader
) -> None:
    service = make_service(model_memory_bytes=1000)
    service.start()
    wait_until(lambda: service.model.phase == "failed")
    assert "models may take 0.0 GB here" in (service.model.error or "")
    assert loader.loads == []


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_idle_model_leaves_and_the_next_message_loads_it_again(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    clock = Clock()
    host = make_host(2, unload_after_s=600, clock=clock)
    with host.lend(never):
        clock.now = 10_000
        host.unload_idle()
        assert in_memory(loader) == ["full"], "one that is lent never leaves"
    clock.now += 599
    host.unload_idle()
    assert in_memory(loader) == ["full"]
    clock.now += 1
    host.unload_idle()
    assert in_memory(loader) == []
    assert host.status.phase == "unloaded"
    assert host.status.note == "Nobody has used it for a while; the next message loads it again."
    loader.gate.clear()
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(_borrowed(host)))
    reader.start()
    wait_until(lambda: host.status.phase == "loading")
    loader.gate.set()
    reader.join(20)
    assert got == ["full"]


def test_idle_models_leave_by_themselves(make_host: MakeHost, loader: FakeLoader) -> None:
    host = make_host(2, unload_after_s=0.05)
    host.start()
    wait_until(lambda: bool(loader.engines))
    wait_until(lambda: host.status.phase == "unloaded")
    assert in_memory(loader) == []


def test_an_idle_model_beside_the_present_one_leaves_alone(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    clock = Clock()
    host = make_host(2, unload_after_s=600, clock=clock)
    host.start()
    ready(host)
    clock.now = 500
    switched(host, "4bit")
    clock.now = 700
    host.unload_idle()
    assert in_memory(loader) == ["4bit"]
    assert (host.status.phase, host.status.others) == ("ready", ())


def test_a_model_that_could_not_be_loaded_again_is_tried_at_the_next_message(
    make_host: MakeHost, loader: FakeLoader
) -> None:
    clock = Clock()
    host = make_host(1, unload_after_s=600, clock=clock)
    host.start()
    ready(host)
    clock.now = 600
    host.unload_idle()
    loader.fails.add("full")
    with pytest.raises(ModelError, match="can't be loaded"), host.lend(never):
        raise AssertionError("there is nothing to lend")
    assert host.status.phase == "unloaded"
    loader.fails.clear()
    with host.lend(never) as engine:
        assert engine.facts.precision == "full"
    assert host.status.error is None


class Panic(BaseException):
    """What a library that is not Python's may raise."""


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), Panic(), SystemExit(1)])
def test_whatever_a_loader_raises_becomes_a_sentence(
    make_host: MakeHost, loader: FakeLoader, error: BaseException
) -> None:
    def load(spec: ModelSpec, precision: Precision, **_: object) -> FakeEngine:
        if precision == "4bit":
            raise error
        return loader(spec, precision)

    host = make_host(2, load)
    host.start()
    ready(host)
    host.switch("", "4bit")
    wait_until(lambda: host.status.error is not None)
    assert host.status.phase == "ready"
    assert (host.status.error or "").startswith("Something went wrong inside the app.")
    with host.lend(never) as engine:
        assert engine.facts.precision == "full"


def test_a_model_that_can_not_be_closed_does_not_stop_a_change(
    make_host: MakeHost, loader: FakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("stuck")

    host = make_host(1)
    host.start()
    ready(host)
    with monkeypatch.context() as broken:
        broken.setattr(loader.engines[0], "close", fail)
        switched(host, "4bit")


def test_a_draft_model_goes_with_every_load(make_host: MakeHost, loader: FakeLoader) -> None:
    draft = ModelSpec("tiny", "Tiny (1M)", "folder")
    host = make_host(2, draft_for=lambda spec, progress: draft)
    host.start()
    ready(host)
    assert host.status.drafter == "Tiny (1M)"
    assert loader.drafts == ["tiny"]


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
    here = next(group for group in service.model_choices() if group.kind == "here")
    labels = [choice.label for choice in here.choices]
    assert labels[0].startswith("Pocket Guide (built in, ")
    assert labels[1].startswith("my-model (")


def test_a_hub_model_that_can_not_be_had_unloads_nothing(
    make_host: MakeHost,
    loader: FakeLoader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(model_id: str, *_: object) -> Path:
        raise ModelNotFoundError("There is no such model.", "Check its name.")

    monkeypatch.setattr("chat_ui.models.hub.download", refuse)
    host = make_host(1)
    host.start()
    ready(host)
    host.switch("nobody/nothing-here", "full")
    wait_until(lambda: host.status.error is not None)
    assert host.status.phase == "ready"
    assert len(loader.loads) == 1
