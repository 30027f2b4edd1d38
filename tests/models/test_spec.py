"""Naming a model: the built-in one, folders, Hub ids, and what is none of them."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.errors import BadCheckpointError, ModelError, ModelNotFoundError
from chat_ui.models import spec
from chat_ui.models.checkpoint import is_hub_id
from tests.models import conftest


@pytest.mark.parametrize("name", ["pocket-guide", "", "  pocket-guide "])
def test_the_built_in_model(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "BUILT_IN_FOLDER", folder)
    found = spec.find(name)
    assert (found.id, found.kind, found.folder) == ("pocket-guide", "built-in", folder)
    assert found.label == "Pocket Guide (built in, 512)"


def test_a_folder_is_known_by_its_whole_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    for name in (str(folder), "tiny", "./tiny/", "../" + folder.parent.name + "/tiny"):
        found = spec.find(name)
        assert (found.id, found.kind, found.folder) == (str(folder), "folder", folder)
        assert found.label == "tiny (512)"


def test_the_home_folder_may_be_short(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert spec.find("~/tiny").folder == folder


def test_a_folder_goes_before_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner").mkdir()
    conftest.write(tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert spec.find("owner/name").kind == "folder"


def test_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = spec.find("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert (found.kind, found.folder) == ("hub", None)
    assert found.label == found.id


def test_a_folder_that_is_no_good_says_why(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(BadCheckpointError):
        spec.find(str(folder))


@pytest.mark.parametrize(
    "name", ["nowhere", "a/b/c", "/no/such", "~nobody-at-all/x", "x" * 5000, "a\0b", "o/..", "é/b"]
)
def test_what_is_no_model(name: str) -> None:
    assert not is_hub_id(name)
    with pytest.raises(ModelNotFoundError) as caught:
        spec.find(name)
    assert len(str(caught.value)) < 400


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_any_name_is_found_or_refused(name: str) -> None:
    with suppress(ModelError):
        assert spec.find(name).id


@pytest.mark.parametrize(
    ("count", "label"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0K"),
        (4_573_952, "4.6M"),
        (9_960_000, "10M"),
        (134_515_008, "135M"),
        (999_600_000, "1.0B"),
        (1_235_814_400, "1.2B"),
        (70_553_706_496, "71B"),
    ],
)
def test_counts_read_as_people_write_them(count: int, label: str) -> None:
    assert spec.count_label(count) == label


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co/owner/name",
        "huggingface.co/owner/name/tree/main",
        " http://huggingface.co/owner/name?library=transformers ",
    ],
)
def test_the_address_of_a_model_s_page_is_its_id(address: str) -> None:
    assert spec.find(address).id == "owner/name"


def test_a_folder_is_known_to_strangers_by_its_name_and_found_by_it(tmp_path: Path) -> None:
    folders = [tmp_path / part / "Small" for part in ("a", "b")] + [tmp_path / spec.BUILT_IN_ID]
    for folder in folders:
        shutil.copytree(spec.BUILT_IN_FOLDER, folder)
    find = spec.FoldersByName()
    ids = ["Small", "Small (2)", f"{spec.BUILT_IN_ID} (2)"]
    for folder, id_ in zip(folders, ids, strict=True):
        for asked in (str(folder), id_):
            found = find(asked)
            assert (found.id, found.folder) == (id_, folder.resolve())
    assert find(spec.BUILT_IN_ID) == spec.find("")
    assert find("owner/name") == spec.find("owner/name")
    with pytest.raises(ModelNotFoundError):
        find("Small (3)")
