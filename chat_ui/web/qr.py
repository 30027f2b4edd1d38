"""QR codes of links, which whoever sees them may open: for a terminal, and for the owner's page."""

import os
from io import StringIO
from typing import Final, TextIO

import segno

# Light on dark, whatever the terminal's own colours are: not every camera reads the opposite.
_COLOURS: Final = ("\x1b[97;40m", "\x1b[0m") if os.name == "posix" else ("", "")


def for_terminal(text: str, out: TextIO) -> str:
    """A QR code of half blocks, in lines; "" where `out` can't show it.

    Args:
        text: what it says.
        out: a terminal of enough width that takes UTF-8 can.
    """
    if not out.isatty() or (out.encoding or "").lower().replace("-", "") != "utf8":
        return ""
    code = segno.make_qr(text)
    width, _ = code.symbol_size()
    if _columns(out) < width:
        return ""
    blocks = StringIO()
    code.terminal(blocks, compact=True)
    begin, end = _COLOURS
    return "\n".join(f"{begin}{line}{end}" for line in blocks.getvalue().splitlines())


def as_image(text: str) -> str:
    """A QR code as the address of an image that needs no other, black on white."""
    return segno.make_qr(text).svg_data_uri(light="white", omitsize=True)


def _columns(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns
    except OSError:
        return 0
