"""The sentences on models to choose from."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.service import Choice, ChoiceGroup, Measured, PrecisionForecast
from chat_ui.ui import model_card
from tests.ui.conftest import FITS, GUIDE, SMALL, card_of

BIG = replace(
    FITS,
    weight_bytes=1_600_000_000,
    total_bytes=1_800_000_000,
    verdict="no",
    missing_bytes=800_000_000,
)


def test_groups_have_titles_and_empty_ones_are_left_out():
    found = model_card.groups([ChoiceGroup("no", ()), ChoiceGroup("here", (GUIDE,))])
    assert [(group["title"], len(group["options"])) for group in found] == [("On this machine", 1)]


def test_an_option_says_what_helps_to_choose():
    mixture = replace(
        SMALL,
        parameters=30_532_122_624,
        active_parameters=3_353_032_704,
        tags=("code",),
        is_gated=True,
        verdict="tight",
        precision="4bit",
    )
    assert model_card.options([mixture]) == [
        {
            "id": "a/small-1B",
            "label": "Small 1B",
            "size": "30.5B, 3.4B active",
            "tags": ["code"],
            "is_gated": True,
            "popularity": "1.2M downloads · 340 likes",
            "verdict": "tight",
            "word": "Tight in 4-bit",
        }
    ]
    assert model_card.short_count(Choice("a/b", "b")) == ""


@pytest.mark.parametrize(
    ("fits", "precision", "word"),
    [
        (None, None, ""),
        ("fits", "full", "Fits"),
        ("fits", "8bit", "Fits in 8-bit"),
        ("no", "4bit", "Too large"),
    ],
)
def test_a_verdict_is_a_word_and_not_a_colour_alone(fits, precision, word):
    assert model_card.verdict(fits, precision)["word"] == word


def test_exact_counts_are_written_out_and_those_of_a_name_are_not():
    mixture = replace(SMALL, parameters=46_702_792_704, active_parameters=12_879_925_248)
    assert model_card.exact_count(card_of(mixture)) == (
        "46,702,792,704 parameters, of which a token needs 12,879,925,248"
    )
    guess = card_of(SMALL, is_exact=False)
    assert model_card.exact_count(guess) == "About 1B parameters"
    assert model_card.exact_count(card_of(Choice("a/b", "b"))) == ""


def test_the_facts_are_those_that_are_known():
    known = card_of(SMALL, quantized_as="GPTQ, 4-bit")
    assert model_card.facts(known) == [
        "Window of 8,192 tokens",
        "bfloat16",
        "Quantized already: GPTQ, 4-bit",
        "Licence mit",
        "1.2 GB to download",
    ]
    unknown = card_of(GUIDE, window_tokens=None, dtype="")
    assert model_card.facts(unknown) == []
    here = replace(GUIDE, disk_bytes=19_000_000)
    assert model_card.facts(card_of(here))[-1] == "19 MB on this disk"


def test_the_machine_is_named_with_what_limits_a_model():
    assert model_card.machine(card_of(GUIDE)) == "AMD EPYC, 2 cores · 44 GB/s · 1.0 GB free"
    unmeasured = card_of(GUIDE, bandwidth_bytes_per_s=None)
    assert model_card.machine(unmeasured) == "AMD EPYC, 2 cores · 1.0 GB free"


def test_contexts_are_doubled_up_to_the_window():
    assert [tokens for tokens, _ in model_card.contexts(12_000, 4096)] == [2048, 4096, 8192, 12_000]
    assert model_card.contexts(1024, 1024) == [(1024, "1k tokens")]
    assert model_card.contexts(None, 4096)[-1] == (4096, "4k tokens")
    assert (3000, "3,000 tokens") in model_card.contexts(8192, 3000)


@given(st.none() | st.integers(1, 2**31), st.integers(1, 2**31))
def test_the_present_context_can_always_be_chosen(window, present):
    tokens = [count for count, _ in model_card.contexts(window, present)]
    assert tokens == sorted(set(tokens))
    assert min(present, window or present) in tokens
    assert len(tokens) <= 26


def test_a_precision_says_what_it_takes_and_does_before_it_is_chosen():
    one = model_card.card(card_of(GUIDE))["precisions"][0]
    assert (one["line"], one["word"]) == ("500 MB · about 19 tokens/s", "Fits")
    assert one["speed"] == [
        "Writes about 19 tokens/s",
        "Reads a prompt of 1,000 tokens in about 4 s",
    ]


def test_a_precision_that_can_t_work_says_why_and_has_no_verdict():
    of = card_of(GUIDE)
    broken = replace(of.precisions[0], reason="It can't run here. Use 4-bit.")
    one = model_card.card(replace(of, precisions=(broken,)))["precisions"][0]
    assert (one["line"], one["word"]) == ("It can't run here. Use 4-bit.", "")
    assert one["action"]["is_enough"] is False


def test_what_is_not_known_is_not_made_up():
    unmeasured = replace(FITS, tokens_per_s=None, prompt_tokens_per_s=None)
    card = model_card.card(card_of(GUIDE, unmeasured, None))
    assert [one["line"] for one in card["precisions"]] == ["500 MB", "Its size is not known yet."]
    assert card["precisions"][0]["speed"] == []
    assert card["precisions"][1]["memory"] is None
    assert card["is_partial"] is True
    assert model_card.card(card_of(GUIDE))["is_partial"] is False


def test_the_memory_bar_has_its_numbers_in_words():
    memory = model_card.memory(FITS, card_of(GUIDE))
    assert [(part["kind"], part["size"], part["share"]) for part in memory["parts"]] == [
        ("weights", "300 MB", 0.3),
        ("plain", "100 MB", 0.1),
        ("cache", "50 MB", 0.05),
        ("rest", "50 MB", 0.05),
    ]
    assert memory["sentence"] == "Needs 500 MB; 1.0 GB are free."
    assert memory["free_share"] == 1.0


def test_full_precision_has_no_quantized_part():
    full = replace(FITS, unquantized_bytes=FITS.weight_bytes)
    kinds = [part["kind"] for part in model_card.memory(full, card_of(GUIDE))["parts"]]
    assert kinds == ["weights", "cache", "rest"]


def test_what_does_not_fit_says_how_much_is_missing():
    memory = model_card.memory(BIG, card_of(GUIDE))
    assert memory["sentence"] == "Needs 1.8 GB; 1.0 GB are free. 800 MB are missing."
    assert memory["free_share"] == pytest.approx(1 / 1.8)
    assert sum(part["share"] for part in memory["parts"]) == pytest.approx(1)


def test_a_peak_above_what_stays_is_told():
    peak = replace(FITS, load_peak_bytes=700_000_000)
    assert model_card.memory(peak, card_of(GUIDE))["sentence"].endswith(
        "Loading takes up to 700 MB."
    )


BYTES = st.integers(0, 10**13)


@given(BYTES, BYTES, BYTES, BYTES, BYTES)
def test_a_memory_bar_is_never_longer_than_itself(weights, plain, cache, rest, free):
    forecast = PrecisionForecast(weights, plain, cache, weights + cache + rest, 0, "fits")
    memory = model_card.memory(forecast, card_of(GUIDE, free_bytes=free))
    assert sum(part["share"] for part in memory["parts"]) <= 1 + 1e-9
    assert 0 <= memory["free_share"] <= 1


@pytest.mark.parametrize(
    ("choice", "forecast", "download", "label", "is_enough"),
    [
        (GUIDE, FITS, 0, "Load", True),
        (GUIDE, None, 0, "Load", True),
        (GUIDE, BIG, 0, "Load anyway", False),
        (SMALL, FITS, 1_200_000_000, "Download and load (1.2 GB)", False),
        (SMALL, FITS, None, "Download and load", False),
        (SMALL, BIG, 1_200_000_000, "Download and load anyway (1.2 GB)", False),
    ],
)
def test_only_what_is_here_and_fits_is_loaded_by_choosing_it(
    choice, forecast, download, label, is_enough
):
    of = card_of(choice, forecast, download_bytes=download)
    assert model_card.action(of, of.precisions[0]) == {
        "label": label,
        "is_enough": is_enough,
        "is_anyway": "anyway" in label,
    }


def test_nothing_with_a_problem_is_loaded_by_choosing_it():
    of = card_of(GUIDE, problem="Its config asks for code.")
    assert model_card.action(of, of.precisions[0])["is_enough"] is False


def test_a_gated_model_says_where_to_ask_for_it_until_it_is_here():
    gated = replace(SMALL, is_gated=True)
    card = model_card.card(card_of(gated))
    assert card["gated"] == "Its owner gives access on request."
    assert card["ask_at"] == "https://huggingface.co/a/small-1B"
    assert model_card.card(card_of(gated, download_bytes=0))["ask_at"] == ""
    assert model_card.card(card_of(SMALL))["ask_at"] == ""


@pytest.mark.parametrize("id_", ["javascript:alert(1)", "a/b/c", "/etc/x", "a/b?c", "a b/c", "é/x"])
def test_only_a_hub_id_becomes_a_link(id_):
    gated = Choice(id_, "x", is_gated=True)
    assert model_card.card(card_of(gated))["ask_at"] == ""


def test_what_was_measured_here_before_is_told():
    of = card_of(GUIDE)
    ran = replace(of.precisions[0], measured=Measured(18.4, 19.1))
    card = model_card.card(replace(of, precisions=(ran,)))
    assert card["precisions"][0]["measured"] == ["Measured 18.4 tokens/s, forecast 19.1"]
    assert json.dumps(card)
