"""Logs without what people write, in a process of its own: it changes all of the process."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, logging, sys, threading, traceback
from chat_ui.errors import EngineError
from chat_ui.web.logs import leave_out_texts

logging.basicConfig(level=logging.INFO)
leave_out_texts()
log = logging.getLogger("test")

def fail():
    try:
        int("canary")
    except ValueError as error:
        raise RuntimeError("canary") from error

def caught(then):
    try:
        fail()
    except RuntimeError as error:
        then(error)

async def forgotten():
    asyncio.get_running_loop().create_task(failing())
    await asyncio.sleep(0)

async def failing():
    fail()

def in_thread():
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
"""
WAYS = {
    "exc_info": 'caught(lambda error: log.error("it %s", "failed", exc_info=error))',
    "exception": 'caught(lambda error: log.exception("it failed"))',
    "argument": 'caught(lambda error: log.warning("it failed: %s", error))',
    "message": "caught(lambda error: log.warning(error))",
    "printed": "caught(lambda error: traceback.print_exc())",
    "thread": "in_thread()",
    "task": "asyncio.run(forgotten()); import gc; gc.collect()",
    "uncaught": "fail()",
}


def run(call: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + call], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_no_exception_s_text_is_told(way: str) -> None:
    told = run(WAYS[way])
    assert "canary" not in told
    assert "RuntimeError" in told


def test_kind_and_place_of_an_exception_and_of_its_cause_are_told() -> None:
    told = run(WAYS["exc_info"])
    assert "ERROR:test:it failed\nbuiltins.RuntimeError, from\n" in told
    assert told.count("in fail") == 2
    assert "builtins.ValueError, from" in told


def test_our_own_sentences_are_told() -> None:
    told = run('log.warning("it failed: %s", EngineError("The window is full.", "Begin anew."))')
    assert told == "WARNING:test:it failed: The window is full. Begin anew.\n"
