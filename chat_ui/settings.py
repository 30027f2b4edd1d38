"""Settings: command line and environment, read once, frozen. Nothing else in the app reads either.

A flag beats its environment twin `CHAT_UI_...`, which beats Gradio's own `GRADIO_SERVER_NAME` and
`GRADIO_SERVER_PORT`, which beat the defaults.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import platformdirs

from chat_ui import __version__
from chat_ui.errors import StartupError
from chat_ui.models.quantization import PRECISIONS, Precision
from chat_ui.models.spec import BUILT_IN_ID

Door = Literal["local", "space", "share"]

SPACE_DISK: Final = Path("/data")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set.

    Attributes:
        host: address to listen on.
        port: TCP port to listen on; 0 takes a free one.
        model: "pocket-guide", a folder's path, or a Hub id.
        precision: of the model that is loaded at start.
        data_dir: folder of the database and the identity of this install.
        door: how visitors come: on this machine, on a Space, or through a shared link.
        max_message_chars: longest message or system prompt taken.
        max_running_replies: answers being written at once, in all.
        orphan_grace_s: an answer that no page follows is stopped after this many seconds.
        store_every_s: a growing answer is stored this often, in seconds.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 7860
    model: str = BUILT_IN_ID
    precision: Precision = "full"
    door: Door = "local"
    max_message_chars: int = 32_000
    max_running_replies: int = 64
    orphan_grace_s: float = 3600.0
    store_every_s: float = 1.0

    @property
    def model_is_fixed(self) -> bool:
        """Whether visitors may not change model and precision: they can't where strangers come."""
        return self.door != "local"


def read(argv: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that a command line and an environment give.

    Args:
        argv: arguments without the program's name.
        environ: the process's own, if None.

    Raises:
        StartupError: a variable or a flag has a value that can't be taken.
        SystemExit: argparse's own, for --help, --version and unknown flags.
    """
    environ = os.environ if environ is None else environ
    flags = _parser().parse_args(argv)

    def value(flag: str | None, *names: str) -> str | None:
        if flag is not None:
            return flag
        return next((environ[name] for name in names if environ.get(name, "") != ""), None)

    precision = value(flags.precision, "CHAT_UI_PRECISION") or "full"
    data_dir = value(flags.data_dir, "CHAT_UI_DATA_DIR")
    return Settings(
        host=value(flags.host, "CHAT_UI_HOST", "GRADIO_SERVER_NAME") or "127.0.0.1",
        port=_port(value(flags.port, "CHAT_UI_PORT", "GRADIO_SERVER_PORT") or "7860"),
        model=value(flags.model, "CHAT_UI_MODEL") or BUILT_IN_ID,
        precision=_precision(precision),
        data_dir=Path(data_dir).expanduser() if data_dir else _default_data_dir(environ),
        door=_door(flags.share or _is_true(environ.get("CHAT_UI_SHARE", "")), environ),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="app.py",
        description="Chat with a transformers model in the browser.",
        epilog="Each flag has a twin in the environment, such as CHAT_UI_PORT for --port.",
    )
    parser.add_argument("--host", metavar="H", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", metavar="N", help="port to listen on (7860); 0 takes a free one")
    parser.add_argument(
        "--model", metavar="ID_OR_PATH", help="a model's folder or Hub id (pocket-guide, built in)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, help="of the model's weights (full)")
    parser.add_argument("--data-dir", metavar="DIR", help="where conversations are kept")
    parser.add_argument(
        "--share", action="store_true", help="open a public link, protected by a password"
    )
    parser.add_argument("--version", action="version", version=f"chat_ui {__version__}")
    return parser


def _port(text: str) -> int:
    # isascii, because int() also takes digits of other scripts.
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1
    if not 0 <= port <= 65535:
        raise StartupError(f"The port {text!r} is no port.", "Give a number from 0 to 65535.")
    return port


def _precision(text: str) -> Precision:
    for known in PRECISIONS:
        if text == known:
            return known
    raise StartupError(
        f"The precision {text!r} is unknown.", f"Give one of {', '.join(PRECISIONS)}."
    )


def _door(share: bool, environ: Mapping[str, str]) -> Door:
    # Gradio ignores share=True on a Space, so the Space comes first here, too.
    if environ.get("SPACE_ID"):
        return "space"
    return "share" if share else "local"


def _default_data_dir(environ: Mapping[str, str]) -> Path:
    # A Space's own disk is gone at every restart, except /data where its owner has added storage.
    if environ.get("SPACE_ID") and SPACE_DISK.is_dir() and os.access(SPACE_DISK, os.W_OK):
        return SPACE_DISK / "chat_ui"
    return Path(platformdirs.user_data_dir("chat_ui", appauthor=False))


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on")
