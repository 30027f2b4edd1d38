"""The sentences on the server's model."""

from dataclasses import replace

import pytest

from chat_ui.service import Loading, Measured, ModelStatus
from chat_ui.ui import model_line as status
from tests.ui.conftest import READY

LOADING = Loading("a/other", "Other, 4-bit", "4bit", "downloading")


def test_the_model_line_names_model_precision_and_dtype():
    ready = ModelStatus(7, "ready", "x", "Tiny (4M)", "full", "bfloat16", "Kept as it came.")
    line = status.model_line(ready)
    assert (line["label"], line["facts"]) == ("Tiny (4M)", "Full precision · bfloat16")
    assert (line["state"], line["note"], line["is_settled"]) == ("Ready", "Kept as it came.", True)
    loading = replace(ready, phase="loading", precision="4bit", note="Loading it…", dtype=None)
    line = status.model_line(loading)
    assert (line["label"], line["facts"]) == ("Tiny (4M)", "4-bit")
    assert (line["state"], line["note"], line["is_settled"]) == ("Loading it…", "", False)


def test_models_that_stay_in_memory_are_named():
    line = status.model_line(replace(READY, note="A reason.", others=("Tiny, 4-bit", "A, Full")))
    assert line["note"] == "A reason. Also in memory: Tiny, 4-bit; A, Full."


def test_an_unloaded_model_is_settled_and_says_what_comes_next():
    gone = replace(READY, phase="unloaded", dtype=None, note="The next message loads it again.")
    line = status.model_line(gone)
    assert (line["state"], line["is_settled"]) == ("Unloaded", True)
    assert line["note"] == "The next message loads it again."
    assert (line["seed"], line["assisted"]) == ("", "")


@pytest.mark.parametrize(("repeats", "end"), [(True, "exactly."), (False, "being answered.")])
def test_the_seed_says_when_it_repeats(repeats, end):
    line = status.model_line(replace(READY, repeats_in_company=repeats))
    assert line["seed"].startswith("A seed repeats an answer exactly")
    assert line["seed"].endswith(end)


@pytest.mark.parametrize(
    ("drafter", "is_mixture", "note"),
    [
        ("prompt lookup", False, "The drafts come from prompt lookup."),
        ("SmolLM2 (135M)", False, "The drafts come from SmolLM2 (135M)."),
        (
            "prompt lookup",
            True,
            "The drafts come from prompt lookup. With a mixture of experts, such as this model, it "
            "seldom helps.",
        ),
        ("", False, "This model can't be assisted."),
    ],
)
def test_the_assisted_setting_says_what_drafts(drafter, is_mixture, note):
    now = replace(READY, drafter=drafter, is_mixture=is_mixture)
    assert status.model_line(now)["assisted"] == note


def test_a_failed_change_stays_readable():
    failed = ModelStatus(7, "ready", "x", "Tiny", "full", "float32", error="It does not fit.")
    assert status.model_line(failed)["error"] == "It does not fit."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stage": "checking"}, "Checking the model…"),
        ({}, "Downloading…"),
        (
            {"done": 340_000_000, "total": 980_000_000, "bytes_per_s": 12e6, "left_s": 53.4},
            "Downloading 340 of 980 MB · 12 MB/s · 53 s left",
        ),
        (
            {"done": 340_000_000, "total": 1_200_000_000, "left_s": 72.0},
            "Downloading 0.3 of 1.2 GB · 1 min left",
        ),
        ({"done": 340_000_000}, "Downloading 340 MB"),
        ({"stage": "making room"}, "Making room…"),
        ({"stage": "making room", "note": "It waits."}, "It waits."),
        ({"stage": "reading", "done": 120, "total": 290}, "Reading weights 120 of 290"),
        ({"stage": "quantizing"}, "Quantizing…"),
        ({"stage": "warming up"}, "Warming up…"),
        ({"stage": "reading", "done": 1, "total": 2, "is_cancelled": True}, "Cancelling…"),
    ],
)
def test_a_load_says_how_far_it_is(changes, sentence):
    assert status.progress(replace(LOADING, **changes)) == sentence


@pytest.mark.parametrize(
    ("done", "total", "share"), [(0, None, None), (0, 0, None), (3, 4, 0.75), (5, 4, 1.0)]
)
def test_a_bar_is_as_long_as_what_is_done(done, total, share):
    assert status.loading(replace(LOADING, done=done, total=total))["share"] == share


def test_a_model_that_answers_while_another_is_loaded_is_ready_and_not_settled():
    line = status.model_line(replace(READY, loading=LOADING))
    assert (line["state"], line["is_settled"]) == ("Ready", False)
    assert line["note"] == "Loading Other, 4-bit: Downloading…"
    assert line["loading"]["model"] == "a/other"


def test_while_no_model_answers_the_state_names_what_is_loaded_and_the_note_how_far():
    now = replace(READY, phase="loading", note="Loading Other, 4-bit…", loading=LOADING)
    line = status.model_line(now)
    assert (line["state"], line["note"]) == ("Loading Other, 4-bit…", "Downloading…")


def test_modules_that_a_precision_left_alone_are_counted():
    quantized = replace(
        READY, quantized_modules=(("Linear4bit", 210),), left_modules=(("Linear", 1),)
    )
    assert status.modules(quantized) == "210 Linear4bit, 1 left alone"
    plain = replace(READY, left_modules=(("Linear", 211), ("Embedding", 1)))
    assert status.modules(plain) == "211 Linear, 1 Embedding"
    assert status.modules(READY) == ""


def test_what_was_measured_stands_beside_the_forecast():
    measured = Measured(18.44, 19.1, 370_000_000, 372_000_000, 410_000_000, 430_000_000)
    now = replace(READY, weight_bytes=370_000_000, left_modules=(("Linear", 2),), measured=measured)
    assert status.loaded(now) == [
        "370 MB of weights · 2 Linear",
        "Measured 18.4 tokens/s, forecast 19.1",
        "Memory: measured 410 MB, forecast 430 MB",
    ]
    assert status.against_forecast(replace(measured, growth_bytes=None))[1:] == [
        "Weights: measured 370 MB, forecast 372 MB"
    ]
    assert status.against_forecast(Measured(tokens_per_s=5.0)) == ["Measured 5.0 tokens/s"]
    assert status.against_forecast(Measured()) == []


@pytest.mark.parametrize("phase", ["starting", "loading", "unloaded", "failed"])
def test_of_a_model_that_does_not_answer_nothing_is_measured(phase):
    assert status.loaded(replace(READY, phase=phase, weight_bytes=5)) == []
