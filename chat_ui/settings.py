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
        max_replies_per_visitor: the same, of one visitor.
        model_memory_bytes: what all loaded models may take; None for what is free.
        unload_after_s: a model that nobody has used for so long is unloaded; 0 keeps it.
        draft_model: drafts tokens for assisted generation: "" for none, "auto" for a small one of
            the loaded model's family that is on this machine, or a model as in `model`.
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
    max_replies_per_visitor: int = 4
    model_memory_bytes: int | None = None
    unload_after_s: float = 0.0
    draft_model: str = ""
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

    def given(name: str, *variables: str) -> str | None:
        flag: str | None = getattr(flags, name)
        if flag is not None:
            return flag
        names = (f"CHAT_UI_{name.upper()}", *variables)
        return next((environ[name] for name in names if environ.get(name, "") != ""), None)

    door = _door(flags.share or _is_true(environ.get("CHAT_UI_SHARE", "")), environ)
    per_visitor, unload_after = ("4", "0") if door == "local" else ("1", "30")
    unload_after = given("unload_after") or unload_after
    data_dir, memory = given("data_dir"), given("model_memory")
    return Settings(
        host=given("host", "GRADIO_SERVER_NAME") or "127.0.0.1",
        port=_port(given("port", "GRADIO_SERVER_PORT") or "7860"),
        model=given("model") or BUILT_IN_ID,
        precision=_precision(given("precision") or "full"),
        data_dir=Path(data_dir).expanduser() if data_dir else _default_data_dir(environ),
        door=door,
        max_running_replies=_count("--max-replies", given("max_replies") or "64"),
        max_replies_per_visitor=_count(
            "--max-replies-per-visitor", given("max_replies_per_visitor") or per_visitor
        ),
        model_memory_bytes=int(1e9 * _positive("--model-memory", memory)) if memory else None,
        unload_after_s=60 * _not_negative("--unload-after", unload_after),
        draft_model=given("draft_model") or "",
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
    parser.add_argument(
        "--draft-model",
        metavar="ID_OR_PATH",
        help="a small model that drafts for assisted generation; auto looks for one",
    )
    parser.add_argument(
        "--model-memory", metavar="GB", help="what all loaded models may take (what is free)"
    )
    parser.add_argument(
        "--unload-after",
        metavar="MINUTES",
        help="unload a model that nobody uses for so long (0: never; 30 where strangers come)",
    )
    parser.add_argument("--max-replies", metavar="N", help="answers written at once (64)")
    parser.add_argument(
        "--max-replies-per-visitor",
        metavar="N",
        help="the same for one visitor (4; 1 where strangers come)",
    )
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


def _count(flag: str, text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0
    if count < 1:
        raise StartupError(f"{flag} can't be {text!r}.", "Give a whole number from 1 on.")
    return count


def _positive(flag: str, text: str) -> float:
    amount = _not_negative(flag, text)
    if amount == 0:
        raise StartupError(f"{flag} can't be {text!r}.", "Give a number above 0.")
    return amount


def _not_negative(flag: str, text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < 1e6:  # not: amount < 0, because nan is no amount either
        raise StartupError(f"{flag} can't be {text!r}.", "Give a number from 0 on.")
    return amount


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
