"""What becomes of visitors' words: `GET /privacy` says it, `POST /forget` deletes one's all."""

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from chat_ui.errors import ChatUIError
from chat_ui.service import ChatService


def privacy_route(page: Callable[[str], str]) -> Route:
    """The page.

    Args:
        page: gives its HTML, for an Accept-Language header.
    """

    async def privacy(request: Request) -> HTMLResponse:
        html = page(request.headers.get("accept-language", ""))
        return HTMLResponse(html, headers={"vary": "Accept-Language"})

    return Route("/privacy", privacy, methods=["GET"])


def forget_route(service: ChatService) -> Route:
    """Deletes all of the visitor's conversations for good, then takes the cookie away.

    204 when that is done, also for who has no cookie: nothing is theirs. 503 with a sentence where
    something is left, and the cookie is, too.
    """

    async def forget(request: Request) -> Response:
        owner: str | None = request.state.owner
        try:
            if owner is not None:
                await run_in_threadpool(service.forget, owner)
        except ChatUIError as error:
            return PlainTextResponse(f"{error}\n", 503)
        return Response(status_code=204, headers={"set-cookie": request.state.dropped_cookie})

    return Route("/forget", forget, methods=["POST"])
