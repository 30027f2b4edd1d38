"""A file of the Hub: it goes on where it stopped, and nothing damaged is kept."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

from chat_ui.errors import HubError, LoadCancelledError, ModelError
from chat_ui.models import hub, hub_fetch, hub_files
from chat_ui.models.hub_fetch import Meter
from chat_ui.models.hub_files import HubFile
from tests.fake_hub import FakeHub, Repository, used_by

WEIGHTS = "model.safetensors"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    monkeypatch.setattr(hub_fetch, "PAUSES_S", (0.0, 0.0))
    with FakeHub() as fake, used_by(monkeypatch, fake, tmp_path / "home"):
        yield fake


@pytest.fixture
def repository(fake: FakeHub, folder: Path) -> Repository:
    return fake.add("o/n", folder)


@pytest.fixture
def weights(repository: Repository) -> HubFile:
    content = repository.files[WEIGHTS]
    return HubFile(WEIGHTS, len(content), repository.hash(WEIGHTS))


def fetch(file: HubFile, meter: Meter | None = None, stop: threading.Event | None = None) -> Path:
    commit = hub.check_access("o/n").commit
    meter = meter or Meter()
    hub_fetch.fetch_file("o/n", commit, file, {}, meter, stop or threading.Event())
    assert meter.here_bytes == file.size_bytes
    assert not hub_files.partial("o/n", file).exists()
    return hub_files.blob("o/n", file)


def ranges(fake: FakeHub) -> list[str]:
    return [one.range for one in fake.fetched(WEIGHTS)]


def begin(file: HubFile, content: bytes) -> None:
    partial = hub_files.partial("o/n", file)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content)


def test_a_file_arrives_once(fake: FakeHub, repository: Repository, weights: HubFile) -> None:
    assert fetch(weights).read_bytes() == repository.files[WEIGHTS]
    fetch(weights)
    assert ranges(fake) == [""]


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_both_kinds_of_hash_are_checked(repository: Repository, name: str) -> None:
    content = repository.files[name]
    assert fetch(HubFile(name, len(content), repository.hash(name))).read_bytes() == content
    with pytest.raises(HubError, match=f"{name} of o/n arrived damaged"):
        fetch(HubFile(name, len(content), repository.hash(name)[::-1]))


def test_a_file_goes_on_where_it_was(
    fake: FakeHub, repository: Repository, weights: HubFile
) -> None:
    begin(weights, repository.files[WEIGHTS][:100])
    meter = Meter()
    assert fetch(weights, meter).read_bytes() == repository.files[WEIGHTS]
    assert ranges(fake) == ["bytes=100-"]
    assert meter.moved_bytes == weights.size_bytes  # what was here was checked, too


def test_a_file_that_had_arrived_whole_is_not_asked_for(
    fake: FakeHub, repository: Repository, weights: HubFile
) -> None:
    begin(weights, repository.files[WEIGHTS])
    fetch(weights)
    assert ranges(fake) == []


def test_a_cut_connection_is_mended(
    fake: FakeHub, repository: Repository, weights: HubFile
) -> None:
    repository.file_fault = "cut"
    assert fetch(weights).read_bytes() == repository.files[WEIGHTS]
    assert ranges(fake) == ["", f"bytes={weights.size_bytes // 2}-"]


@pytest.mark.parametrize("fault", ["truncated", "damaged"])
def test_what_arrives_damaged_is_not_kept_and_fetched_anew(
    fake: FakeHub, repository: Repository, weights: HubFile, fault: str
) -> None:
    repository.file_fault = fault  # type: ignore[assignment]
    with pytest.raises(HubError, match="arrived damaged") as caught:
        fetch(weights)
    assert "Try again" in caught.value.next_step
    assert not hub_files.blob("o/n", weights).exists()
    fake.asked.clear()
    repository.file_fault = ""
    assert fetch(weights).read_bytes() == repository.files[WEIGHTS]
    assert ranges(fake) == [""]


@pytest.mark.parametrize("size", [10, 10_000])
def test_what_had_arrived_of_something_else_is_not_kept(
    repository: Repository, weights: HubFile, size: int
) -> None:
    begin(weights, b"x" * size)
    with pytest.raises(HubError, match="arrived damaged"):
        fetch(weights)
    assert fetch(weights).read_bytes() == repository.files[WEIGHTS]


def test_a_blob_that_was_cut_short_is_replaced(repository: Repository, weights: HubFile) -> None:
    whole = fetch(weights)
    whole.write_bytes(b"short")
    assert fetch(weights).read_bytes() == repository.files[WEIGHTS]


def test_a_server_in_trouble_is_asked_again_a_few_times(
    fake: FakeHub, repository: Repository, weights: HubFile
) -> None:
    commit = hub.check_access("o/n").commit
    repository.fault = "broken"
    with pytest.raises(Exception, match="500"):
        hub_fetch.fetch_file("o/n", commit, weights, {}, Meter(), threading.Event())
    assert len(ranges(fake)) == 1 + len(hub_fetch.PAUSES_S)


def test_a_refusal_is_not_asked_again(
    fake: FakeHub, repository: Repository, weights: HubFile
) -> None:
    commit = hub.check_access("o/n").commit
    repository.fault = "rate limited"
    with pytest.raises(HubError, match="no more requests"):
        hub_fetch.fetch_file("o/n", commit, weights, {}, Meter(), threading.Event())
    assert len(ranges(fake)) == 1


def test_stopping_leaves_what_arrived(repository: Repository, weights: HubFile) -> None:
    begin(weights, b"12345")
    stop = threading.Event()
    stop.set()
    with pytest.raises(LoadCancelledError):
        fetch(weights, stop=stop)
    assert hub_files.partial("o/n", weights).read_bytes() == b"12345"


def test_two_programs_do_not_fetch_the_same_file(
    repository: Repository, weights: HubFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_fetch, "_LOCK_TIMEOUT_S", 0.1)
    locks = hub_files.cache_folder() / ".locks" / "models--o--n"
    locks.mkdir(parents=True)
    with (
        WeakFileLock(locks / f"{weights.hash}.lock"),
        pytest.raises(ModelError, match="Another program is downloading o/n"),
    ):
        fetch(weights)
