"""Which model drafts for which: same tokenizer, same family, much smaller."""

import json
from pathlib import Path

import pytest

from chat_ui.errors import ModelNotFoundError
from chat_ui.models import drafts
from chat_ui.models.spec import ModelSpec, find
from tests.models.conftest import safetensors

VOCABULARY = {"a": 0, "b": 1}


def model(
    folder: Path,
    parameters: int,
    *,
    family: str = "llama",
    vocabulary: dict[str, int] = VOCABULARY,
    added: tuple[tuple[int, str], ...] = (),
) -> ModelSpec:
    """A model's folder with weights of this many parameters."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    tokens = [{"id": id_, "content": text} for id_, text in added]
    tokenizer = {"model": {"vocab": vocabulary}, "added_tokens": tokens}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    weights = {"weight": ("F32", [parameters], 4 * parameters)}
    (folder / "model.safetensors").write_bytes(safetensors(weights))
    return find(str(folder))


@pytest.fixture
def large(tmp_path: Path) -> ModelSpec:
    return model(tmp_path / "large", 1000)


def test_without_a_setting_there_is_none(large: ModelSpec, tmp_path: Path) -> None:
    small = model(tmp_path / "small", 100)
    assert drafts.choose("", large, [small]) is None


def test_auto_takes_the_smallest_of_the_family(large: ModelSpec, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    known = [model(elsewhere / "known", 200), model(elsewhere / "smaller", 150)]
    assert drafts.choose("auto", large, known) == known[1]
    beside = model(tmp_path / "beside", 100)  # in the folder next to the model's
    assert drafts.choose("auto", large, known) == beside


def test_auto_passes_over_what_can_not_draft(large: ModelSpec, tmp_path: Path) -> None:
    model(tmp_path / "too-large", 300)
    model(tmp_path / "other-family", 100, family="qwen3")
    model(tmp_path / "other-words", 100, vocabulary={"b": 0, "a": 1})
    model(tmp_path / "other-marks", 100, added=((2, "<end>"),))
    broken = model(tmp_path / "broken", 100)
    (tmp_path / "broken" / "tokenizer.json").write_text("[]")
    (tmp_path / "no-model").mkdir()
    (tmp_path / "no-model" / "config.json").write_text("{")
    hub = ModelSpec("owner/name", "owner/name", "hub")
    assert drafts.choose("auto", large, [large, broken, hub]) is None


def test_a_named_model_drafts_whatever_its_size_and_family(
    large: ModelSpec, tmp_path: Path
) -> None:
    named = model(tmp_path / "named", 900, family="qwen3")
    assert drafts.choose(named.id, large, []) == named
    assert drafts.choose(named.id, named, []) is None, "not for itself"


def test_a_named_model_with_another_tokenizer_does_not_draft(
    large: ModelSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = model(tmp_path / "named", 100, vocabulary={"c": 0})
    assert drafts.choose(named.id, large, []) is None
    assert "their tokenizers differ" in caplog.text


def test_a_named_model_that_is_none_is_an_error(large: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        drafts.choose(str(tmp_path / "nowhere"), large, [])


def test_a_model_of_the_hub_is_brought_here(
    large: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = model(tmp_path / "small", 100)
    monkeypatch.setattr("chat_ui.models.hub.download", lambda model_id, progress: small.folder)
    draft = drafts.choose("owner/name", large, [])
    assert draft is not None
    assert (draft.id, draft.folder) == ("owner/name", small.folder)
