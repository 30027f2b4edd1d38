"""The Space that `make space` makes: its README's front matter, its files, its way to the Hub."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tools import space

ROOT = Path(__file__).parents[2]


def front_matter(folder: Path) -> dict[str, Any]:
    _, front, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(front)
    return found


def files(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}


def test_the_front_matter_says_what_the_project_says(tmp_path: Path) -> None:
    space.build(tmp_path / "space")
    found = front_matter(tmp_path / "space")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"gradio=={found['sdk_version']}\n" in (ROOT / "requirements.txt").read_text()
    assert found["sdk"] == "gradio"
    assert found["python_version"] in SpecifierSet(project["requires-python"])
    assert (tmp_path / "space" / found["app_file"]).is_file()
    assert found["license"] == project["license"].lower() == "apache-2.0"
    assert "Apache License" in (tmp_path / "space" / "LICENSE").read_text()[:100]
    assert set(found) >= {"title", "emoji", "colorFrom", "colorTo", "startup_duration_timeout"}
    assert len(found["short_description"]) <= 60  # the Hub refuses longer ones
    assert "models" not in found


def test_a_named_model_is_fetched_when_the_space_is_built(tmp_path: Path) -> None:
    space.build(tmp_path / "space", model="owner/model", title='A "chat": mine')
    found = front_matter(tmp_path / "space")
    assert found["models"] == found["preload_from_hub"] == ["owner/model"]
    assert found["title"] == 'A "chat": mine'


def test_the_owner_can_log_in_only_where_that_is_asked_for(tmp_path: Path) -> None:
    space.main(["--out", str(tmp_path / "space")])
    assert "hf_oauth" not in front_matter(tmp_path / "space")
    space.main(["--out", str(tmp_path / "space"), "--login"])
    assert front_matter(tmp_path / "space")["hf_oauth"] is True


def test_the_folder_is_clean_and_its_binary_files_are_named(tmp_path: Path) -> None:
    out = tmp_path / "space"
    binary = space.build(out)
    found = files(out)
    assert {"app.py", "requirements.txt", "assets/catalogue.toml", "chat_ui/settings.py"} <= found
    tops = {name.split("/")[0] for name in found}
    assert tops == {
        ".gitattributes", "LICENSE", "README.md", "app.py", "assets", "chat_ui", "requirements.txt"
    }  # fmt: skip
    assert not [name for name in found if "__pycache__" in name or "screenshots" in name]
    assert binary == ["assets/pocket-guide/model.safetensors"]
    assert "model.safetensors filter=lfs" in (out / ".gitattributes").read_text()


def test_another_torch_is_pinned_and_nothing_else_changes(tmp_path: Path) -> None:
    space.build(tmp_path / "space", torch="2.9.1")
    mine = (tmp_path / "space" / "requirements.txt").read_text().splitlines()
    ours = (ROOT / "requirements.txt").read_text().splitlines()
    changed = [line for line in mine if line not in ours]
    assert changed == ["torch==2.9.1"]
    assert len(mine) == len(ours)


def test_a_second_build_leaves_nothing_of_the_first_but_git(tmp_path: Path) -> None:
    out = tmp_path / "space"
    space.build(out)
    (out / "chat_ui" / "gone.py").write_text("")
    (out / ".git").mkdir()
    (out / ".git" / "config").write_text("")
    space.build(out)
    assert not (out / "chat_ui" / "gone.py").exists()
    assert (out / ".git" / "config").exists()


def test_a_folder_of_something_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear")
    for folder in (tmp_path, ROOT):
        with pytest.raises(SystemExit, match="something else"):
            space.build(folder)
    assert (tmp_path / "letter.txt").exists()


def test_without_a_login_the_next_step_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(SystemExit, match="hf auth login"):
        space.main(["--out", str(tmp_path / "space"), "--upload", "me/chat"])


def test_the_folder_goes_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    class Api:
        def create_repo(self, repo_id: str, **options: Any) -> str:
            asked.append(("create", (repo_id, options["repo_type"], options["space_sdk"])))
            return "https://huggingface.co/spaces/me/chat"

        def add_space_variable(self, *arguments: str) -> None:
            asked.append(("variable", arguments))

        def upload_folder(self, **options: Any) -> None:
            asked.append(("upload", files(options["folder_path"])))

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    out = tmp_path / "space"
    space.main(["--out", str(out), "--upload", "me/chat", "--model", "owner/model"])
    assert asked == [
        ("create", ("me/chat", "space", "gradio")),
        ("variable", ("me/chat", "CHAT_UI_MODEL", "owner/model")),
        ("upload", files(out)),
    ]


def test_the_page_can_be_had_from_the_folder_and_loads_nothing_yet(tmp_path: Path) -> None:
    """As an image that imports the app does, instead of running it."""
    out = tmp_path / "space"
    space.build(out)
    script = "import sys; from app import demo; print(type(demo).__name__, 'torch' in sys.modules)"
    variables = {**os.environ, "SYSTEM": "spaces", "SPACE_ID": "me/chat"}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=out, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.stdout.split(), run.returncode) == (["Blocks", "False"], 0), run.stderr
