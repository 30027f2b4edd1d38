"""The folder that `make space` makes, run as a Space runs it, with a question and an answer."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.chat import open_chat, send, wait_until_answered
from tests.e2e.conftest import FLAGS, LOAD_DEADLINE_S, ROOT
from tools import space
from tools.browser import find_chromium

pytestmark = [pytest.mark.browser, pytest.mark.torch]

HOST = "me-chat.hf.space"
# As the Hub's proxy sends it with each visitor's requests; ZeroGPU counts by it.
TOKEN = {"X-IP-Token": "the-visitors"}


class Space:
    """`python app.py` in the folder, told everything by variables.

    Attributes:
        url: under the name that visitors use.
    """

    def __init__(self, tmp_path: Path, variables: dict[str, str]) -> None:
        folder = tmp_path / "space"
        space.build(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self._log = tmp_path / "log.txt"
        environ = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        environ |= {
            "SYSTEM": "spaces",
            "SPACE_ID": "me/chat",
            "SPACE_HOST": HOST,
            "GRADIO_SERVER_NAME": "0.0.0.0",
            "GRADIO_SERVER_PORT": str(self.port),
            "XDG_DATA_HOME": str(tmp_path / "home"),
        } | variables
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=folder, env=environ, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        """What it printed."""
        return self._log.read_text(encoding="utf-8")

    def wait_until_loaded(self) -> None:
        """Wait until the model is there."""
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            for _ in range(int(LOAD_DEADLINE_S)):
                assert self.process.poll() is None, self.log
                try:
                    answer = client.get(f"http://127.0.0.1:{self.port}/healthz").json()
                except httpx.TransportError:
                    answer = {}
                if answer.get("phase") == "ready":
                    return
                assert answer.get("phase") != "failed", self.log
                try:
                    self.process.wait(1)
                except subprocess.TimeoutExpired:
                    continue
        raise AssertionError(self.log)


Run = Callable[[dict[str, str]], Space]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[Space] = []

    def start(variables: dict[str, str]) -> Space:
        started.append(Space(tmp_path, variables))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Page]:
    """A page in a browser for which the Space's name leads here."""
    flags = [*FLAGS, f"--host-resolver-rules=MAP {HOST} 127.0.0.1"]
    chromium = browser.browser_type.launch(executable_path=find_chromium(), args=flags)
    yield chromium.new_context(extra_http_headers=TOKEN).new_page()
    chromium.close()


def chat(page: Page, url: str) -> None:
    open_chat(page, url)
    send(page, "What is a token?")
    assert len(wait_until_answered(page, 1)) > 20


def assert_no_fault(log: str) -> None:
    # On a Space Gradio wants the package `spaces` for reloading edited files; here is none, or a
    # fake one without metadata.
    wanted = log.count("`spaces` package is required to run hot-reloading in Spaces")
    assert log.count("Traceback") == wanted, log


def test_the_folder_chats_as_a_space(run: Run, visitor: Page) -> None:
    server = run({})
    server.wait_until_loaded()
    chat(visitor, server.url)
    for host, status in ((HOST, 200), ("evil.example", 421)):
        url = f"http://127.0.0.1:{server.port}/gradio_api/app_id"
        assert httpx.get(url, headers={"Host": host}).status_code == status
    assert_no_fault(server.log)


def test_the_folder_chats_on_zerogpu(run: Run, visitor: Page) -> None:
    fake = {"SPACES_ZERO_GPU": "true", "PYTHONPATH": str(ROOT / "tests" / "fake_spaces")}
    server = run(fake)
    server.wait_until_loaded()
    assert "fake spaces sees the page launched, with 1 GPU function" in server.log
    chat(visitor, server.url)
    assert f"s to {TOKEN['X-IP-Token']}" in server.log  # on the visitor's share
    assert_no_fault(server.log)
