"""One small request to the Hub, bounded in time and in size. Models are not downloaded here.

The Hub client's own calls have no such bounds, and some try again for minutes (huggingface_hub 2.4,
`HfApi.auth_check`, `utils._pagination`). Which Hub, whether it may be asked, and whose token is
sent are still the client's settings: HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN, `hf auth login`.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any, Final

from chat_ui import __version__
from chat_ui.errors import AccessError, HubError
from chat_ui.models import hub_errors

# Between two pieces of an answer, and for the whole of it.
PIECE_TIMEOUT_S: Final = 10.0
DEADLINE_S: Final = 20.0

# What the Hub says of a repository with ten thousand files is about 2 MB.
_MOST_BYTES: Final = 20_000_000

_TOKEN = re.compile(r"[!-~]{1,1000}", re.ASCII)


def fetch_json(
    path: str, model_id: str = "", token: str | None = None, params: Mapping[str, Any] | None = None
) -> Any:
    """What the Hub answers, parsed; the arguments and errors of `fetch`."""
    body = fetch(path, model_id, token, params)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise not_understood() from error


def fetch(
    path: str,
    model_id: str = "",
    token: str | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    most_bytes: int = _MOST_BYTES,
) -> bytes:
    """The body of the Hub's answer.

    Args:
        path: with its leading slash.
        model_id: which model the errors name; "" for none.
        token: a token of the Hub; None for the one that the Hub client finds, if any.
        params: of the query; a list is sent as several of one name.
        most_bytes: a longer answer is an error.

    Raises:
        ModelError: one of its kinds, for whatever goes wrong.
    """
    import httpx2
    from huggingface_hub import constants, get_session

    end_s = time.monotonic() + DEADLINE_S
    body = bytearray()
    try:
        with get_session().stream(
            "GET",
            constants.ENDPOINT + path,
            params=params,
            headers=headers(token),
            timeout=PIECE_TIMEOUT_S,
        ) as response:
            if not response.is_success:
                raise hub_errors.refusal(model_id, response.status_code, response.headers)
            for piece in response.iter_bytes():
                body += piece
                if len(body) > most_bytes:
                    raise not_understood()
                if time.monotonic() > end_s:
                    raise httpx2.ReadTimeout("the whole answer")
    except Exception as error:
        raise hub_errors.as_model_error(error, model_id) from error
    return bytes(body)


def headers(token: str | None) -> dict[str, str]:
    """What goes with every request: who asks and, if there is one, the token.

    Raises:
        AccessError: it could not be a token.
    """
    from huggingface_hub import constants, get_token

    sent = (token or "").strip()
    if not sent and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        sent = get_token() or ""
    asks = {"user-agent": f"chat_ui/{__version__}"}
    if not sent:
        return asks
    if _TOKEN.fullmatch(sent) is None:  # a header can't hold it, and errors would quote it
        raise AccessError(
            "This is not a token of the Hub.",
            "Copy it again; it begins with hf_ and has no spaces.",
        )
    return asks | {"authorization": f"Bearer {sent}"}


def not_understood() -> HubError:
    """The error for an answer that is no answer of the Hub."""
    return HubError(
        "The Hub's answer can't be understood.",
        "Check what HF_ENDPOINT and the proxy point to, or try again later.",
    )
