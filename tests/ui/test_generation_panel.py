"""The generation panel's raw values, which may be anything."""

from dataclasses import replace
from typing import Any

import gradio as gr
import pytest

from chat_ui.chat.generation import GenerationConfig
from chat_ui.errors import InvalidRequestError
from chat_ui.ui.events import Sampling, checked
from chat_ui.ui.panels import generation
from tests.ui.conftest import on_this_thread

NAMES = [setting.name for setting in generation.SETTINGS]
DEFAULTS = {
    "temperature": 0.7, "top_p": 0.95, "max_new_tokens": 512, "top_k": 0, "min_p": 0,
    "repetition_penalty": 1, "seed": None, "stop": None, "assisted": False,
}  # fmt: skip


def config(**changed: object) -> GenerationConfig:
    return checked(Sampling, DEFAULTS | changed).config


def test_untouched_controls_give_the_defaults(service):
    with gr.Blocks():
        controls = generation.in_order(generation.build(service, on_this_thread))
    values = {name: control.value for name, control in zip(NAMES, controls, strict=True)}
    assert checked(Sampling, values).config == GenerationConfig()
    assert config() == GenerationConfig()


@pytest.mark.parametrize(("limit", "most"), [(512, 512), (9000, 4096), (256, 256), (8, 8)])
def test_the_slider_of_new_tokens_ends_at_the_server_s_limit(service, limit, most):
    service.settings = replace(
        service.settings, limits=replace(service.settings.limits, new_tokens=limit)
    )
    with gr.Blocks():
        slider = generation.build(service, on_this_thread)["max_new_tokens"]
    assert isinstance(slider, gr.Slider)
    assert slider.maximum == most
    assert slider.value == min(512, most)
    assert slider.minimum < most


def test_every_setting_has_its_control():
    assert set(NAMES) == set(GenerationConfig.__slots__) == set(Sampling.model_fields)


def test_json_numbers_may_have_a_point():
    assert config(max_new_tokens=256.0, top_k=40.0).max_new_tokens == 256


@pytest.mark.parametrize(
    ("typed", "seed"), [("", None), ("  ", None), (None, None), (" 42 ", 42), (7, 7), ("0", 0)]
)
def test_seed(typed, seed):
    assert config(seed=typed).seed == seed


def test_stop_strings_are_lines_as_typed():
    assert config(stop="END\n\n User:\n").stop == ("END", " User:")


WRONG: dict[str, list[Any]] = {
    "temperature": [None, "hot", True, -0.1, 2.1, float("nan"), [1]],
    "top_p": [0, 1.5, "x"],
    "max_new_tokens": [0, 12.5, 10**9, None, "512"],
    "seed": ["abc", -1, 2**40, "٣", 1.5, [], "9" * 30],
    "stop": ["x" * 101, "a\n" * 9, 5, ["a"]],
    "assisted": ["yes", 1, None],
    "min_p": [True, "0", float("inf"), 10**400],
    "repetition_penalty": [0.4, None, {}],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]]
)
def test_what_is_no_setting_is_refused(name, value):
    with pytest.raises(InvalidRequestError):
        config(**{name: value})
