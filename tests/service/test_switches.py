"""Real models, switched again and again: what leaves gives its memory back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine import random_models

pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parents[2]
SWITCHES = ("8bit", "full", "4bit", "full", "8bit-cpu", "full", "4bit", "full")

# Its own process, whose memory is nobody else's. One model at a time: none fits beside another.
PROGRAM = """
import gc, json, sys, threading
from chat_ui.models import memory
from chat_ui.models.spec import find
from chat_ui.service.host import ModelHost
from chat_ui.service.loading import load_model

folder, *switches = sys.argv[1:]
taken = []

def wait(precision):
    nothing = threading.Event()
    for _ in range(6000):
        now = host.status
        if now.loading is None and now.phase == "ready" and now.precision == precision:
            gc.collect()
            return taken.append(memory.process_bytes())
        assert now.error is None and now.phase != "failed", now
        nothing.wait(0.02)
    raise SystemExit("it did not come in time")

host = ModelHost(find(folder), "full", load_model, fits=lambda *_, **__: False)
host.start()
wait("full")
for precision in ("4bit", "8bit", "8bit-cpu", "full", *switches):  # the first of each imports much
    host.switch(folder, precision)
    wait(precision)
host.close()
print(json.dumps(taken))
"""


def test_eight_switches_leave_the_memory_of_one(tmp_path: Path) -> None:
    folder = random_models.write(
        tmp_path / "model",
        dtype="bfloat16",
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=16,
        num_attention_heads=8,
        vocab_size=32_768,
    )
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), *SWITCHES],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    taken = json.loads(ended.stdout.splitlines()[-1])
    before, after = taken[-len(SWITCHES) - 1], taken[-1]
    assert after <= 1.05 * before, [round(one / 1e6) for one in taken]
