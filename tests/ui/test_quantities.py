"""Quantities as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.ui import quantities


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (4_700_000, "4.7 MB"),
        (340_400_000, "340 MB"),
        (999_600_000, "1.0 GB"),
        (20_100_000_000, "20.1 GB"),
        (1_342_000_000_000, "1,342.0 GB"),
    ],
)
def test_a_size_has_the_digits_that_mean_something(count, text):
    assert quantities.size(count) == text


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (340_000_000, 980_000_000, "340 of 980 MB"),
        (340_000_000, 1_200_000_000, "0.3 of 1.2 GB"),
        (1_000_000, 4_700_000, "1.0 of 4.7 MB"),
    ],
)
def test_a_part_has_the_unit_of_the_whole(done, total, text):
    assert quantities.size_of(done, total) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (12, "12"),
        (134_515_008, "135M"),
        (4_700_000, "4.7M"),
        (8_030_261_248, "8B"),
        (30_532_122_624, "30.5B"),
        (999_960_000, "1B"),
        (671_026_419_200, "671B"),
    ],
)
def test_parameters_are_counted_as_models_names_do(count, text):
    assert quantities.parameters(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "under 1 s"), (8.4, "8 s"), (72, "1 min"), (5400, "2 h"), (200_000, "2 d")],
)
def test_a_time_to_wait_is_a_guess_and_reads_like_one(seconds, text):
    assert quantities.duration(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"), [(6.61, "6.6"), (19.4, "19"), (184.0, "180"), (4681.0, "4,700")]
)
def test_a_forecast_pace_has_no_more_digits_than_are_likely(per_s, text):
    assert quantities.pace(per_s) == text


@given(st.integers(0, 10**16))
def test_no_size_reads_as_a_thousand_of_the_unit_below(count):
    number, unit = quantities.size(count).split()
    assert unit in ("GB", "bytes") or float(number.replace(",", "")) < 1000
