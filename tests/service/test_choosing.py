"""Choosing a model: groups, cards, and what the Hub is asked for."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chat_ui.errors import ModelNotFoundError, NotAllowedError
from chat_ui.models.catalogue import catalogue
from chat_ui.models.spec import BUILT_IN_FOLDER
from chat_ui.service import ChatService, Choice, ModelCard
from tests.fake_hub import TOKEN, FakeHub, used_by
from tests.service.conftest import wait_until

CONFIG = json.loads((BUILT_IN_FOLDER / "config.json").read_text())


@pytest.fixture
def hub(no_hub: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as hub, used_by(monkeypatch, hub, tmp_path / "hub"):
        yield hub


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's own cache, and a Hub that can't be reached, unless a test has another."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")


def choices(service: ChatService) -> dict[str, list[Choice]]:
    return {group.kind: list(group.choices) for group in service.model_choices()}


def by_precision(card: ModelCard) -> dict[str, str]:
    return {one.precision: one.reason for one in card.precisions}


def test_the_built_in_model_is_here_and_the_catalogue_is_grouped_by_what_fits(
    service: ChatService,
) -> None:
    wait_until(lambda: "unknown" not in choices(service))
    groups = choices(service)
    assert groups["here"][0].label.startswith("Pocket Guide")
    assert groups["here"][0].is_here
    listed = [one.id for kind in ("fits", "tight", "no") for one in groups.get(kind, [])]
    assert sorted(listed) == sorted(one.id for one in catalogue())
    smallest = groups["fits"][0]
    assert (smallest.verdict, smallest.precision) == ("fits", "full")
    sizes = [one.parameters or 0 for one in groups["fits"]]
    assert sizes == sorted(sizes)


def test_a_card_has_exact_counts_and_all_precisions(service: ChatService) -> None:
    card = service.model_card("pocket-guide")
    assert card.is_exact
    assert card.choice.parameters == 12 * 5 * 256**2 + CONFIG["vocab_size"] * 256
    assert (card.download_bytes, card.problem, card.name_reading) == (0, "", "")
    assert by_precision(card) == dict.fromkeys(
        ["full", "8bit", "4bit", "8bit-cpu", "4bit-nf4", "4bit-fp4", "4bit-fp4-double"], ""
    )
    forecast = card.precisions[0].forecast
    assert forecast is not None
    assert forecast.verdict == "fits"


def test_the_context_of_a_card_can_be_chosen(service: ChatService) -> None:
    small, large = (service.model_card("pocket-guide", count) for count in (256, 1024))
    assert (small.context_tokens, large.context_tokens) == (256, 1024)
    sizes = [card.precisions[0].forecast.kv_cache_bytes for card in (small, large)]  # type: ignore[union-attr]
    assert sizes[1] == 4 * sizes[0]


def test_speeds_are_there_once_the_machine_was_measured(service: ChatService) -> None:
    def speed() -> float | None:
        forecast = service.model_card("pocket-guide").precisions[0].forecast
        return forecast.tokens_per_s if forecast else None

    service.start()
    wait_until(lambda: service.model.phase == "ready")
    wait_until(lambda: speed() is not None)


def test_a_folder_with_nothing_but_a_config_has_a_forecast_and_says_what_is_wrong(
    service: ChatService, tmp_path: Path
) -> None:
    folder = tmp_path / "only-config"
    folder.mkdir()
    shutil.copy(BUILT_IN_FOLDER / "config.json", folder)
    card = service.model_card(str(folder))
    assert card.is_exact
    assert "no safetensors files" in card.problem


def test_what_is_no_model_is_said(service: ChatService, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        service.model_card(str(tmp_path / "nothing"))


def test_without_the_hub_a_catalogue_model_is_forecast_and_another_says_why_not(
    service: ChatService,
) -> None:
    known = service.model_card("Qwen/Qwen3-0.6B")
    assert known.is_exact
    assert "can't be reached" in known.problem
    unknown = service.model_card("nobody/Some-7B-Instruct")
    assert not unknown.is_exact
    assert "7 billion" in unknown.name_reading
    assert unknown.choice.parameters == 7 * 10**9
    assert "can't be reached" in unknown.problem


def test_a_model_of_the_hub_is_forecast_before_it_is_downloaded(
    service: ChatService, hub: FakeHub
) -> None:
    hub.add("team/tiny-chat", BUILT_IN_FOLDER)
    card = service.model_card("team/tiny-chat")
    assert (card.is_exact, card.problem) == (True, "")
    assert card.download_bytes is not None
    assert card.download_bytes > 9_000_000
    assert not card.choice.is_here
    assert not hub.fetched("model.safetensors")


def test_a_gated_model_is_forecast_from_nothing_but_its_name_until_the_token_is_there(
    service: ChatService, hub: FakeHub
) -> None:
    hub.add("team/gated-3B", BUILT_IN_FOLDER, is_gated=True)
    card = service.model_card("team/gated-3B")
    assert "hf auth login" in card.problem
    assert card.choice.parameters == 3 * 10**9
    assert service.model_card("team/gated-3B", token=TOKEN).is_exact


def test_a_checkpoint_whose_package_is_missing_can_t_be_chosen(
    service: ChatService, tmp_path: Path
) -> None:
    folder = tmp_path / "gptq"
    shutil.copytree(BUILT_IN_FOLDER, folder)
    stored = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (folder / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": stored}))
    card = service.model_card(str(folder))
    assert card.quantized_as == "GPTQ, 4-bit"
    assert all("gptqmodel" in reason for reason in by_precision(card).values())


def test_a_model_that_asks_for_code_can_t_be_chosen(service: ChatService, tmp_path: Path) -> None:
    folder = tmp_path / "own-code"
    shutil.copytree(BUILT_IN_FOLDER, folder)
    own = {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(CONFIG | own))
    card = service.model_card(str(folder))
    assert "code" in card.problem
    assert set(by_precision(card).values()) == {card.problem}


def test_a_search_finds_models_of_the_hub(service: ChatService, hub: FakeHub) -> None:
    hub.add("team/tiny-chat", BUILT_IN_FOLDER, downloads=7)
    found = service.search_models("tiny")
    assert [(one.id, one.downloads, one.is_here) for one in found] == [("team/tiny-chat", 7, False)]


def test_where_the_model_is_fixed_nothing_else_can_be_looked_at(
    make_service: Callable[..., ChatService], hub: FakeHub
) -> None:
    service = make_service(door="share")
    assert service.model_choices() == []
    assert service.model_card("pocket-guide").is_exact
    assert hub.asked == []
    for call in (
        lambda: service.model_card("Qwen/Qwen3-0.6B"),
        lambda: service.search_models("tiny"),
        service.cancel_load,
        service.unload_model,
    ):
        with pytest.raises(NotAllowedError):
            call()


def test_where_the_model_is_fixed_the_owner_looks_and_changes(
    make_service: Callable[..., ChatService], hub: FakeHub
) -> None:
    service = make_service(door="share")
    hub.add("team/tiny-chat", BUILT_IN_FOLDER, downloads=7)
    assert service.model_choices(is_owner=True)
    assert [one.id for one in service.search_models("tiny", is_owner=True)] == ["team/tiny-chat"]
    assert service.model_card("team/tiny-chat", is_owner=True).is_exact
    service.switch_model("pocket-guide", "8bit", is_owner=True)
    wait_until(lambda: (service.model.precision, service.model.phase) == ("8bit", "ready"))
    service.unload_model(is_owner=True)
    assert service.model.phase == "unloaded"


def test_strangers_are_told_neither_the_machine_s_name_nor_a_folder_s_path(
    make_service: Callable[..., ChatService], tmp_path: Path
) -> None:
    one, other = tmp_path / "models" / "One", tmp_path / "models" / "Other"
    for folder in (one, other):
        shutil.copytree(BUILT_IN_FOLDER, folder)
    service = make_service("share", model=str(one))
    assert service.model.label == "One", "before anything was opened"
    service.start()
    wait_until(lambda: service.model.phase == "ready")
    owners = service.model_card("One", is_owner=True)
    strangers = service.model_card("One")
    assert (strangers.machine, strangers.bandwidth_bytes_per_s) == (owners.device, None)
    assert owners.machine not in ("", owners.device)
    # The owner gives the path of another one, sees its card, and loads it by the id that it has.
    id_ = service.model_card(str(other), is_owner=True).choice.id
    service.switch_model(id_, "full", is_owner=True)
    wait_until(lambda: service.model.model_id == "Other")
    shutil.rmtree(other)
    service.unload_model(is_owner=True)
    broken = service.model_card("Other")
    assert "no model folder 'Other'" in broken.problem
    assert str(tmp_path) not in repr(broken)
    assert str(tmp_path) not in repr(service.model)
