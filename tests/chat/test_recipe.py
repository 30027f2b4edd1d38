"""A recipe comes back as it was, and what is none is none."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.recipe import Recipe, recipe_of
from tests.chat.recipes import recipes

RECIPE = Recipe("Be brief.", GenerationConfig(seed=7, stop=("END",)), "Well, ")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@given(recipes(st.text(st.characters(codec=None))))
def test_what_json_holds_of_a_recipe_is_that_recipe(recipe: Recipe) -> None:
    assert recipe_of(json.loads(json.dumps(asdict(recipe)))) == recipe


@given(
    VALUES,
    st.sampled_from(
        ["", "system_prompt", "given", "thinking", "config", "temperature", "stop", "seed", "x"]
    ),
)
def test_whatever_else_it_is_it_is_read_or_none(value: object, place: str) -> None:
    stored = asdict(RECIPE)
    if place in ("system_prompt", "given", "thinking", "config"):
        stored[place] = value
    else:
        stored["config"][place] = value
    for each in (value, stored):
        found = recipe_of(each)
        assert found is None or isinstance(found, Recipe)
        assert found is None or recipe_of(asdict(found)) == found


@pytest.mark.parametrize(
    "config",
    [
        {"temperature": 9},
        {"temperature": float("nan")},
        {"temperature": True},
        {"seed": 10**400},
        {"stop": "END"},
        {"stop": [""]},
        {"stop": None},
        {"max_new_tokens": 0},
        {"a_newer_setting": 1},
    ],
)
def test_a_setting_that_can_not_be_makes_it_none(config: dict[str, object]) -> None:
    stored = asdict(RECIPE)
    stored["config"] |= config
    assert recipe_of(stored) is None


def test_a_setting_that_is_missing_has_its_default() -> None:
    stored = asdict(RECIPE)
    del stored["config"]["assisted"]
    assert recipe_of(stored) == RECIPE


def test_every_text_of_it_is_changed() -> None:
    assert RECIPE.with_texts(str.upper) == Recipe(
        "BE BRIEF.", GenerationConfig(seed=7, stop=("END",)), "WELL, "
    )
    found = RECIPE.with_texts(lambda text: text[:1])
    assert (found.system_prompt, found.config.stop, found.given) == ("B", ("E",), "W")
