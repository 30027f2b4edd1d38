"""Who asks: the owner that the session cookie stands for, and the page it asks from."""

from typing import Any

import gradio as gr

from chat_ui.errors import NoCookieError


def owner_of(request: gr.Request | None) -> str:
    """The visitor's owner, put into the request by `web/session.py`.

    Args:
        request: Gradio's request, or the plain one that a server function gets.

    Raises:
        NoCookieError: the browser sent no session cookie.
    """
    plain: Any = getattr(request, "request", request)
    owner = getattr(getattr(plain, "state", None), "owner", None)
    if not isinstance(owner, str) or not owner:
        raise NoCookieError
    return owner


def is_owner(request: gr.Request | None) -> bool:
    """Whether this server is the visitor's own, as `web/key.py` has found."""
    plain: Any = getattr(request, "request", request)
    return getattr(getattr(plain, "state", None), "is_owner", None) is True


def address_of(request: gr.Request) -> str:
    """Where the visitor asks from, put into the request by `web/session.py`; "" if not known."""
    plain: Any = getattr(request, "request", request)
    return str(getattr(plain.state, "address", ""))


def login_of(request: gr.Request) -> str:
    """The name that the server's owner has logged in with, as `web/login.py` has found; or ""."""
    plain: Any = getattr(request, "request", request)
    return str(getattr(plain.state, "login", ""))


def page_of(request: gr.Request) -> tuple[str, str]:
    """Which open page of which owner. The page's name for itself is Gradio's session hash.

    Raises:
        NoCookieError: the browser sent no session cookie.
    """
    return owner_of(request), str(request.session_hash or "")
