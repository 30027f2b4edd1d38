"""The public link: what is said where it can be had and where not."""

import threading
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio import networking
from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError

from chat_ui.web.share import open_link

DEADLINE_S = 20.0


def said(monkeypatch: pytest.MonkeyPatch, tunnel: Any) -> tuple[str, str]:
    """Which callback was told, and of what."""
    there, told = threading.Event(), []

    def tell(kind: str, text: str) -> None:
        told.append((kind, text))
        there.set()

    monkeypatch.setattr(networking, "setup_tunnel", tunnel)
    demo: Any = gr.Blocks()
    demo.server_name, demo.server_port = "127.0.0.1", 7860
    open_link(demo, lambda url: tell("opened", url), lambda why: tell("failed", why))
    assert there.wait(DEADLINE_S)
    (one,) = told
    return one


def test_the_link_that_the_relay_gave_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def tunnel(**given: Any) -> str:
        asked.update(given)
        return "http://abc.gradio.live"

    assert said(monkeypatch, tunnel) == ("opened", "https://abc.gradio.live")
    assert (asked["local_host"], asked["local_port"]) == ("127.0.0.1", 7860)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Could not get share link from Gradio API Server."), "doesn't reach"),
        (httpx.ConnectError("no"), "can't be downloaded"),
        (ChecksumMismatchError(), "is damaged; remove"),
        (ShareCertificateWriteError("read-only"), "certificate can't be written"),
        (ValueError("frpc's log"), "refused it"),
        (PermissionError("exec"), "doesn't run on this machine"),
    ],
)
def test_where_there_is_no_link_one_sentence_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def tunnel(**given: Any) -> str:
        raise error

    kind, sentence = said(monkeypatch, tunnel)
    assert kind == "failed"
    assert sentence.startswith("No public link could be opened: ")
    assert reason in sentence
    assert sentence.count(".") == 1 or "remove" in sentence
    assert "frpc's log" not in sentence
