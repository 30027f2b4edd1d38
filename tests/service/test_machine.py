"""This machine: measured once, when it is quiet, and known again after a restart."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chat_ui.models.hardware import PrecisionSpeed
from chat_ui.models.memory import DeviceKind
from chat_ui.service.activity import Activity
from chat_ui.service.machine import ThisMachine, others_share
from tests.service.conftest import wait_until
from tests.service.instruments import SPEED, FakeInstruments

ALL = ["", "bfloat16", "8bit-cpu", "8bit", "4bit", "float32"]

Make = Callable[..., ThisMachine]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[ThisMachine] = []

    def machine(
        instruments: FakeInstruments,
        is_quiet: Callable[[], bool] = lambda: True,
        others: float = 0.0,
        activity: Activity | None = None,
    ) -> ThisMachine:
        made.append(ThisMachine(tmp_path, instruments, is_quiet, activity, lambda: lambda: others))
        return made[-1]

    yield machine
    for one in made:
        one.close()


def test_nothing_is_measured_before_somebody_wants_it(make: Make) -> None:
    instruments = FakeInstruments()
    now = make(instruments).now()
    assert (now.kind, now.name) == ("cpu", "A processor")
    assert now.free_bytes > 0
    assert now.bandwidth_bytes_per_s == 0
    assert now.speeds == {}
    assert instruments.probed == []


def test_everything_is_measured_once_and_known_after_a_restart(make: Make) -> None:
    instruments = FakeInstruments()
    machine = make(instruments)
    machine.begin_measuring()
    machine.begin_measuring()
    wait_until(lambda: machine.is_measured)
    assert instruments.probed == ALL
    assert machine.now().bandwidth_bytes_per_s == 20e9
    assert machine.now().speeds["4bit"] == SPEED
    again = FakeInstruments()
    restarted = make(again)
    restarted.begin_measuring()
    assert restarted.is_measured
    assert restarted.now().speeds["8bit"] == SPEED
    assert again.probed == []


def test_what_does_not_work_is_said_and_tried_again_after_a_restart(make: Make) -> None:
    instruments = FakeInstruments()
    instruments.broken["4bit"] = "bitsandbytes is missing."
    machine = make(instruments)
    machine.begin_measuring()
    wait_until(lambda: machine.is_measured)
    assert machine.now().speeds["4bit"] == PrecisionSpeed(False, "bitsandbytes is missing.")
    mended = FakeInstruments()
    restarted = make(mended)
    restarted.begin_measuring()
    wait_until(lambda: restarted.is_measured)
    assert mended.probed == ["4bit"]


def test_what_was_measured_beside_busy_programs_is_measured_again_after_a_restart(
    make: Make,
) -> None:
    machine = make(FakeInstruments(), others=0.5)
    machine.begin_measuring()
    wait_until(lambda: machine.is_measured)
    assert machine.now().bandwidth_bytes_per_s == 20e9
    assert machine.now().speeds["8bit"] == SPEED
    again = FakeInstruments()
    restarted = make(again)
    assert not restarted.is_measured
    restarted.begin_measuring()
    wait_until(lambda: restarted.is_measured)
    assert again.probed == ALL


@pytest.mark.parametrize("disturb", [Activity.note_answer, Activity.note_load])
def test_what_was_measured_beside_an_answer_or_a_load_is_measured_again_after_a_restart(
    make: Make, disturb: Callable[[Activity], None]
) -> None:
    activity = Activity()

    class Disturbed(FakeInstruments):
        def probe_precision(self, name: str, kind: DeviceKind) -> PrecisionSpeed:
            if name == "8bit":
                disturb(activity)
            return super().probe_precision(name, kind)

    machine = make(Disturbed(), activity=activity)
    machine.begin_measuring()
    machine.wait_measured()
    assert machine.now().speeds["8bit"] == SPEED
    again = FakeInstruments()
    restarted = make(again)
    restarted.begin_measuring()
    restarted.wait_measured()
    assert again.probed == ["8bit"]


def test_a_load_waits_for_the_probe_that_is_running_and_the_next_one_for_the_load(
    make: Make,
) -> None:
    begun, go_on, loading = threading.Event(), threading.Event(), threading.Event()

    class Slow(FakeInstruments):
        def read_bandwidth(self, kind: DeviceKind) -> float:
            begun.set()
            assert go_on.wait(20)
            return super().read_bandwidth(kind)

    instruments = Slow()
    machine = make(instruments)
    machine.begin_measuring()
    assert begun.wait(20)

    def load() -> None:
        with machine.unmeasured():
            loading.set()

    loader = threading.Thread(target=load)
    loader.start()
    assert not loading.wait(0.1)
    go_on.set()
    assert loading.wait(20)
    loader.join()
    machine.wait_measured()
    assert instruments.probed == ALL


def test_other_programs_take_a_share_of_all_cores() -> None:
    assert 0.0 <= others_share()() <= 1.0


def test_it_waits_while_somebody_is_being_answered(make: Make) -> None:
    quiet, asked = threading.Event(), threading.Event()

    def is_quiet() -> bool:
        asked.set()
        return quiet.is_set()

    instruments = FakeInstruments()
    machine = make(instruments, is_quiet)
    machine.begin_measuring()
    assert asked.wait(20)
    assert instruments.probed == []
    quiet.set()
    wait_until(lambda: machine.is_measured)
    assert instruments.probed == ALL


def test_a_fault_while_measuring_leaves_the_forecasts_without_speeds(make: Make) -> None:
    class Broken(FakeInstruments):
        def read_bandwidth(self, kind: DeviceKind) -> float:
            self.probed.append("")
            raise RuntimeError("no memory")

    instruments = Broken()
    machine = make(instruments)
    machine.begin_measuring()
    wait_until(lambda: instruments.probed == [""])
    assert machine.now().speeds == {}
