"""Starting the server, waiting, and ending it: what `app.py` does with the page once it is built.

Ending has a deadline: what was written so far is stored, then the process ends, whoever holds it.
"""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import gradio as gr
from starlette.middleware import Middleware

from chat_ui.errors import StartupError
from chat_ui.service import ChatService
from chat_ui.settings import Settings
from chat_ui.web.connections import Connections
from chat_ui.web.guard import Guard, Hosts
from chat_ui.web.health import health_route
from chat_ui.web.imports import import_route
from chat_ui.web.posts import PostMiddleware
from chat_ui.web.session import SessionMiddleware

log = logging.getLogger(__name__)

# People and service managers wait five seconds; a busy machine needs some of them itself.
END_DEADLINE_S: Final = 4.0
STORE_DEADLINE_S: Final = 2.0
SHARE_USER: Final = "guest"


def launch_options(
    settings: Settings, service: ChatService, hosts: Hosts, demo: gr.Blocks
) -> dict[str, Any]:
    """What `demo.launch` gets beside the page's look; safe where Gradio's defaults are open."""
    return {
        "server_name": settings.host,
        "app_kwargs": {
            "middleware": [
                Middleware(Guard, settings=settings, hosts=hosts),
                Middleware(SessionMiddleware, settings=settings),
                Middleware(Connections, limits=settings.limits),
                Middleware(PostMiddleware, demo=demo),
            ],
            "routes": [health_route(service), import_route(service)],
            "openapi_url": None,
        },
        "run_history": False,  # it would keep every message in the browser's storage, in clear
        "enable_monitoring": False,
        "mcp_server": False,
        "ssr_mode": False,
        "pwa": False,
        "show_error": False,
        "footer_links": [],
        "max_file_size": "1mb",
        # Every open page follows with an async event; this caps those, too, not only threads.
        "max_threads": 400,
        "state_session_capacity": settings.limits.sessions,
    }


def free_port(settings: Settings) -> int:
    """The port to listen on, checked to be free; a free one where the settings say 0.

    Raises:
        StartupError: the port is in use, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name == "posix":  # on Windows this option would let two servers share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise StartupError(
                f"Port {settings.port} on {settings.host} can't be used: {_reason(error)}.",
                f"Stop the other program, or try --port {settings.port % 65535 + 1}.",
            ) from error
        return int(probe.getsockname()[1])


def serve(demo: gr.Blocks, service: ChatService, hosts: Hosts, port: int) -> NoReturn:
    """Serve until Ctrl+C or SIGTERM, then store everything and end the process with code 0.

    Args:
        demo: the page.
        service: started already.
        hosts: the names that the page may be asked under; a public link's is added.
        port: a free one.
    """
    ending = threading.Event()
    _on_signals(ending)
    share = service.settings.opens_tunnel
    password = secrets.token_urlsafe(16)
    _, local_url, public_url = demo.launch(
        server_port=port,
        share=share,
        auth=(SHARE_USER, password) if share else None,
        prevent_thread_lock=True,
        quiet=True,
    )
    _say(f"chat_ui is at {local_url}")
    if share:
        hosts.add_own(urlsplit(public_url or "").netloc)
        _say_share(public_url, password)
    ending.wait()
    _say("Storing what was written; ending.")
    # Pages follow their answers to the end before their streams are cut, so the order matters.
    service.stop_replies(STORE_DEADLINE_S)
    _close(demo)
    service.close(0.1)
    sys.stdout.flush()
    # Not through the interpreter's own end, which waits for torch's threads: seconds where a model
    # is in the middle of a batch.
    os._exit(0)


def _close(demo: gr.Blocks) -> None:
    # What is still open are pages' event streams: they reconnect by themselves, so they are cut off
    # after a second, and uvicorn need not report that as an error.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    if demo.server is not None:
        demo.server.config.timeout_graceful_shutdown = 1
    demo.close(verbose=False)


def _on_signals(ending: threading.Event) -> None:
    def force() -> None:
        log.error("ending took longer than %s s", END_DEADLINE_S)
        os._exit(0)

    def handle(number: int, frame: FrameType | None) -> None:
        if ending.is_set():
            os._exit(1)  # the second time, at once
        ending.set()
        # From here on, because the main thread may still be waiting for the share link; and a model
        # in the middle of a batch may hold its thread for longer than people wait.
        deadline = threading.Timer(END_DEADLINE_S, force)
        deadline.daemon = True
        deadline.start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def _say_share(public_url: str | None, password: str) -> None:
    if public_url:
        _say(f"Public link: {public_url}  user: {SHARE_USER}  password: {password}")
        _say("What visitors write passes through Gradio's relay. The link ends with this program.")
    else:
        _say(
            "No public link could be opened: the network doesn't reach Gradio's relay. "
            f"The page is served on this machine; user: {SHARE_USER}  password: {password}"
        )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
