"""Make the folder of a Hugging Face Space, ready to push: `python -m tools.space`, `make space`.

The folder holds the app, its requirements, and a README whose front matter says how a Space runs
it; no tests, no tools, no caches, and nothing that git does not know. With --upload it goes to the
Hub through its client, because the Hub takes binary files no other way.
"""

import argparse
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import huggingface_hub
from packaging.requirements import Requirement

from tools.lock import HEADING

ROOT: Final = Path(__file__).parent.parent
TEMPLATE: Final = Path(__file__).parent / "space.md"

TAKEN: Final = ("app.py", "chat_ui", "assets", "requirements.txt", "LICENSE")
LEFT: Final = ("assets/screenshots/",)
# One that ZeroGPU lists (3.10.13 is the other), and not older than the app needs.
PYTHON: Final = "3.12.12"


def build(
    out: Path, *, torch: str = "", model: str = "", title: str = "chat_ui", login: bool = False
) -> list[str]:
    """Put the Space into a folder; what was in it before is replaced, but for `.git`.

    Args:
        out: the folder; made if it isn't there.
        torch: a version instead of the pinned one, such as "2.9.1"; "" keeps the pin.
        model: a Hub id that the Space serves; "" for the built-in model.
        title: of the Space's page.
        login: whether its owner can log in with Hugging Face.

    Returns:
        The binary files in it.

    Raises:
        SystemExit: there is something else in that folder.
    """
    _clear(out)
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *TAKEN], cwd=ROOT, check=True, capture_output=True, text=True
    )
    binary = []
    for name in filter(None, tracked.stdout.split("\0")):
        if name.startswith(LEFT) or not (ROOT / name).is_file():
            continue
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, out / name)
        if _is_binary(out / name):
            binary.append(name)
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    (out / "requirements.txt").write_text(with_torch(requirements, torch), encoding="utf-8")
    (out / "README.md").write_text(_readme(requirements, model, title, login), encoding="utf-8")
    # Who pushes with git needs it; the Hub's client sees for itself.
    attributes = (f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in binary)
    (out / ".gitattributes").write_text("".join(attributes), encoding="utf-8")
    return binary


def with_torch(requirements: str, version: str) -> str:
    """The text of requirements.txt with another version of torch; "" leaves it as it is."""
    if not version:
        return requirements
    return "".join(
        f"torch=={version}\n" if line.startswith("torch==") else line
        for line in requirements.splitlines(keepends=True)
    )


def front_matter(requirements: str, model: str, title: str, login: bool) -> dict[str, Any]:
    """What the README says to the Hub.

    Source: https://huggingface.co/docs/hub/spaces-config-reference
    """
    direct = map(Requirement, filter(None, _lines(requirements.partition(HEADING)[0])))
    pins = {one.name: str(one.specifier).removeprefix("==") for one in direct}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, Any] = {
        "title": title,
        "emoji": "💬",
        "colorFrom": "indigo",
        "colorTo": "blue",
        "sdk": "gradio",
        "sdk_version": pins["gradio"],
        "python_version": PYTHON,
        "app_file": "app.py",
        "license": project["license"].lower(),
        "short_description": "Chat with a transformers model",
        "startup_duration_timeout": "1h",
    }
    if model:
        found |= {"models": [model], "preload_from_hub": [model]}
    if login:
        found["hf_oauth"] = True
    return found


def upload(out: Path, space: str, model: str) -> str:
    """Send the folder to the Hub; its address there.

    Raises:
        SystemExit: nobody is logged in, or the Hub refuses it.
    """
    if huggingface_hub.get_token() is None:
        sys.exit("Nobody is logged in to the Hub. Run `.venv/bin/hf auth login`, then this again.")
    api = huggingface_hub.HfApi()
    try:
        address = api.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
        if model:
            api.add_space_variable(space, "CHAT_UI_MODEL", model)
        api.upload_folder(
            repo_id=space,
            repo_type="space",
            folder_path=out,
            ignore_patterns=[".git/*"],
            # What an older version had and this one hasn't would be run, too.
            delete_patterns=["chat_ui/*", "assets/*"],
            commit_message="Update chat_ui",
        )
    except (OSError, ValueError) as error:  # the Hub's errors are OSErrors
        sys.exit(f"The Hub didn't take it: {error}")
    return str(address)


def main(argv: Sequence[str] | None = None) -> None:
    """Build the folder, and upload it where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.space", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "space", metavar="DIR")
    parser.add_argument("--torch", default="", metavar="VERSION", help="one that ZeroGPU lists")
    parser.add_argument("--model", default="", metavar="ID", help="of the Hub (the built-in one)")
    parser.add_argument("--title", default="chat_ui", help="of the Space's page")
    parser.add_argument("--login", action="store_true", help="let the owner log in")
    parser.add_argument("--upload", default="", metavar="OWNER/NAME", help="send it to the Hub")
    args = parser.parse_args(argv)
    binary = build(args.out, torch=args.torch, model=args.model, title=args.title, login=args.login)
    print(f"The Space is in {args.out}. Try it there: SPACE_ID=me/chat python app.py")
    print("Binary files, which git pushes through LFS or Xet only:", *binary, sep="\n  ")
    if args.upload:
        print(f"It is at {upload(args.out, args.upload, args.model)}")
        return
    print("To put it on the Hub, log in (hf auth login), and give --upload OWNER/NAME.")
    if args.model:
        print(f"If you push it yourself, set the Space's variable CHAT_UI_MODEL to {args.model}.")


def _readme(requirements: str, model: str, title: str, login: bool) -> str:
    lines = ["---"]
    for key, value in front_matter(requirements, model, title, login).items():
        if isinstance(value, list):
            lines += [f"{key}:", *(f"  - {_quoted(each)}" for each in value)]
        elif value is True:
            lines.append(f"{key}: true")
        else:
            lines.append(f"{key}: {_quoted(value)}")
    return "\n".join([*lines, "---", "", TEMPLATE.read_text(encoding="utf-8")])


def _quoted(text: str) -> str:
    # 3.10 is a number in YAML, and a title may hold a colon.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _lines(text: str) -> list[str]:
    return [line.partition("#")[0].strip() for line in text.splitlines()]


def _clear(out: Path) -> None:
    children = list(out.iterdir()) if out.is_dir() else []
    is_ours = (out / "app.py").is_file() and (out / "chat_ui").is_dir()
    others = [child.name for child in children if child.name not in (".git", ".gitattributes")]
    if out.resolve() == ROOT.resolve() or (others and not is_ours):
        sys.exit(f"{out} holds something else than a Space of ours. Give another folder: --out.")
    for child in children:
        if child.name == ".git":
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    out.mkdir(parents=True, exist_ok=True)


def _is_binary(file: Path) -> bool:
    try:
        return "\0" in file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return True


if __name__ == "__main__":
    main()
