"""The environment is what the files of the repository say it is."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

import chat_ui
from tools import lock

ROOT = Path(__file__).parent.parent

DIRECT = {
    "accelerate": "1.15",
    "alembic": "1.20",
    "bitsandbytes": "0.50",
    "filelock": "4.2",
    "gradio": "6.31",
    "platformdirs": "4.14",
    "segno": "1.6",
    "sqlalchemy": "2.1",
    "torch": "2.13",
    "transformers": "5.23",
}

DEV = {"axe-playwright-python", "hypothesis", "mypy", "playwright", "pytest", "ruff"}

TARGETS = {
    *("help", "install", "run", "test", "check", "fix"),
    *("lock", "guide", "screenshots", "space", "bench"),
}


def pins(lines: list[str]) -> dict[str, Version]:
    """The version of each package, where every line is an exact pin for all platforms."""
    found: dict[str, Version] = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9.]*(?:\.post\d+)?)", line)
        assert match, f"not an exact pin: {line}"
        found[canonicalize_name(match[1])] = Version(match[2])
    assert len(found) == len(lines), "a package is pinned twice"
    return found


def installed(name: str) -> Version:
    return Version(Version(importlib.metadata.version(name)).public)


@pytest.fixture(scope="module")
def sections() -> tuple[dict[str, Version], dict[str, Version]]:
    direct, below = lock.split(lock.REQUIREMENTS.read_text(encoding="utf-8"))
    return pins(direct), pins(below)


def test_direct_requirements_are_the_few_the_app_imports(sections):
    direct, _ = sections
    series = {name: f"{version.major}.{version.minor}" for name, version in direct.items()}
    assert series == DIRECT


def test_all_that_the_direct_requirements_need_is_pinned(sections):
    direct, below = sections
    needed = lock.needed_everywhere(
        [*direct, lock.SPACE], lambda name: importlib.metadata.requires(name) or ()
    )
    assert set(below) == needed - set(direct)


def test_what_is_installed_is_what_is_pinned(sections):
    direct, below = sections
    assert {name: installed(name) for name in direct | below} == direct | below


def test_no_package_of_one_platform_is_pinned(sections):
    _, below = sections
    only_somewhere = re.compile("colorama|cuda|nvidia|pywin32|triton|uvloop")
    assert not [name for name in below if only_somewhere.match(name)]


@pytest.mark.parametrize(
    ("need", "extra", "expected"),
    [
        ("a", "", True),
        ('a; python_version >= "3.11"', "", True),
        ('a; python_version >= "3.13"', "", False),
        ('a; platform_system == "Linux"', "", False),
        ('a; sys_platform != "emscripten"', "", True),
        ('a; extra == "mcp"', "", False),
        ('a; extra == "mcp"', "mcp", True),
    ],
)
def test_lock_pins_what_is_needed_everywhere(need, extra, expected):
    requires = {"root": [need], "a": ["b"], "b": []}.__getitem__
    root = f"root[{extra}]" if extra else "root"
    assert lock.needed_everywhere([root], requires) == (
        {"root", "a", "b"} if expected else {"root"}
    )


def test_dev_extra_is_pinned_and_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dev = pins(project["optional-dependencies"]["dev"])
    assert set(dev) == DEV
    assert {name: installed(name) for name in dev} == dev


def test_installed_packages_fit_each_other():
    check = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout


def test_ci_runs_check_and_test():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("bash")
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[0] == "set -eu"
    assert commands[-1] == "make check test"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_makefile_has_the_documented_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"^([a-z]+):.* ## ", makefile, re.MULTILINE)) == TARGETS


def test_no_file_names_a_package_index():
    for name in ("Makefile", "requirements.txt", "pyproject.toml", ".ci/run"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "://" not in text, name
        assert "index-url" not in text, name


def test_version():
    assert Version(chat_ui.__version__)


def test_tests_run_offline():
    """tests/conftest.py sets these before anything imports transformers or gradio."""
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
