"""kill -9 at any moment: nothing that was acknowledged is lost, and the database is whole."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", ["writes", "migration"])
def test_kill(part, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.history.killing", part, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    killed, lost = map(int, done.stdout.split())
    assert killed >= 6
    assert lost == 0
