"""A real server in a process of its own, and a real browser.

Where no browser can be had these tests are skipped with the reason; where CI=true they fail.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.chat import open_chat
from tools.browser import find_chromium

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0
# A start, a real model: on a busy machine importing the libraries alone may take half a minute.
LOAD_DEADLINE_S = 240.0
# As root Chromium has no sandbox; without the others it looks up its maker's hosts at every start.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


class Server:
    """The app in a process of its own, on a free port.

    Attributes:
        url: where it is.
        lines: what it printed.
    """

    def __init__(
        self,
        module: list[str],
        data_dir: Path,
        flags: list[str],
        port: int = 0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._module, self._flags, self.data_dir = module, flags, data_dir
        self._environ = environ or {}
        self.lines: list[str] = []
        self._there = threading.Event()
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", **self._environ}
        del variables["OMP_NUM_THREADS"]  # which the tests' own models want, and a server doesn't
        self.process = subprocess.Popen(
            [
                sys.executable, *module, "--port", str(port), "--data-dir", str(data_dir), *flags,
            ],
            cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self._url()

    def health(self) -> dict[str, Any]:
        """What /healthz answers."""
        answer: dict[str, Any] = httpx.get(f"{self.url}/healthz", timeout=DEADLINE_S).json()
        return answer

    def wait_for(self, deadline_s: float = DEADLINE_S, **expected: object) -> None:
        """Wait until /healthz says this."""
        nothing = threading.Event()
        for _ in range(int(deadline_s / 0.1)):
            health = self.health()
            if all(health[key] == value for key, value in expected.items()):
                return
            nothing.wait(0.1)
        raise AssertionError(f"{expected} did not come; the server says {health}")

    def wait_for_line(self, words: str) -> None:
        """Wait until it has printed a line with these words."""
        nothing = threading.Event()
        for _ in range(int(DEADLINE_S / 0.1)):
            if any(words in line for line in self.lines):
                return
            nothing.wait(0.1)
        raise AssertionError(f"{words!r} did not come; it said:\n" + "\n".join(self.lines))

    def wait_until_loaded(self, **expected: object) -> None:
        """Wait until a real model is there."""
        self.wait_for(LOAD_DEADLINE_S, phase="ready", **expected)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """End it as a service manager would; its exit code."""
        return self._end(signal.SIGTERM)

    def restarted(self) -> "Server":
        """The same once more: same port, same data."""
        port = int(self.url.rsplit(":", 1)[1])
        return Server(self._module, self.data_dir, self._flags, port, self._environ)

    def _end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if " is at http" in line:
                self._there.set()
        self._there.set()  # it ended; whoever waits looks at the lines

    def _url(self) -> str:
        if not self._there.wait(LOAD_DEADLINE_S):
            self.kill()  # nobody else will
            raise AssertionError("the server did not start in time")
        for line in self.lines:
            if " is at http" in line:
                return line.split(" is at ")[1].split("?")[0].rstrip("/")
        raise AssertionError("the server did not start:\n" + "\n".join(self.lines))


Serve = Callable[..., Server]

FAKE = ["-m", "tests.e2e.serve"]


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the fake engine for all tests that neither end it nor switch its model.

    A test's visitor is its own: what others wrote is not there for it.
    """
    shared = Server(FAKE, tmp_path_factory.mktemp("server") / "data", [])
    shared.wait_for(phase="ready")
    yield shared
    shared.kill()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers, `serve()` with the fake engine and `serve(real=True)` with a model."""
    started: list[Server] = []

    def start(
        *flags: str,
        real: bool = False,
        again: Server | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Server:
        if again is not None:
            server = again.restarted()
        else:
            module = ["app.py"] if real else FAKE
            data_dir = tmp_path / f"data-{len(started)}"
            server = Server(module, data_dir, list(flags), environ=environ)
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. Gone after this package: Playwright runs an event loop on the tests' own thread."""
    executable = find_chromium()
    if executable is None:
        reason = "no Chromium was found; `make test` installs one"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes browser contexts: each is another visitor, with cookies of its own."""
    contexts: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        options.setdefault("viewport", {"width": 1280, "height": 800})
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(DEADLINE_S * 1000)
        return contexts[-1]

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def page(new_context: Callable[..., BrowserContext]) -> Page:
    """A page of a new visitor."""
    return new_context().new_page()


@pytest.fixture
def chat(server: Server, page: Page) -> Page:
    """The page of a new visitor, open and ready to be typed into."""
    open_chat(page, server.url)
    return page
