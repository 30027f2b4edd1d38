"""Settings: command line and environment, read once, frozen. Nothing else in the app reads either.

A flag beats its environment twin `CHAT_UI_...`, which beats Gradio's own `GRADIO_SERVER_NAME` and
`GRADIO_SERVER_PORT`, which beat the defaults.
"""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import platformdirs

from chat_ui import __version__
from chat_ui.errors import StartupError
from chat_ui.limits import DOORS, LIMITS, Door, Limits
from chat_ui.models.quantization import PRECISIONS, Precision
from chat_ui.models.spec import BUILT_IN_ID
from chat_ui.oauth import OAuth

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
        door: how visitors come; decides what is not said otherwise.
        limits: what visitors may ask for.
        opens_tunnel: whether a public link is opened: only where the door is "share".
        is_open: whether the public link asks for no key.
        owner_key: makes an owner; "" for one that is made at each start.
        allowed_hosts: lower-case names, without ports, beside the door's own that the page may be
            asked for under.
        space_host: the name that a Space's page is served under; "" elsewhere.
        oauth: the login of a Space that has one.
        logs_events: whether a line is printed for each answer and each refusal, without content.
        is_zero_gpu: whether this is a Space that is lent a GPU for each answer.
        model_memory_bytes: what all loaded models may take; None for what is free.
        allows_hub: whether a visitor's message may make this server ask the Hub for a model, where
            strangers come.
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
    limits: Limits = LIMITS["local"]
    opens_tunnel: bool = False
    is_open: bool = False
    owner_key: str = ""
    allowed_hosts: tuple[str, ...] = ()
    space_host: str = ""
    oauth: OAuth | None = None
    logs_events: bool = False
    is_zero_gpu: bool = False
    allows_hub: bool = False
    model_memory_bytes: int | None = None
    unload_after_s: float = 0.0
    draft_model: str = ""
    orphan_grace_s: float = 3600.0
    store_every_s: float = 1.0

    @property
    def model_is_fixed(self) -> bool:
        """Whether visitors may not change model and precision: they can't where strangers come."""
        return self.is_public

    @property
    def is_public(self) -> bool:
        """Whether strangers come."""
        return self.door != "local"

    @property
    def disk_vanishes(self) -> bool:
        """Whether all that is kept is gone after a restart: on a Space without storage at /data."""
        return self.door == "space" and not self.data_dir.is_relative_to(SPACE_DISK)


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

    share = flags.share or _is_true(environ.get("CHAT_UI_SHARE", ""))
    door = _door(given("door"), share, environ)
    is_zero_gpu = door == "space" and _is_true(environ.get("SPACES_ZERO_GPU", ""))
    # On ZeroGPU a model is loaded at the start and at no other time.
    unload_after = given("unload_after") or ("0" if door == "local" or is_zero_gpu else "30")
    data_dir, memory = given("data_dir"), given("model_memory")
    # With a domain of one's own it is a list.
    space_host, _, own_domains = environ.get("SPACE_HOST", "").lower().partition(",")
    return Settings(
        host=given("host", "GRADIO_SERVER_NAME") or "127.0.0.1",
        port=_port(given("port", "GRADIO_SERVER_PORT") or "7860"),
        model=given("model") or BUILT_IN_ID,
        precision=_precision(given("precision") or "full"),
        data_dir=Path(data_dir).expanduser() if data_dir else _default_data_dir(environ),
        door=door,
        limits=replace(
            LIMITS[door],
            **{
                name: _count(_flag(name), text, 0 if can_be_off else 1)
                for name, can_be_off in _limits()
                if (text := given(f"max_{name}")) is not None
            },
        ),
        # Gradio opens none on a Space.
        opens_tunnel=share and door == "share",
        is_open=flags.public or _is_true(environ.get("CHAT_UI_PUBLIC", "")),
        # No flag: other people on this machine can read those.
        owner_key=_owner_key(environ.get("CHAT_UI_OWNER_KEY", "")),
        allowed_hosts=_hosts(f"{given('allowed_hosts') or ''},{own_domains}"),
        space_host=space_host.strip(),
        oauth=OAuth.of(environ) if door == "space" and space_host else None,
        logs_events=_is_true(given("log") or ("off" if door == "local" else "on")),
        is_zero_gpu=is_zero_gpu,
        allows_hub=flags.allow_hub or _is_true(environ.get("CHAT_UI_ALLOW_HUB", "")),
        model_memory_bytes=int(1e9 * _positive("--model-memory", memory)) if memory else None,
        unload_after_s=60 * _not_negative("--unload-after", unload_after),
        draft_model=given("draft_model") or "",
        orphan_grace_s=3600.0 if door == "local" else 60.0,  # a stranger who leaves is gone
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
    parser.add_argument(
        "--allow-hub",
        action="store_true",
        help="strangers' messages, too, may fetch a model that was missing at the start",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where conversations are kept")
    parser.add_argument(
        "--door", choices=DOORS, help="how visitors come: decides limits (found by itself)"
    )
    parser.add_argument("--share", action="store_true", help="open a public link, with a key in it")
    parser.add_argument("--public", action="store_true", help="a public link without a key")
    parser.add_argument(
        "--log",
        choices=("on", "off"),
        help="a line of JSON for each answer and refusal, without content (off; on for strangers)",
    )
    parser.add_argument(
        "--allowed-hosts",
        metavar="NAMES",
        help="names of this server that the page may be asked for under, with commas between",
    )
    limits = parser.add_argument_group(
        "limits", "Here and, in brackets, where strangers come: on a Space, on a shared link."
    )
    for one in fields(Limits):
        here, space, shared = (getattr(LIMITS[door], one.name) for door in DOORS)
        limits.add_argument(
            _flag(one.name),
            metavar="N",
            help=f"{one.metadata['meaning']}"
            f"{'; 0: no limit' if one.metadata['can_be_off'] else ''}: {here} ({space}, {shared})",
        )
    parser.add_argument("--version", action="version", version=f"chat_ui {__version__}")
    return parser


def _port(text: str) -> int:
    # isascii, because int() also takes digits of other scripts.
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1
    if not 0 <= port <= 65535:
        raise StartupError(f"The port {text!r} is no port.", "Give a number from 0 to 65535.")
    return port


def _limits() -> list[tuple[str, bool]]:
    return [(one.name, one.metadata["can_be_off"]) for one in fields(Limits)]


def _flag(name: str) -> str:
    return f"--max-{name.replace('_', '-')}"


def _count(flag: str, text: str, least: int) -> int:
    # isascii, because int() also takes digits of other scripts.
    count = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1
    if count < least:
        raise StartupError(f"{flag} can't be {text!r}.", f"Give a whole number from {least} on.")
    return count


def _hosts(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]", name):
            raise StartupError(
                f"{name!r} can't be a name of --allowed-hosts.",
                "Give names such as chat.example.org, without http:// and without a port.",
            )
    return names


def _owner_key(text: str) -> str:
    # 22 letters and digits of a random text have 128 bits.
    if text and not (len(text) >= 22 and text.isascii() and text.isprintable()):
        raise StartupError(
            "CHAT_UI_OWNER_KEY can't be taken: it has to be hard to guess.",
            "Give at least 22 random letters and digits, or none: one is made at each start then.",
        )
    return text


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


def _door(named: str | None, share: bool, environ: Mapping[str, str]) -> Door:
    if named is not None:
        for door in DOORS:
            if door == named:
                return "share" if share and door == "local" else door
        raise StartupError(f"The door {named!r} is unknown.", f"Give one of {', '.join(DOORS)}.")
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
