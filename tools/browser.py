"""Find a Chromium for the browser tests and the screenshots, or get one.

``python -m tools.browser`` takes the first that works of: a Chromium that is
installed already, Debian's package (as root, where there is apt-get), and the
build that Playwright downloads. Tests ask `find_chromium`, which only looks.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

COMMANDS = ("chromium", "chromium-browser", "google-chrome")

# A bare machine has no glyph for an emoji: screenshots would show empty boxes.
PACKAGES = ("chromium", "fonts-dejavu-core", "fonts-noto-color-emoji")


def find_chromium() -> str | None:
    """Look for a Chromium on this machine, installing nothing.

    Returns:
        The path of its executable, to be given to Playwright as
        ``executable_path``, or None where there is none.
    """
    named = os.environ.get("CHROMIUM")
    if named:
        # Who names one wants that one, so a wrong name is not passed over in silence.
        return shutil.which(named)
    for command in COMMANDS:
        found = shutil.which(command)
        if found:
            return found
    return _playwrights_own()


def ensure_chromium() -> str | None:
    """Look for a Chromium and, where there is none, try to install one.

    Returns:
        The path of its executable, or None where none could be had.
    """
    found = find_chromium()
    if found or os.environ.get("CHROMIUM"):
        return found
    if _is_root() and shutil.which("apt-get"):
        _try("apt-get", "update", "-q")
        _try("apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES)
        found = find_chromium()
    if not found:
        _try(sys.executable, "-m", "playwright", "install", "chromium")
        found = find_chromium()
    return found


def _playwrights_own() -> str | None:
    # In a process of its own, as a second Playwright cannot start beside one that runs.
    script = (
        "from playwright.sync_api import sync_playwright\n"
        "with sync_playwright() as playwright:\n"
        "    print(playwright.chromium.executable_path)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    path = run.stdout.strip()
    return path if path and Path(path).exists() else None


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _try(*command: str) -> None:
    """Run a command that may fail: the caller looks at what it left."""
    print("+", *command, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL, env=environment)


def main() -> None:
    """Say which Chromium the tests will use.

    Having none is not an error here: the browser tests then skip with the
    reason, and fail where CI is set.
    """
    found = ensure_chromium()
    if found:
        print(f"Chromium: {found}")
    else:
        print(
            "No Chromium: the browser tests cannot run. Install one, or name it in CHROMIUM.",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
