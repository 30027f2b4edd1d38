"""Nobody is told how the app is used, whichever way it is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLES = ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY")
CHECK = """
from gradio import analytics
from huggingface_hub import constants
assert not analytics.analytics_enabled()
assert constants.HF_HUB_DISABLE_TELEMETRY
"""
ENTRIES = {
    "the page": "from app import demo; assert not demo.analytics_enabled",
    "app.py": "import app",
    "python -m chat_ui": "import chat_ui.__main__",
    "a part of it": "import chat_ui.models.hub",
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_telemetry_is_off(entry: str, tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environ |= {"CHAT_UI_DATA_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    program = f"{ENTRIES[entry]}\n{CHECK}"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
