"""What was measured on this machine survives a restart, and nothing else does."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.models import hardware, memory
from chat_ui.models.hardware import NOTHING, Kept, Measured, PrecisionSpeed, parse

KEY = "a machine"
SPEED = PrecisionSpeed(True, "", 2e10, 1e-4, 2e-3, 5e11)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "machine.json"


def test_what_was_measured_is_there_after_a_restart(file: Path) -> None:
    kept = Kept(file, KEY)
    assert kept.measured == NOTHING
    kept.keep_bandwidth(2e10)
    kept.keep_speed("8bit", SPEED)
    assert kept.measured == Kept(file, KEY).measured == Measured(2e10, {"8bit": SPEED})


def test_another_machine_is_measured_again(file: Path) -> None:
    Kept(file, KEY).keep_bandwidth(2e10)
    other = Kept(file, "another")
    assert other.measured == NOTHING
    other.keep_speed("4bit", SPEED)
    assert Kept(file, "another").measured == Measured(0.0, {"4bit": SPEED})
    assert Kept(file, KEY).measured == NOTHING


def test_what_does_not_work_is_tried_again_after_a_restart(file: Path) -> None:
    Kept(file, KEY).keep_speed("8bit", PrecisionSpeed(False, "It is not installed. Install it."))
    assert Kept(file, KEY).measured == NOTHING


def test_two_processes_keep_what_both_measured(file: Path) -> None:
    one, two = Kept(file, KEY), Kept(file, KEY)
    one.keep_bandwidth(2e10)
    two.keep_speed("8bit", SPEED)
    one.keep_speed("4bit", SPEED)
    assert Kept(file, KEY).measured == Measured(2e10, {"8bit": SPEED, "4bit": SPEED})


def test_a_damaged_file_is_measured_and_written_again(file: Path) -> None:
    Kept(file, KEY).keep_bandwidth(2e10)
    file.write_bytes(file.read_bytes()[:20])
    kept = Kept(file, KEY)
    assert kept.measured == NOTHING
    kept.keep_bandwidth(3e10)
    assert Kept(file, KEY).measured == Measured(3e10)


def test_a_file_that_can_t_be_replaced_stays_whole(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(file, KEY)
    kept.keep_bandwidth(2e10)

    def full(self: Path, target: Path) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", full)
    kept.keep_bandwidth(3e10)
    assert kept.measured == Measured(3e10)
    assert Kept(file, KEY).measured == Measured(2e10)
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_that_can_t_be_read_is_no_error(file: Path) -> None:
    file.mkdir(parents=True)
    kept = Kept(file, KEY)
    kept.keep_bandwidth(2e10)
    assert kept.measured == Measured(2e10)


@given(st.binary())
def test_any_bytes_are_read_without_an_error(content: bytes) -> None:
    assert parse(content, KEY) == NOTHING


_NUMBERS = st.floats() | st.integers() | st.just(10**400) | st.booleans() | st.none() | st.text()
_SPEEDS = st.fixed_dictionaries(
    {}, optional={**{name: _NUMBERS for name in asdict(SPEED)}, "works": st.booleans()}
)


@given(_NUMBERS, st.dictionaries(st.text(), _SPEEDS | _NUMBERS | st.lists(_NUMBERS)) | _NUMBERS)
def test_what_makes_no_sense_is_passed_over(bandwidth: Any, speeds: Any) -> None:
    content = {"machine": KEY, "bandwidth_bytes_per_s": bandwidth, "speeds": speeds}
    measured = parse(json.dumps(content).encode(), KEY)
    assert 0 <= measured.bandwidth_bytes_per_s < float("inf")
    for speed in measured.speeds.values():
        assert speed.works
        assert 0 < speed.read_bytes_per_s < float("inf")
        assert 0 < speed.prompt_flops_per_s < float("inf")
        assert 0 <= speed.layer_s < float("inf")
        assert 0 <= speed.step_s < float("inf")


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b"1" * 5000, b'{"machine": []}'])
def test_a_file_of_something_else_holds_nothing(content: bytes) -> None:
    assert parse(content, KEY) == NOTHING


def test_a_processor_s_name_is_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast 9000 @ 3: turbo\nflags\t: fpu\n\n" * 2)
    monkeypatch.setattr(hardware, "_CPUINFO", cpuinfo)
    assert hardware.machine_name("cpu") == "Fast 9000 @ 3: turbo"


def test_a_processor_without_a_name_is_called_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "missing")
    assert hardware.machine_name("cpu")


def test_the_key_changes_with_cores_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    key = hardware.machine_key("Fast 9000")
    assert key == hardware.machine_key("Fast 9000")
    monkeypatch.setattr(hardware, "_version", lambda package: f"new {package}")
    assert hardware.machine_key("Fast 9000") != key != hardware.machine_key("Faster 9000")


def test_a_machine_is_described_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda kind: 2**30)
    machine = hardware.describe("cpu", Measured(2e10, {"8bit": SPEED}))
    assert machine.free_bytes == 2**30
    assert (machine.bandwidth_bytes_per_s, machine.speeds) == (2e10, {"8bit": SPEED})
    assert hardware.describe("cpu").speeds == {}
