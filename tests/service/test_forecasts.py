"""Forecasts of this server: counted once, within the budget, and better after each answer."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chat_ui.chat.messages import Numbers
from chat_ui.engine.protocol import EngineFacts
from chat_ui.errors import BadCheckpointError, HistoryError
from chat_ui.history.measurements import ENOUGH
from chat_ui.history.store import Store
from chat_ui.models import memory
from chat_ui.models.spec import BUILT_IN_FOLDER, find
from chat_ui.service.activity import Activity
from chat_ui.service.forecasts import Forecasts
from chat_ui.service.machine import ThisMachine
from tests.service.conftest import wait_until
from tests.service.instruments import FakeInstruments

CONFIG = json.loads((BUILT_IN_FOLDER / "config.json").read_text())
FACTS = EngineFacts(
    spec=find(""),
    precision="full",
    dtype="bfloat16",
    dtype_reason="",
    device="cpu",
    kind="batched",
    parameters=4_000_000,
    weight_bytes=9_000_000,
    window_tokens=2048,
    footprint_bytes=9_100_000,
)

Make = Callable[..., Forecasts]


@pytest.fixture
def instruments() -> FakeInstruments:
    return FakeInstruments()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def make(tmp_path: Path, instruments: FakeInstruments, store: Store) -> Make:
    def forecasts(
        leaving_bytes: int = 0,
        budget_bytes: int | None = None,
        activity: Activity | None = None,
    ) -> Forecasts:
        machine = ThisMachine(tmp_path, instruments, lambda: True, watch_others=lambda: lambda: 0.0)
        machine.begin_measuring()
        wait_until(lambda: machine.is_measured)
        return Forecasts(
            machine, instruments, store.measurements, lambda: leaving_bytes, budget_bytes, activity
        )

    return forecasts


def test_a_config_is_counted_once(make: Make, instruments: FakeInstruments) -> None:
    forecasts = make()
    assert not forecasts.is_known(CONFIG)
    first = forecasts.forecast(CONFIG)
    assert forecasts.is_known(dict(reversed(CONFIG.items())))
    assert forecasts.forecast(CONFIG).total_parameters == first.total_parameters
    assert len(instruments.counted) == 1


def test_a_config_that_makes_no_model_is_counted_once_too(
    make: Make, instruments: FakeInstruments
) -> None:
    forecasts = make()
    for _ in range(2):
        with pytest.raises(BadCheckpointError, match="makes no model"):
            forecasts.forecast({"model_type": "llama"})
    assert len(instruments.counted) == 1


def test_what_leaves_counts_as_free_and_the_budget_is_the_limit(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda kind: 3_000_000_000)
    assert make().forecast(CONFIG).free_bytes == 3_000_000_000
    assert make(500_000_000).forecast(CONFIG).free_bytes == 3_500_000_000
    assert make(500_000_000, 1_000_000_000).forecast(CONFIG).free_bytes == 1_000_000_000
    assert make(500_000_000, 90_000_000).forecast(CONFIG).precisions["float32"].verdict == "no"


def answered(forecasts: Forecasts, tokens_per_s: float, **changes: int) -> None:
    numbers = {"prompt_tokens": 100, "completion_tokens": 100} | changes
    forecasts.answered(FACTS, Numbers(decode_tokens_per_s=tokens_per_s, **numbers))  # type: ignore[arg-type]


def test_answers_that_came_slower_than_forecast_slow_down_the_next_forecast(make: Make) -> None:
    forecasts = make()
    before = forecasts.forecast(CONFIG, 200).precisions
    expected = before["bfloat16"].tokens_per_s
    assert expected is not None
    for _ in range(ENOUGH):
        answered(forecasts, expected / 2)
    after = forecasts.forecast(CONFIG, 200).precisions
    assert after["bfloat16"].tokens_per_s == pytest.approx(expected / 2)
    assert after["8bit"].tokens_per_s == before["8bit"].tokens_per_s
    measured = forecasts.measured("pocket-guide", "bfloat16")
    assert measured is not None
    assert measured.tokens_per_s == pytest.approx(expected / 2)
    # Not of what was learnt: else it would learn from itself.
    assert measured.forecast_tokens_per_s == pytest.approx(expected)


def test_what_a_model_took_is_known_after_its_first_answer(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecasts = make()
    forecasts.loaded(FACTS, bytes_before=1_000_000)
    assert forecasts.measured("pocket-guide", "bfloat16") is None
    monkeypatch.setattr(memory, "process_bytes", lambda: 51_000_000)
    answered(forecasts, 50.0)
    monkeypatch.setattr(memory, "process_bytes", lambda: 99_000_000)
    answered(forecasts, 50.0)
    measured = forecasts.measured("pocket-guide", "bfloat16")
    assert measured is not None
    assert measured.growth_bytes == 50_000_000
    expected = forecasts.forecast(CONFIG, 200).precisions["bfloat16"]
    assert measured.forecast_growth_bytes == expected.total_bytes
    assert measured.weight_bytes == 9_100_000
    assert measured.forecast_weight_bytes == expected.weight_bytes


@pytest.mark.parametrize("begin", [Activity.note_load, Activity.note_probe])
def test_what_something_else_may_have_taken_is_no_model_s(
    make: Make, monkeypatch: pytest.MonkeyPatch, begin: Callable[[Activity], None]
) -> None:
    """A probe beside the built-in model made "341 of 28 MB" of it."""
    activity = Activity()
    forecasts = make(activity=activity)
    forecasts.loaded(FACTS, bytes_before=1_000_000)
    begin(activity)
    assert activity.is_working
    begin(activity)  # and ends
    assert not activity.is_working
    monkeypatch.setattr(memory, "process_bytes", lambda: 51_000_000)
    answered(forecasts, 50.0)
    measured = forecasts.measured("pocket-guide", "bfloat16")
    assert measured is not None
    assert measured.growth_bytes is None


@pytest.mark.parametrize(
    "changes", [{"completion_tokens": 31}, {"drafted_tokens": 5}], ids=["short", "drafted"]
)
def test_answers_that_say_nothing_of_the_speed_are_left_out(
    make: Make, changes: dict[str, int]
) -> None:
    forecasts = make()
    answered(forecasts, 50.0, **changes)
    assert forecasts.measured("pocket-guide", "bfloat16") is None


def test_a_database_that_fails_costs_no_forecast(
    make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise HistoryError("The disk is full.")

    forecasts = make()
    for name in ("add", "of", "corrections"):
        monkeypatch.setattr(store.measurements, name, fail)
    answered(forecasts, 50.0)
    assert forecasts.measured("pocket-guide", "bfloat16") is None
    assert forecasts.forecast(CONFIG).precisions["bfloat16"].tokens_per_s is not None
