"""`GET /metrics`, in Prometheus' text format: what the server did, and nothing of visitors.

At home everybody may read it; where strangers come it is the owner's, and is not there for others.
"""

import hmac
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import psutil
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_ui import __version__
from chat_ui.service import ChatService, Figures
from chat_ui.web.key import Keys

# Source: prometheus.io/docs/instrumenting/exposition_formats, text format 0.0.4.
MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SEEN_S: Final = 15 * 60.0
MAX_SEEN: Final = 10_000


class Visitors:
    """How many visitors asked for something in the last 15 minutes; at most `MAX_SEEN` are known.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}  # the one seen last at the end

    def see(self, owner: str) -> None:
        """Somebody asked for something."""
        with self._lock:
            self._seen.pop(owner, None)
            self._seen[owner] = self._clock()
            if len(self._seen) > MAX_SEEN:
                del self._seen[next(iter(self._seen))]

    def count(self) -> int:
        """How many there are."""
        with self._lock:
            now = self._clock()
            for owner in [one for one, at in self._seen.items() if now - at > SEEN_S]:
                del self._seen[owner]
            return len(self._seen)


class VisitorsMiddleware:
    """Counts the owners of requests.

    Args:
        app: the next ASGI app; `owner` has to be in the state already.
        visitors: where they are counted.
    """

    def __init__(self, app: ASGIApp, visitors: Visitors) -> None:
        self._app = app
        self._visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        owner = scope.get("state", {}).get("owner") if scope["type"] == "http" else None
        if isinstance(owner, str):
            self._visitors.see(owner)
        await self._app(scope, receive, send)


def metrics_route(service: ChatService, keys: Keys, visitors: Visitors) -> Route:
    """The route; asking it starts nothing."""

    def metrics(request: Request) -> PlainTextResponse:
        if not request.state.is_owner and not _has_key(request, keys):
            return PlainTextResponse("There is nothing here.\n", 404)
        return PlainTextResponse(_text(service, visitors), media_type=MEDIA_TYPE)

    return Route("/metrics", metrics, methods=["GET"])


def _has_key(request: Request, keys: Keys) -> bool:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(key.encode(), keys.owner.encode())


def _text(service: ChatService, visitors: Visitors) -> str:
    model = service.model
    lines = [
        *_metric("info", "gauge", "The program and its model.", {
            f'version="{_escaped(__version__)}",model="{_escaped(model.model_id)}",'
            f'precision="{_escaped(model.precision)}",phase="{_escaped(model.phase)}"': 1,
        }),
        *_metric("visitors", "gauge", "Visitors of the last 15 minutes.", {"": visitors.count()}),
        *_metric("memory_bytes", "gauge", "Resident memory of the process.", {
            "": psutil.Process().memory_info().rss,
        }),
        *_of_figures(service.figures()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _of_figures(figures: Figures) -> Iterator[str]:
    for name, help_text, counted, label in (
        ("answers_total", "Answers that ended, by state.", figures.answers, "state"),
        ("errors_total", "Answers that failed, by error.", figures.errors, "error"),
        ("refusals_total", "Events that were refused, by error.", figures.refusals, "error"),
    ):
        samples = {f'{label}="{_escaped(key)}"': count for key, count in sorted(counted.items())}
        yield from _metric(name, "counter", help_text, samples)
    yield from _metric("answers_running", "gauge", "Answers being written.", {"": figures.running})
    yield from _metric("answers_waiting", "gauge", "Answers waiting.", {"": figures.waiting})
    yield from _metric(
        "prompt_tokens_total", "counter", "Tokens of prompts.", {"": figures.prompt_tokens}
    )
    yield from _metric(
        "generated_tokens_total", "counter", "Tokens written.", {"": figures.generated_tokens}
    )
    yield from _summary(
        "first_token_seconds", "Seconds from sending to the first token.",
        figures.first_token_s, figures.first_tokens,
    )  # fmt: skip
    yield from _summary(
        "decode_tokens_per_second", "Tokens per second of decoding, of each answer.",
        figures.decode_tokens_per_s, figures.decodes,
    )  # fmt: skip


def _metric(name: str, kind: str, help_text: str, samples: Mapping[str, float]) -> Iterator[str]:
    """Lines of one metric; samples by their labels as they are written, "" for none."""
    yield f"# HELP chat_ui_{name} {help_text}"
    yield f"# TYPE chat_ui_{name} {kind}"
    for labels, value in samples.items():
        yield f"chat_ui_{name}{{{labels}}} {value}" if labels else f"chat_ui_{name} {value}"


def _summary(name: str, help_text: str, total: float, count: int) -> Iterator[str]:
    yield f"# HELP chat_ui_{name} {help_text}"
    yield f"# TYPE chat_ui_{name} summary"
    yield f"chat_ui_{name}_sum {total}"
    yield f"chat_ui_{name}_count {count}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
