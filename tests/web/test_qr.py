"""QR codes: what stands on a terminal and in the image is the code of the link."""

import io
import logging
import re
from pathlib import Path

import pytest
import segno

from chat_ui.web import qr, server
from chat_ui.web.entrance import Entrance
from chat_ui.web.hosts import Hosts
from chat_ui.web.key import Keys

LINK = "https://0123456789abcdef01.gradio.live/?key=" + "k" * 43
HALVES = {" ": "11", "▀": "01", "▄": "10", "█": "00"}  # 1 is dark; above, below
COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Terminal(io.StringIO):
    encoding = "UTF-8"

    def isatty(self) -> bool:
        return True


def test_the_terminal_s_half_blocks_are_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qr, "_columns", lambda out: 45)
    lines = COLOUR.sub("", qr.for_terminal(LINK, Terminal())).splitlines()
    assert {len(line) for line in lines} == {45}
    rows = ["".join(HALVES[one][half] for one in line) for line in lines for half in (0, 1)]
    code = ["".join(map(str, row)) for row in segno.make_qr(LINK).matrix_iter(border=4)]
    assert rows[: len(code)] == code


@pytest.mark.parametrize(
    ("columns", "encoding", "is_terminal"),
    [(44, "utf-8", True), (0, "utf-8", True), (200, "ascii", True), (200, "utf-8", False)],
)
def test_where_it_can_not_be_shown_there_is_none(
    monkeypatch: pytest.MonkeyPatch, columns: int, encoding: str, is_terminal: bool
) -> None:
    out = Terminal()
    monkeypatch.setattr(qr, "_columns", lambda out: columns)
    monkeypatch.setattr(out, "isatty", lambda: is_terminal)
    monkeypatch.setattr(Terminal, "encoding", encoding)
    assert qr.for_terminal(LINK, out) == ""


def test_what_has_no_size_has_no_columns() -> None:
    assert qr._columns(io.StringIO()) == 0


def test_the_image_needs_no_other_and_says_nothing_in_clear() -> None:
    image = qr.as_image(LINK)
    assert image.startswith("data:image/svg+xml")
    assert "gradio.live" not in image


def test_the_public_link_s_code_is_printed_below_it_and_logged_nowhere(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(qr, "for_terminal", lambda text, out: f"code of {text}")
    entrance = Entrance(tmp_path)
    server._say_link("https://a.gradio.live", Hosts(), Keys(visitor="v1"), entrance)
    link = "https://a.gradio.live/?key=v1"
    assert entrance.link is not None
    assert entrance.link.url == link
    assert capsys.readouterr().out.startswith(f"Public link: {link}\ncode of {link}\n")
    assert not caplog.records
