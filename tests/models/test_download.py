"""A model comes from the Hub in a process of its own, which can be ended and goes on later."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.errors import AccessError, HubError, LoadCancelledError, ModelNotFoundError
from chat_ui.models import checkpoint, download, download_child, hub
from chat_ui.models.hub_fetch import Meter
from chat_ui.models.progress import LoadProgress
from tests.fake_hub import TOKEN, FakeHub, used_by

WEIGHTS = "model.safetensors"
# Against a test that hangs; nothing is measured.
DEADLINE_S = 60.0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as fake, used_by(monkeypatch, fake, tmp_path / "home"):
        yield fake


class Started:
    """The processes that were started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.all: list[subprocess.Popen[bytes]] = []
        self.arguments: list[tuple[Any, Any]] = []
        self._popen = subprocess.Popen
        monkeypatch.setattr(subprocess, "Popen", self)

    def __call__(self, *args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        self.arguments.append((args, kwargs))
        self.all.append(self._popen(*args, **kwargs))
        return self.all[-1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(monkeypatch)


def bring(model_id: str = "o/n", token: str | None = None) -> Path:
    """What the other process does, in this one."""
    return download_child.bring(model_id, token, Meter())


def test_a_model_comes_whole_and_without_the_rest(fake: FakeHub, folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_own.py").write_text("code")
    fake.add("o/n", folder)
    where = bring()
    assert checkpoint.read(where).parameters == 512
    assert {file.name for file in where.iterdir()} == {"config.json", "tokenizer.json", WEIGHTS}
    assert (where / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    assert not list((where.parents[1] / "blobs").glob("*.incomplete"))


def test_each_file_is_fetched_once(fake: FakeHub, folder: Path) -> None:
    """The Hub client, which makes the links, finds what is here."""
    fake.add("o/n", folder)
    bring()
    bring()
    for name in ("config.json", "tokenizer.json", WEIGHTS):
        assert len(fake.fetched(name)) == 1


def test_a_newer_revision_brings_only_what_changed(fake: FakeHub, folder: Path) -> None:
    repository = fake.add("o/n", folder)
    before = bring()
    repository.files["config.json"] += b" "
    after = bring()
    assert after != before
    assert (len(fake.fetched("config.json")), len(fake.fetched(WEIGHTS))) == (2, 1)


def test_the_first_failure_ends_the_other_files(fake: FakeHub, folder: Path) -> None:
    repository = fake.add("o/n", folder, file_fault="damaged")
    with pytest.raises(HubError, match="arrived damaged"):
        bring()
    repository.file_fault = ""
    assert (bring() / WEIGHTS).is_file()


def test_progress_is_told_until_the_model_is_here(fake: FakeHub, folder: Path) -> None:
    repository = fake.add("o/n", folder, file_fault="held")
    told: list[LoadProgress] = []

    def progress(now: LoadProgress) -> None:
        told.append(now)
        if repository.held.is_set() and 0 < now.done < (now.total or 0):
            repository.gate.set()

    where = hub.download("o/n", progress)
    assert checkpoint.read(where).parameters == 512
    assert told[0] == LoadProgress("checking")
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert {now.total for now in told if now.stage == "downloading"} == {size}
    assert any(0 < now.done < size for now in told)


def test_a_cancelled_download_ends_at_once_and_goes_on_later(
    fake: FakeHub, folder: Path, started: Started
) -> None:
    repository = fake.add("o/n", folder, file_fault="held")
    sizes = {name: len(content) for name, content in repository.files.items()}
    half = sizes[WEIGHTS] // 2
    rest = sizes[WEIGHTS] - half

    def give_up(now: LoadProgress) -> None:
        if now.done == sum(sizes.values()) - rest:
            raise LoadCancelledError

    with pytest.raises(LoadCancelledError):
        hub.download("o/n", give_up)
    assert started.all[0].returncode not in (None, 0)
    repository.gate.set()
    where = hub.download("o/n")
    assert (where / WEIGHTS).read_bytes() == repository.files[WEIGHTS]
    assert [one.range for one in fake.fetched(WEIGHTS)] == ["", f"bytes={half}-"]
    assert len(fake.fetched("config.json")) == 1


def test_a_connection_that_stands_still_is_given_up(
    fake: FakeHub, folder: Path, started: Started
) -> None:
    fake.add("o/n", folder, file_fault="held")
    with pytest.raises(HubError, match="stood still") as caught:
        hub.download("o/n", stalled_after_s=3)
    assert "goes on where it was" in caught.value.next_step
    assert started.all[0].returncode not in (None, 0)


def test_what_goes_wrong_there_is_raised_here(fake: FakeHub, folder: Path) -> None:
    fake.add("o/n", folder, is_gated=True)
    with pytest.raises(AccessError, match="nobody is logged in") as caught:
        hub.download("o/n")
    assert "https://huggingface.co/o/n" in caught.value.next_step


def test_a_token_goes_to_the_hub_and_nowhere_else(
    fake: FakeHub, folder: Path, started: Started, tmp_path: Path
) -> None:
    fake.add("o/n", folder, is_private=True)
    hub.download("o/n", token=f" {TOKEN}\n")
    assert {one.token for one in fake.asked} == {TOKEN}
    assert TOKEN not in repr(started.arguments)
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes()


def test_a_process_that_dies_is_a_sentence(fake: FakeHub, folder: Path, started: Started) -> None:
    repository = fake.add("o/n", folder, file_fault="held")

    def kill(now: LoadProgress) -> None:
        if repository.held.is_set():
            started.all[0].kill()

    with pytest.raises(HubError, match="ended unexpectedly"):
        hub.download("o/n", kill)


def test_the_process_ends_with_its_parent(fake: FakeHub, folder: Path) -> None:
    repository = fake.add("o/n", folder, file_fault="held")
    child = subprocess.Popen(
        [sys.executable, "-m", "chat_ui.models.download_child"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with child:
        assert child.stdin is not None
        child.stdin.write(json.dumps({"model_id": "o/n", "token": None}).encode() + b"\n")
        child.stdin.flush()
        assert repository.held.wait(DEADLINE_S)
        child.stdin.close()  # as the system does when a process dies
        assert child.wait(DEADLINE_S) == 1


def test_what_is_here_needs_neither_process_nor_network(
    fake: FakeHub, folder: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add("o/n", folder)
    where = bring()
    fake.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.download("o/n") == where
    assert (started.all, fake.asked) == ([], [])
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        hub.download("o/other")


def test_what_is_half_here_is_completed(fake: FakeHub, folder: Path) -> None:
    fake.add("o/n", folder)
    where = bring()
    (where / WEIGHTS).unlink()
    (where / "config.json").resolve().write_bytes(b"{")
    assert checkpoint.read(bring()).parameters == 512


def test_where_there_are_no_links_nothing_is_kept_twice(
    fake: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    fake.add("o/n", folder)
    where = bring()
    assert not (where / WEIGHTS).is_symlink()
    assert not list((where.parents[1] / "blobs").iterdir())
    assert bring() == where
    assert len(fake.fetched(WEIGHTS)) == 1


def test_a_name_the_hub_would_not_take(started: Started) -> None:
    with pytest.raises(ModelNotFoundError):
        hub.download("no//thing")
    assert started.all == []


COUNTS = {"here_bytes": 1, "total_bytes": 2, "moved_bytes": 3}


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from([*COUNTS, "folder", "error"]), st.none() | st.integers() | st.text()
    ).map(lambda said: json.dumps(said).encode())
)
def test_no_line_of_the_other_process_breaks_this_one(line: bytes) -> None:
    said = download.parsed(line)
    numbers = {type(said[key]) for key in COUNTS if key in said}
    assert numbers <= {int}
    assert not numbers or COUNTS.keys() <= said.keys()


def test_a_line_that_counts_is_understood() -> None:
    assert download.parsed(json.dumps(COUNTS).encode()) == COUNTS


def test_counting_from_many_threads_loses_nothing() -> None:
    meter = Meter()
    threads = [
        threading.Thread(target=lambda: [meter.add(1, fetched=True) for _ in range(1000)])  # type: ignore[func-returns-value]
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (meter.here_bytes, meter.moved_bytes) == (4000, 4000)
