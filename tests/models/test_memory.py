"""What loading needs, what is free, and whether two models fit side by side."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from chat_ui.errors import BadCheckpointError, ModelError
from chat_ui.models import checkpoint, memory
from chat_ui.models.checkpoint import Checkpoint
from chat_ui.models.quantization import PRECISIONS
from chat_ui.models.spec import ModelSpec

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB free; the folder where a container's limits would be."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GIB))
    monkeypatch.setattr(memory, "_own_file_bytes", lambda: 0)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "device_kind", lambda: "cpu")
    return tmp_path


def limit(folder: Path, *, maximum: object, used: int, cached: int = 0, version: int = 2) -> None:
    maximum_file, used_file = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        2: ("memory.max", "memory.current"),
    }[version]
    place = folder if version == 2 else folder / "memory"
    place.mkdir(exist_ok=True)
    (place / maximum_file).write_text(f"{maximum}\n")
    (place / used_file).write_text(f"{used}\n")
    (place / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 7\n")


def test_a_machine_without_a_container() -> None:
    assert memory.free_bytes("cpu") == 8 * GIB


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_s_limit_counts(machine: Path, version: int) -> None:
    limit(machine, maximum=4 * GIB, used=3 * GIB, cached=GIB, version=version)
    assert memory.free_bytes("cpu") == 2 * GIB


def test_a_container_that_is_full_has_nothing_free(machine: Path) -> None:
    limit(machine, maximum=2 * GIB, used=3 * GIB)
    assert memory.free_bytes("cpu") == 0


def test_a_container_without_a_limit(machine: Path) -> None:
    limit(machine, maximum="max", used=GIB)
    assert memory.free_bytes("cpu") == 8 * GIB


def test_bitsandbytes_needs_more_on_a_cpu_and_less_on_a_gpu() -> None:
    found = Checkpoint(Path("m"), {"model_type": "llama"}, 7 * 10**9, 14 * 10**9)
    assert all(memory.needed_bytes(found, precision, "cpu") for precision in PRECISIONS)
    cpu = [memory.needed_bytes(found, precision, "cpu") for precision in ("full", "8bit", "4bit")]
    gpu = [memory.needed_bytes(found, precision, "cuda") for precision in ("full", "8bit", "4bit")]
    assert cpu[0] < cpu[2] < cpu[1]
    assert gpu[2] < gpu[1] < gpu[0] == cpu[0]
    assert 14e9 < gpu[0] < 16e9
    assert 3.5e9 < gpu[2] < 6e9


def test_two_models_side_by_side(folder: Path, machine: Path) -> None:
    spec = ModelSpec("m", "m", "folder", folder)
    assert memory.fits_beside(spec, "full")
    limit(machine, maximum=GIB, used=GIB - 1000)
    assert not memory.fits_beside(spec, "full")


def sized(monkeypatch: pytest.MonkeyPatch, needed: int) -> None:
    monkeypatch.setattr(memory, "needed_bytes", lambda *_: needed)


def test_a_model_that_stays_leaves_room_for_conversations(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec("m", "m", "folder", folder)
    sized(monkeypatch, 3 * GIB)
    assert memory.fits_beside(spec, "full")
    sized(monkeypatch, 5 * GIB)
    assert not memory.fits_beside(spec, "full")


def test_a_draft_model_wants_room_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec("m", "m", "folder", folder)
    sized(monkeypatch, 3 * GIB)
    assert memory.fits_beside(spec, "full")
    assert not memory.fits_beside(spec, "full", spec)


def test_weights_that_are_files_are_not_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec("m", "m", "folder", folder)
    monkeypatch.setattr(memory, "_own_file_bytes", lambda: 8 * GIB)
    assert not memory.fits_beside(spec, "full")


def test_a_budget_holds_all_models_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec("m", "m", "folder", folder)
    sized(monkeypatch, 2 * GIB)
    assert memory.fits_beside(spec, "full", resident_bytes=GIB, budget_bytes=3 * GIB)
    assert not memory.fits_beside(spec, "full", resident_bytes=GIB + 1, budget_bytes=3 * GIB)
    assert not memory.fits_beside(spec, "full", budget_bytes=99 * GIB, resident_bytes=98 * GIB)


def test_a_model_that_is_larger_than_the_budget_is_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sized(monkeypatch, 3 * GIB)
    with pytest.raises(ModelError, match=r"about 3\.2 GB of memory; models may take 2\.0 GB here"):
        memory.fits_beside(ModelSpec("m", "m", "folder", folder), "full", budget_bytes=2 * 10**9)


def test_a_model_of_unknown_size_does_not_fit() -> None:
    assert not memory.fits_beside(ModelSpec("o/n", "o/n", "hub"), "full")


def test_nothing_is_unloaded_for_a_model_that_can_t_be_loaded(folder: Path, machine: Path) -> None:
    (folder / "config.json").unlink()
    limit(machine, maximum=GIB, used=GIB)
    with pytest.raises(BadCheckpointError):
        checkpoint.read(folder)
    assert memory.fits_beside(ModelSpec("m", "m", "folder", folder), "full")
