"""What was forecast and measured is kept, bounded, and learnt from."""

import sqlite3
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.history import measurements as module
from chat_ui.history.measurements import ENOUGH, MOST, RECENT, RECENT_OF_A_MODEL, Measurement
from chat_ui.history.store import Store
from chat_ui.history.tables import measurements as table
from tests.history.test_failures import failure, pragma

RUN = Measurement(
    machine="a machine",
    model_id="owner/model",
    precision="8bit",
    context_tokens=4096,
    measured_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    forecast_tokens_per_s=10.0,
    tokens_per_s=12.0,
    forecast_bytes=70 * 2**30,  # more than 32 bits
    memory_bytes=71 * 2**30,
)
UNKNOWN = replace(
    RUN, forecast_tokens_per_s=None, tokens_per_s=None, forecast_bytes=None, memory_bytes=None
)


def of(store, run=RUN):
    return store.measurements.of(run.machine, run.model_id, run.precision)


def add(store, ratios, **changes):
    for ratio in ratios:
        store.measurements.add(replace(RUN, tokens_per_s=10.0 * ratio, **changes))


def test_runs_are_there_after_a_restart_the_newest_first(data_dir):
    store = Store.open(data_dir)
    store.measurements.add(RUN)
    store.measurements.add(UNKNOWN)
    store.close()
    store = Store.open(data_dir)
    assert of(store) == [UNKNOWN, RUN]
    store.close()


@pytest.mark.parametrize(
    "other",
    [replace(RUN, machine="x"), replace(RUN, model_id="x"), replace(RUN, precision="x")],
    ids=["machine", "model", "precision"],
)
def test_runs_of_something_else_are_not_mixed_in(store, other):
    store.measurements.add(RUN)
    store.measurements.add(other)
    assert of(store) == [RUN]


def test_the_oldest_runs_leave(store, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 5)
    runs = [replace(RUN, context_tokens=tokens) for tokens in range(8)]
    for run in runs:
        store.measurements.add(run)
    assert of(store) == runs[:2:-1]


def test_one_run_corrects_nothing(store):
    add(store, [2.0] * (ENOUGH - 1))
    assert store.measurements.corrections(RUN.machine) == {}
    add(store, [2.0])
    assert store.measurements.corrections(RUN.machine) == {"8bit": 2.0}
    assert store.measurements.corrections("another") == {}


def test_a_correction_is_the_middle_of_the_runs_by_precision(store):
    add(store, [0.5, 0.9, 100.0])
    add(store, [1.1, 1.2, 1.3], precision="4bit")
    corrections = store.measurements.corrections(RUN.machine)
    assert corrections == pytest.approx({"8bit": 0.9, "4bit": 1.2})


def test_a_correction_stays_within_bounds(store):
    add(store, [1000.0] * ENOUGH)
    add(store, [0.001] * ENOUGH, precision="4bit")
    assert store.measurements.corrections(RUN.machine) == {"8bit": MOST, "4bit": 1 / MOST}


def test_a_model_that_is_asked_often_does_not_speak_for_the_others(store):
    for model in ("a", "b"):
        add(store, [1.0] * ENOUGH, model_id=model)
    add(store, [2.0] * 100, model_id="c")
    few = [1.0] * ENOUGH * 2 + [2.0] * RECENT_OF_A_MODEL
    assert sorted(few)[len(few) // 2] == 1.0
    assert store.measurements.corrections(RUN.machine) == {"8bit": 1.0}


def test_old_runs_correct_no_more(store):
    for number in range(RECENT):
        add(store, [1.0], model_id=f"old-{number}")
    for number in range(RECENT):
        add(store, [2.0], model_id=f"new-{number}")
    assert store.measurements.corrections(RUN.machine) == {"8bit": 2.0}


def test_runs_without_a_speed_correct_nothing(store):
    for run in (UNKNOWN, replace(RUN, tokens_per_s=0.0), replace(RUN, forecast_tokens_per_s=0.0)):
        for _ in range(ENOUGH):
            store.measurements.add(run)
    assert store.measurements.corrections(RUN.machine) == {}


@settings(max_examples=30)  # each opens a database
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False) | st.none(),
            st.floats(allow_nan=False) | st.none(),
        ),
        max_size=8,
    )
)
def test_any_numbers_give_a_correction_that_can_be_used(tmp_path_factory, pairs):
    store = Store.open(tmp_path_factory.mktemp("data"))
    try:
        for forecast, measured in pairs:
            run = replace(RUN, forecast_tokens_per_s=forecast, tokens_per_s=measured)
            store.measurements.add(run)
        for correction in store.measurements.corrections(RUN.machine).values():
            assert 1 / MOST <= correction <= MOST
    finally:
        store.close()


def test_names_that_no_database_takes_are_kept_as_it_can(store):
    run = replace(RUN, model_id="a\0b\ud800")
    store.measurements.add(run)
    assert of(store, run) == [replace(run, model_id="a\ufffdb\ufffd")]


def test_a_full_disk_is_a_sentence_and_changes_nothing(store):
    store.measurements.add(RUN)
    end = pragma(store, "max_page_count = 1")
    assert "disk is full" in failure(store.measurements.add, replace(RUN, machine="m" * 100_000))
    end()
    assert of(store) == [RUN]


def test_whose_run_it_was_is_not_kept(store, data_dir):
    store.measurements.add(RUN)
    assert {column.name for column in table.c} == {
        "sequence",
        *(field.name for field in fields(Measurement)),
    }
    with closing(sqlite3.connect(data_dir / "chat_ui.db")) as connection:
        names = {row[1] for row in connection.execute("PRAGMA table_info(measurements)")}
    assert not {name for name in names if "owner" in name or "content" in name}
