"""Write the lower section of requirements.txt: what the direct requirements need.

``python -m tools.lock`` asks pip which versions it would install, keeping those
that are pinned already; with ``--upgrade`` it takes the newest that fit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"

HEADING = "# What those need, written by make lock. Do not edit."

# A Space installs gradio with these extras, and the mcp one caps pydantic.
SPACE = "gradio[oauth,mcp]"

# Versions that suit the oldest Python suit the later ones too; not the other way round.
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

PLATFORMS = [
    dict(zip(("sys_platform", "platform_system", "os_name", "platform_machine"), row, strict=True))
    for row in (
        ("linux", "Linux", "posix", "x86_64"),
        ("linux", "Linux", "posix", "aarch64"),
        ("darwin", "Darwin", "posix", "arm64"),
        ("win32", "Windows", "nt", "AMD64"),
    )
]


def split(text: str) -> tuple[list[str], list[str]]:
    """Split requirements.txt into its two sections.

    Args:
        text: The file's text.

    Returns:
        The requirements above the heading and the pins below it, without comments.
    """
    above, _, below = text.partition(HEADING)
    return _requirements(above), _requirements(below)


def needed_everywhere(roots: Iterable[str], requires: Callable[[str], Iterable[str]]) -> set[str]:
    """Walk from requirements to all that they need on every platform and Python.

    What only some platform or some Python needs is left to pip: a pin of it would
    install it everywhere. torch's CUDA packages, which torch pins itself, go the
    same way, as they are for Linux only.

    Args:
        roots: The requirements to start from.
        requires: Gives the requirements of a package, by its canonical name.

    Returns:
        The canonical names of the packages, those of the roots among them.
    """
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        # "" stands for the package without any extra.
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                needs = map(Requirement, requires(name))
                waiting += [need for need in needs if _holds_everywhere(need, extra)]
    return {name for name, _ in seen}


def resolve(requirements: Iterable[str], constraints: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Ask pip which packages it would install into an empty environment.

    Args:
        requirements: What to install.
        constraints: Pins that hold for whichever of these packages is needed.

    Returns:
        Each package's metadata, as in pip's report, by its canonical name.

    Raises:
        subprocess.CalledProcessError: No set of versions fits; pip has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        constraints_file = Path(folder, "constraints.txt")
        constraints_file.write_text("\n".join(constraints), encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--quiet"]
        how = ["--dry-run", "--ignore-installed", "--report", "-"]
        what = ["--constraint", str(constraints_file), *requirements]
        report = subprocess.run([*pip, *how, *what], check=True, stdout=subprocess.PIPE)
    packages = [entry["metadata"] for entry in json.loads(report.stdout)["install"]]
    return {canonicalize_name(package["name"]): package for package in packages}


def main() -> None:
    """Rewrite requirements.txt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="do not keep the pins there are")
    upgrade = parser.parse_args().upgrade
    if "{}.{}".format(*sys.version_info) != PYTHONS[0]:
        sys.exit(f"Lock with Python {PYTHONS[0]}, the oldest that the app runs on.")

    text = REQUIREMENTS.read_text(encoding="utf-8")
    direct, pins = split(text)
    roots = [line.replace("gradio==", f"{SPACE}==") for line in direct]
    try:
        packages = resolve(roots, [] if upgrade else pins)
    except subprocess.CalledProcessError:
        sys.exit("If it is the pins that do not fit: make lock UPGRADE=1")
    needed = needed_everywhere(roots, lambda name: packages[name].get("requires_dist", ()))
    names = needed - {canonicalize_name(Requirement(root).name) for root in direct}

    # A local version (+cpu) is of this machine's build: another has another.
    new = [f"{name}=={Version(packages[name]['version']).public}" for name in sorted(names)]
    above = text.partition(HEADING)[0].rstrip()
    REQUIREMENTS.write_text("\n".join([above, "", HEADING, *new, ""]), encoding="utf-8")
    print(f"{REQUIREMENTS.name}: {len(new)} pins, {len(set(new) - set(pins))} of them new.")


def _requirements(section: str) -> list[str]:
    lines = (line.strip() for line in section.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _holds_everywhere(need: Requirement, extra: str) -> bool:
    if need.marker is None:
        return True
    marker = need.marker
    return all(
        marker.evaluate(
            {
                **platform,
                "python_version": python,
                "python_full_version": f"{python}.0",
                "extra": extra,
            }
        )
        for platform in PLATFORMS
        for python in PYTHONS
    )


if __name__ == "__main__":
    main()
