"""The public link: opened beside the page, which is served on this machine meanwhile.

Gradio's own `share=True` would keep launch() waiting for up to a minute, and tell no reason.
"""

import logging
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import gradio as gr
import httpx
from gradio import networking, tunneling
from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError

log = logging.getLogger(__name__)

# Source: what gradio.Blocks.launch() prints of a link: "up to 1 week (best effort)".
LASTS: Final = "up to a week"
LASTS_AT_MOST: Final = timedelta(weeks=1)


def open_link(
    demo: gr.Blocks, opened: Callable[[str], None], failed: Callable[[str], None]
) -> None:
    """Begin to open a public link to a page that is served; returns at once.

    Args:
        demo: the page, launched.
        opened: told of the link, on another thread.
        failed: told why there is none, a sentence, on another thread.
    """

    def run() -> None:
        try:
            url = networking.setup_tunnel(
                local_host=demo.server_name,
                local_port=demo.server_port,
                share_token=demo.share_token,
                share_server_address=None,
                share_server_tls_certificate=None,
            )
        except Exception as error:  # whatever it was: the page is served on this machine
            log.info("no tunnel", exc_info=error)
            failed(f"No public link could be opened: {_reason(error)}.")
        else:
            opened(f"{scheme()}://{urlsplit(url).netloc}")

    threading.Thread(target=run, name="tunnel", daemon=True).start()


def scheme() -> str:
    """The link's: a relay of one's own speaks http, as in launch()."""
    return "http" if networking.GRADIO_SHARE_SERVER_ADDRESS else "https"


def close_link() -> None:
    """End the tunnel, if there is one."""
    for tunnel in tunneling.CURRENT_TUNNELS:
        if tunnel.proc is not None:
            tunnel.proc.terminate()
            tunnel.proc = None  # else Gradio would end it once more, and print that


def _reason(error: Exception) -> str:
    if isinstance(error, ChecksumMismatchError):
        return f"the program that opens it is damaged; remove {tunneling.BINARY_PATH}"
    if isinstance(error, ShareCertificateWriteError):
        return f"the relay's certificate can't be written into {Path.cwd()}"
    if isinstance(error, ValueError):
        return "Gradio's relay refused it, or did not answer in time"
    if isinstance(error, RuntimeError):
        return "the network doesn't reach Gradio's relay"
    if isinstance(error, httpx.HTTPError):
        return "the program that opens it can't be downloaded"
    return "the program that opens it doesn't run on this machine"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
