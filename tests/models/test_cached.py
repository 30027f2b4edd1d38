"""What of the Hub is here already, among all that may lie in a cache."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from chat_ui.models import cached

COMMIT = "0123456789" * 4

Keep = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache; this process may not ask the Hub (conftest)."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def keep(cache: Path, folder: Path) -> Keep:
    """Puts a model into the cache as the Hub client would; gives the folder of its files."""

    def put(model_id: str, commit: str = COMMIT) -> Path:
        repository = cache / f"models--{model_id.replace('/', '--')}"
        for kind in ("blobs", "refs", f"snapshots/{commit}"):
            (repository / kind).mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
        for file in folder.iterdir():
            shutil.copy(file, repository / "blobs" / file.name)
            (repository / "snapshots" / commit / file.name).symlink_to(
                repository / "blobs" / file.name
            )
        return repository / "snapshots" / commit

    return put


def test_a_model_of_the_cache_is_listed_with_its_size(keep: Keep, folder: Path) -> None:
    where = keep("owner/name")
    (found,) = cached.cached()
    assert (found.id, found.folder, found.parameters) == ("owner/name", where, 512)
    assert found.config == {"model_type": "llama"}
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert found.disk_bytes == size + len(COMMIT)  # and refs/main


def test_the_model_that_was_used_last_comes_first(keep: Keep) -> None:
    for at_s, name in ((1_000, "a/old"), (3_000, "b/new"), (2_000, "c/middle")):
        os.utime(keep(name) / "tokenizer.json", (at_s, at_s))
    found = cached.cached()
    assert [model.id for model in found] == ["b/new", "c/middle", "a/old"]
    assert [model.used_s for model in found] == [3_000, 2_000, 1_000]


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_model_that_is_half_there_is_not_listed(keep: Keep, missing: str) -> None:
    where = keep("o/n")
    assert cached.find("o/n") is not None
    (where / missing).unlink()
    assert cached.cached() == []
    assert cached.find("o/n") is None


def test_weights_that_were_cut_short_are_not_listed(keep: Keep) -> None:
    weights = keep("o/n") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert cached.cached() == []


def test_files_that_are_known_to_be_missing_count(keep: Keep) -> None:
    """Without its chat template a model would load, and talk nonsense."""
    where = keep("o/n")
    trees = where.parents[1] / "trees"
    trees.mkdir()
    files = {name: {"size": 5, "blob_id": "0"} for name in ("chat_template.jinja", "README.md")}
    (trees / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": files}))
    assert cached.find("o/n") is None
    (where / "chat_template.jinja").write_text("12345")
    assert cached.find("o/n") is not None


@pytest.mark.parametrize("text", ["", "../../..", "main", "0" * 39, "\0", "é" * 40])
def test_a_reference_that_is_no_commit_leads_nowhere(keep: Keep, text: str) -> None:
    where = keep("o/n")
    (where.parents[1] / "refs" / "main").write_text(text)
    assert cached.snapshot("o/n") is None
    assert cached.cached() == []


def test_whatever_else_is_in_the_cache_is_passed_over(cache: Path, keep: Keep) -> None:
    keep("o/n")
    for name in (
        "models--",
        "models--one",
        "models--a--b--c",
        "datasets--o--n",
        "models--..--x",
        "models--o--x.git",
    ):
        (cache / name / "refs").mkdir(parents=True)
        (cache / name / "refs" / "main").write_text(COMMIT)
        (cache / name / "snapshots" / COMMIT).mkdir(parents=True)
    (cache / "models--o--file").write_text("no folder")
    (cache / "models--o--link").symlink_to(cache / "nowhere")
    assert [model.id for model in cached.cached()] == ["o/n"]


def test_an_empty_cache_is_no_error(cache: Path) -> None:
    assert cached.cached() == []
    assert cached.find("o/n") is None
