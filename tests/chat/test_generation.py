"""What may be asked of a sampler, and what is refused before it gets there."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.chat.generation import MAX_NEW_TOKENS, MAX_SEED, GenerationConfig
from chat_ui.errors import InvalidRequestError

NUMBERS = {
    "temperature": (0.0, 2.0),
    "top_p": (math.nextafter(0.0, 1.0), 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.5, 2.0),
}
WHOLE = {"top_k": (0, 1000), "max_new_tokens": (1, MAX_NEW_TOKENS), "seed": (0, MAX_SEED)}
NO_NUMBERS = [True, False, "1", "", b"1", [], [1], {}, object(), 1j, math.nan, math.inf, -math.inf]
HUGE = [10**400, -(10**400), 1e308, -1e308, 2**64]


def takes(field, value):
    fields: dict[str, Any] = {field: value}
    return getattr(GenerationConfig(**fields), field) == value


def refuses(field, value):
    with pytest.raises(InvalidRequestError) as raised:
        GenerationConfig(**{field: value})
    assert raised.value.sentence.endswith(".")
    assert raised.value.next_step.endswith(".")
    return True


@pytest.mark.parametrize("field", [*NUMBERS, *WHOLE])
def test_refuses_what_is_no_number(field):
    # None is a seed: "draw one".
    for value in [*NO_NUMBERS, *HUGE, *([] if field == "seed" else [None])]:
        assert refuses(field, value)


@pytest.mark.parametrize(("field", "bounds"), NUMBERS.items())
def test_numbers_up_to_their_bounds(field, bounds):
    low, high = bounds
    for value in (low, high, (low + high) / 2, 1):
        assert takes(field, value)
    assert refuses(field, math.nextafter(low, -math.inf))
    assert refuses(field, math.nextafter(high, math.inf))


@pytest.mark.parametrize(("field", "bounds"), WHOLE.items())
def test_whole_numbers_up_to_their_bounds(field, bounds):
    low, high = bounds
    for value in (low, high):
        assert takes(field, value)
    for value in (low - 1, high + 1, float(low), low + 0.5):
        assert refuses(field, value)


@given(
    field=st.sampled_from([*NUMBERS, *WHOLE]),
    value=st.one_of(
        st.floats(), st.integers(), st.booleans(), st.text(), st.binary(), st.lists(st.integers())
    ),
)
def test_takes_any_value_or_refuses_it_with_a_sentence(field, value):
    low, high = {**NUMBERS, **WHOLE}[field]
    types = (int,) if field in WHOLE else (int, float)
    # A bool's type is bool, and not int.
    if type(value) in types and low <= value <= high:
        assert takes(field, value)
    else:
        assert refuses(field, value)


def test_stop_strings():
    assert GenerationConfig(stop=("\n", "x" * 100)).stop == ("\n", "x" * 100)
    assert GenerationConfig(stop=("a",) * 8).stop
    for value in (["a"], "ab", None, 1, ("",), ("x" * 101,), ("a",) * 9, (1,), (None,), (b"a",)):
        assert refuses("stop", value)


def test_a_changed_copy_is_checked_too():
    with pytest.raises(InvalidRequestError):
        dataclasses.replace(GenerationConfig(), temperature=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        GenerationConfig().temperature = 3.0  # type: ignore[misc]


def test_zero_top_p_is_refused_and_says_above():
    with pytest.raises(InvalidRequestError, match="above 0 to 1"):
        GenerationConfig(top_p=0)
