"""Starting the server, waiting, and ending it: what `app.py` does with the page once it is built.

Ending has a deadline: what was written so far is stored, then the process ends, whoever holds it.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware

from chat_ui.errors import StartupError
from chat_ui.service import ChatService
from chat_ui.settings import Settings
from chat_ui.web import qr
from chat_ui.web.bare_page import TextsIn
from chat_ui.web.closing import ClosingMiddleware, StopSwitch
from chat_ui.web.connections import Connections
from chat_ui.web.entrance import Entrance, Link
from chat_ui.web.guard import Guard
from chat_ui.web.health import health_route
from chat_ui.web.hosts import Hosts
from chat_ui.web.imports import import_route
from chat_ui.web.key import KeyMiddleware, Keys
from chat_ui.web.login import LoginMiddleware, login_routes
from chat_ui.web.metrics import VisitorsMiddleware, metrics_route
from chat_ui.web.posts import PostMiddleware
from chat_ui.web.privacy import forget_route, privacy_route
from chat_ui.web.session import SessionMiddleware
from chat_ui.web.share import LASTS, close_link, open_link, say
from chat_ui.web.sockets import hold_connections

log = logging.getLogger(__name__)

# People and service managers wait five seconds; a busy machine needs some of them itself.
END_DEADLINE_S: Final = 4.0
STORE_DEADLINE_S: Final = 2.0
WAKES_S: Final = 0.5


def launch_options(
    settings: Settings,
    service: ChatService,
    hosts: Hosts,
    keys: Keys,
    entrance: Entrance,
    demo: gr.Blocks,
    policy: Callable[[str], str],
    texts_in: TextsIn,
) -> dict[str, Any]:
    """What `demo.launch` gets beside the page's look; safe where Gradio's defaults are open.

    Args:
        settings: the app's.
        service: the backend.
        hosts: the names that the page may be asked under.
        keys: what links carry.
        entrance: where visitors are counted.
        demo: the page.
        policy: gives the page on privacy, for an Accept-Language header.
        texts_in: gives the texts for one.
    """
    oauth, space_host = settings.oauth, settings.space_host
    login = (
        [Middleware(LoginMiddleware, oauth=oauth, space_host=space_host, texts_in=texts_in)]
        if oauth
        else []
    )
    return {
        "server_name": settings.host,
        "app_kwargs": {
            "middleware": [
                Middleware(Guard, settings=settings, hosts=hosts, routes=login_routes(settings)),
                Middleware(KeyMiddleware, settings=settings, keys=keys, texts_in=texts_in),
                *login,
                Middleware(ClosingMiddleware, data_dir=settings.data_dir, texts_in=texts_in),
                Middleware(SessionMiddleware, settings=settings),
                Middleware(Connections, limits=settings.limits, door=settings.door),
                Middleware(VisitorsMiddleware, visitors=entrance.visitors),
                Middleware(PostMiddleware, demo=demo, sessions=settings.limits.sessions),
            ],
            "routes": [
                health_route(service),
                metrics_route(service, keys, entrance.visitors),
                import_route(service),
                privacy_route(policy),
                forget_route(service),
            ],
            "openapi_url": None,
            "lifespan": _guard_first,
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


def serve(
    demo: gr.Blocks,
    service: ChatService,
    hosts: Hosts,
    keys: Keys,
    entrance: Entrance,
    port: int,
) -> NoReturn:
    """Serve until Ctrl+C or SIGTERM, then store everything and end the process with code 0.

    Args:
        demo: the page.
        service: started already.
        hosts: the names that the page may be asked under; a public link's is added.
        keys: what links carry.
        entrance: is told of a public link.
        port: a free one.
    """
    ending = threading.Event()
    _on_signals(ending)
    hold_connections()
    _, local_url, _ = demo.launch(
        server_port=port, share=False, prevent_thread_lock=True, quiet=True
    )
    say(f"chat_ui is at {keys.visitors_link(local_url)}")
    if space := service.settings.space_host:
        entrance.link = Link(keys.visitors_link(f"https://{space}"))
    if keys.owner and not service.settings.owner_key:
        say(f"Owner: {keys.owners_link(f'https://{space}' if space else local_url)}")
    if service.settings.is_public:
        StopSwitch(service.settings.data_dir, service.stop_all_replies).watch(ending)
    if service.settings.opens_tunnel:
        say("Asking Gradio's relay for a public link.")
        open_link(
            demo,
            opened=lambda url: _say_link(url, hosts, keys, entrance),
            failed=lambda sentence: _say_no_link(sentence, entrance),
        )
    # Not in one wait: where the system gives the signal to another thread, Python runs the handler
    # when this one next wakes up.
    while not ending.wait(WAKES_S):
        pass
    say("Storing what was written; ending.")
    # Pages follow their answers to the end before their streams are cut, so the order matters.
    service.close_replies(STORE_DEADLINE_S)
    _close(demo)
    service.close(0.1)
    sys.stdout.flush()
    # Not through the interpreter's own end, which waits for torch's threads: seconds where a model
    # is in the middle of a batch.
    os._exit(0)


@asynccontextmanager
async def _guard_first(app: FastAPI) -> AsyncIterator[None]:
    # Gradio puts its own middlewares before those that it is given, and its CORS would allow other
    # pages' preflights. Until here nothing but this start went through them.
    app.user_middleware.sort(key=lambda one: one.cls is not Guard)  # type: ignore[comparison-overlap]
    app.middleware_stack = app.build_middleware_stack()
    yield


def _close(demo: gr.Blocks) -> None:
    # What is still open are pages' event streams: they reconnect by themselves, so they are cut off
    # after a second, and uvicorn need not report that as an error.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    close_link()
    if demo.server is not None:
        demo.server.config.timeout_graceful_shutdown = 1
    demo.close(verbose=False)


def _on_signals(ending: threading.Event) -> None:
    def force() -> None:
        log.error("ending took longer than %s s", END_DEADLINE_S)
        close_link()  # or its program lives on, and publishes whoever takes the port next
        os._exit(0)

    def handle(number: int, frame: FrameType | None) -> None:
        if ending.is_set():
            close_link()
            os._exit(1)  # the second time, at once
        ending.set()
        # From here on, because a model in the middle of a batch may hold its thread for longer than
        # people wait.
        deadline = threading.Timer(END_DEADLINE_S, force)
        deadline.daemon = True
        deadline.start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def _say_link(url: str, hosts: Hosts, keys: Keys, entrance: Entrance) -> None:
    hosts.add_own(urlsplit(url).hostname or "")
    entrance.link = Link.opened(keys.visitors_link(url))
    say(f"Public link: {entrance.link.url}")
    if code := qr.for_terminal(entrance.link.url, sys.stdout):
        say(code)
    say(
        "What is written and answered through it passes through Gradio's relay, which could read "
        f"it. The link lasts {LASTS}, and ends with this program."
    )


def _say_no_link(sentence: str, entrance: Entrance) -> None:
    entrance.has_no_tunnel = True
    say(f"{sentence} The page is served on this machine.")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
