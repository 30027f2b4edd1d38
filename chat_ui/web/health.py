"""`GET /healthz`: whether the server lives, and what its model is doing; nothing of visitors."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from chat_ui import __version__
from chat_ui.service import ChatService


def health_route(service: ChatService) -> Route:
    """The route; asking it starts nothing."""

    async def healthz(request: Request) -> JSONResponse:
        model, settings = service.model, service.settings
        return JSONResponse(
            {
                "status": "ok",
                "version": __version__,
                # An id may be a folder's path, which strangers have no business with.
                "model": model.label if settings.is_public else model.model_id,
                "precision": model.precision,
                "dtype": model.dtype,
                "phase": model.phase,
                # Its pages say so, and come back by themselves.
                "is_closed": service.is_paused,
            },
            headers={"cache-control": "no-store"},
        )

    return Route("/healthz", healthz, methods=["GET"])
