"""The models that the app suggests, and what a broken catalogue is refused for."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.errors import StartupError
from chat_ui.models import architecture, checkpoint
from chat_ui.models.catalogue import (
    CATALOGUE_FILE,
    MACHINES,
    TOPICS,
    CatalogueModel,
    catalogue,
    leaderboards,
    parse,
)
from chat_ui.models.names import read_name
from chat_ui.models.spec import count_label

ENTRY = """
[[model]]
id = "owner/name"
label = "Name"
parameters = 1000
licence = "mit"
gated = false
tags = ["general", "small"]
for = "To test with."

[model.config]
model_type = "llama"
max_position_embeddings = 2048
"""

every_model = pytest.mark.parametrize("model", catalogue(), ids=lambda model: model.id)


@every_model
def test_every_entry_is_well_formed(model: CatalogueModel) -> None:
    assert checkpoint.is_hub_id(model.id)
    assert set(model.tags) <= {*TOPICS, *MACHINES}
    assert len(set(model.tags)) == len(model.tags)
    assert model.purpose.endswith(".")
    assert model.context_tokens >= 4096


@every_model
def test_the_size_agrees_with_the_name(model: CatalogueModel) -> None:
    reading = read_name(model.id)
    if reading is not None and reading.experts is None:
        assert reading.total_parameters == pytest.approx(model.parameters, rel=0.15)
        assert (reading.active_parameters or model.active_parameters) == pytest.approx(
            model.active_parameters, rel=0.15
        )


@every_model
def test_no_model_s_own_code_is_asked_for(model: CatalogueModel) -> None:
    assert "auto_map" not in model.config


@pytest.mark.torch
@every_model
def test_the_size_is_what_the_config_makes(model: CatalogueModel) -> None:
    counted = architecture.walk(model.config)
    assert counted.total_parameters == model.parameters
    assert counted.active_parameters == model.active_parameters
    assert counted.window_tokens == model.context_tokens


def test_models_are_sorted_by_size() -> None:
    sizes = [model.parameters for model in catalogue()]
    assert sizes == sorted(sizes)
    assert count_label(sizes[0]) == "135M"
    assert count_label(sizes[-1]) == "71B"


@pytest.mark.parametrize("tag", [*TOPICS, *MACHINES])
def test_every_tag_has_a_model(tag: str) -> None:
    assert any(tag in model.tags for model in catalogue())


def test_there_is_a_model_for_each_topic_without_asking_for_access() -> None:
    free = {tag for model in catalogue() if not model.is_gated for tag in model.tags}
    assert free >= set(TOPICS) - {"medical"}


def test_leaderboards_are_links() -> None:
    assert leaderboards()
    assert all(board.url.startswith("https://") for board in leaderboards())


def test_a_dense_model_needs_all_its_parameters() -> None:
    (model,) = parse(ENTRY).models
    assert model.active_parameters == model.parameters == 1000
    assert not model.is_mixture
    assert model.context_tokens == 2048


def test_a_mixture_needs_some_of_its_parameters() -> None:
    (model,) = parse(ENTRY.replace("= 1000", "= 1000\nactive_parameters = 100")).models
    assert model.is_mixture


def test_the_window_of_a_model_with_eyes_is_that_of_its_text_part() -> None:
    text = ENTRY.replace("max_position", "text_config.max_position")
    assert parse(text).models[0].context_tokens == 2048


def test_models_are_sorted_wherever_they_stand_in_the_file() -> None:
    larger = ENTRY.replace("owner/name", "owner/larger").replace("1000", "2000")
    assert [model.id for model in parse(larger + ENTRY).models] == ["owner/name", "owner/larger"]


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        ("[[model]]", "[[model]", "no TOML"),
        ("= 1000", f"= {'1' * 5000}", "no TOML"),
        ("[[model]]", "[model]", "no list of tables"),
        ('"owner/name"', '"name"', "no Hub id"),
        ('label = "Name"', "", "owner/name has no label"),
        ('label = "Name"', 'label = ""', "label of owner/name is empty"),
        ("= 1000", "= true", "no parameters, or not as int"),
        ("= 1000", "= 0", "needs more parameters for a token than it has, or none"),
        ("= 1000", "= 1000\nactive_parameters = 1001", "needs more parameters for a token"),
        ("gated = false", 'gated = "no"', "no gated, or not as bool"),
        ('"small"]', '"tiny"]', "tag 'tiny'"),
        ('"general", ', "", "a tag for a topic"),
        ('model_type = "llama"', "", "no model_type"),
        ("= 2048", '= "long"', "no max_position_embeddings"),
        ("max_position", "text_config = 1\nmax_position", "no max_position_embeddings"),
        (ENTRY, ENTRY + ENTRY, "owner/name is there twice"),
        (ENTRY, '[[leaderboard]]\nlabel = "x"\nurl = "http://x"\nfor = "x"', "no https address"),
    ],
)
def test_a_broken_catalogue_says_what_to_repair(good: str, bad: str, why: str) -> None:
    assert good in ENTRY
    with pytest.raises(StartupError) as caught:
        parse(ENTRY.replace(good, bad))
    assert why in caught.value.sentence
    assert "catalogue.toml" in caught.value.next_step


@settings(deadline=None, derandomize=True)
@given(st.text() | st.text("[]{}=\"'.,\n 0ae", max_size=40))
def test_any_text_is_a_catalogue_or_a_clear_error(text: str) -> None:
    with suppress(StartupError):
        assert parse(text).models == ()


@settings(deadline=None, derandomize=True)
@given(
    st.sampled_from(["label", "parameters", "gated", "tags", "for", "licence", "config"]),
    st.sampled_from(
        ["1", "-1", "1.5", "true", '""', "[]", "[1]", "{}", '"x"', "1979-05-27", "nan"]
    ),
)
def test_any_value_of_a_field_is_taken_or_a_clear_error(field: str, value: str) -> None:
    lines = [line for line in ENTRY.splitlines() if not line.startswith(f"{field} =")]
    if field == "config":
        lines = lines[: lines.index("[model.config]")]
    end = lines.index("[model.config]") if "[model.config]" in lines else len(lines)
    text = "\n".join([*lines[:end], f"{field} = {value}", *lines[end:]])
    with suppress(StartupError):
        assert len(parse(text).models) == 1


def test_the_catalogue_is_read_once() -> None:
    assert catalogue() is catalogue()
    assert CATALOGUE_FILE.is_file()
