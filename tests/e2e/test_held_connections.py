"""Connections that say nothing, more of them than the server has descriptors: the chat goes on."""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.chat import answers, open_chat, send, wait_until_answered
from tests.e2e.conftest import Server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit"),
]

HELD = 400
FEW_DESCRIPTORS = (
    "import resource, runpy;"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
    "runpy.run_module('tests.e2e.serve', run_name='__main__')"
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Server]:
    """A server with 256 descriptors."""
    server = Server(["-c", FEW_DESCRIPTORS], tmp_path / "data", [])
    yield server
    server.kill()


def test_more_idle_connections_than_descriptors_keep_nobody_out(
    small: Server, page: Page, new_context: Callable[..., BrowserContext]
) -> None:
    small.wait_for(phase="ready")
    open_chat(page, small.url)
    send(page, "count to 60 at 10")
    expect(answers(page)).to_have_count(1)
    address = urlsplit(small.url)
    with ExitStack() as held:
        for number in range(HELD):
            made = socket.create_connection((address.hostname, address.port), timeout=30)
            held.enter_context(made)
            made.sendall(b"GET / HTTP/1.1\r\nhost: " if number % 2 else b"")
        assert wait_until_answered(page, 1).endswith("w60")
        another = new_context().new_page()
        open_chat(another, small.url)
        send(another, "hello")
        assert wait_until_answered(another, 1) == "You said: hello"
    assert sum("out of system resource" in line for line in small.lines) <= 1
