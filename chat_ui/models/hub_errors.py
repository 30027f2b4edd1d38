"""What goes wrong with the Hub, in a sentence and a next step each.

An answer is judged by its status and the headers in which the Hub says more; its body is not read.
No sentence holds a token, an address that was signed for somebody, or a library's own text.
"""

import errno
import logging
from collections.abc import Mapping
from typing import Final

from chat_ui.errors import (
    AccessError,
    BadCheckpointError,
    ChatUIError,
    HubError,
    ModelError,
    ModelNotFoundError,
)

log = logging.getLogger(__name__)

_SITE: Final = "https://huggingface.co"
_TOKENS: Final = f"{_SITE}/settings/tokens"
_LOG_IN: Final = "run: hf auth login, set HF_TOKEN, or give a token here"


def as_model_error(error: Exception, model_id: str = "") -> ModelError:
    """The error to show for any exception of a request to the Hub.

    Args:
        error: what was raised.
        model_id: which model was asked for; "" where none was.
    """
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, ModelError):
        return error
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return as_model_error(error.__cause__, model_id)  # why the client looked here at all
    response = getattr(error, "response", None)
    if isinstance(error, ChatUIError):
        return ModelError(error.sentence, error.next_step)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(model_id)
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ModelError(
            "The Hub cache can't be written to.",
            "Check the permissions of its folder, or point HF_HOME to another one.",
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return offline(model_id)
    if isinstance(response, httpx2.Response):
        return refusal(model_id, response.status_code, response.headers)
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return HubError(
            "The Hub took too long to answer.",
            "Check the connection and try again; models that are here already work without it.",
        )
    if isinstance(error, httpx2.TransportError | ConnectionError | errors.LocalEntryNotFoundError):
        return unreachable(model_id)
    log.error("A request to the Hub for %r failed.", model_id, exc_info=error)
    return HubError(
        f"The Hub could not be asked ({type(error).__name__}).",
        "Try again later; the server's log has the details.",
    )


def refusal(model_id: str, status: int, headers: Mapping[str, str]) -> ModelError:
    """The error for an answer of the Hub that is none.

    Args:
        model_id: which model was asked for; "" where none was.
        status: HTTP's.
        headers: of the answer; names in lower case, or looked up without regard to it.
    """
    code, message = headers.get("x-error-code", ""), headers.get("x-error-message", "").lower()
    if status == 429:
        return _rate_limited(headers)
    if status >= 500:
        return HubError(
            f"The Hub has trouble of its own (HTTP {status}).",
            "Try again in a few minutes; models that are here already work without it.",
        )
    if not model_id and status in (403, 404):
        return HubError(
            f"The Hub refused the search (HTTP {status}).",
            "Check HF_ENDPOINT and the proxy, if there is one; models that are here already work.",
        )
    if "invalid credentials" in message:
        return AccessError(
            "The Hub doesn't know this token.", f"Make a new one at {_TOKENS}, then {_LOG_IN}."
        )
    if "resource is disabled" in message:
        return AccessError(f"The Hub has disabled {model_id}.", "Choose another model.")
    if "fine-grained" in message or (status == 403 and code != "GatedRepo"):
        return AccessError(
            f"The token may not read {model_id}.",
            f"At {_TOKENS}, let it read this repository (for a gated one: public gated "
            "repositories), or take a token of type Read.",
        )
    if code == "GatedRepo":
        return _gated(model_id, status, message)
    if code == "EntryNotFound":
        return BadCheckpointError(
            f"{model_id} lacks a file that every transformers model has.", "Choose another model."
        )
    if status in (401, 404):
        return not_found(model_id, status)
    return HubError(f"The Hub refused to answer (HTTP {status}).", "Try again later.")


def not_found(model_id: str, status: int = 404) -> ModelNotFoundError:
    """The error where there is no such repository; the Hub says the same of a private one."""
    step = f"For a private one {_LOG_IN}" if status == 401 else "This account may not see it"
    return ModelNotFoundError(
        f"The Hub has no model {model_id}, or it is private.", f"Check the name. {step}."
    )


def offline(model_id: str = "") -> HubError:
    """The error where HF_HUB_OFFLINE forbids to ask."""
    return HubError(
        f"{model_id or 'The Hub'} can't be reached: HF_HUB_OFFLINE is set.",
        "Choose a model that is on this machine, or start without HF_HUB_OFFLINE.",
    )


def unreachable(model_id: str = "") -> HubError:
    """The error where there is no way to the Hub."""
    lead = f"{model_id} is not on this machine, and the" if model_id else "The"
    return HubError(
        f"{lead} Hub can't be reached.",
        "Check the connection; models that are here already work without it.",
    )


def disk_full(model_id: str) -> ModelError:
    """The error where the disk became full all the same."""
    return ModelError(
        f"The disk is full: {model_id} did not fit.",
        "Free some space, or point HF_HOME to a larger disk; what arrived is kept.",
    )


def _gated(model_id: str, status: int, message: str) -> AccessError:
    page = f"{_SITE}/{model_id}"
    if status == 401:
        return AccessError(
            f"{model_id} is gated, and nobody is logged in.",
            f"Accept its licence at {page}, then {_LOG_IN}.",
        )
    if "awaiting" in message:
        return AccessError(
            f"Access to {model_id} was asked for, and its owner has not answered yet.",
            f"Wait for the answer ({page}), or choose another model.",
        )
    if "rejected" in message:
        return AccessError(f"The owner of {model_id} gave no access.", "Choose another model.")
    return AccessError(
        f"{model_id} is gated, and this account has not accepted its licence.",
        f"Accept it at {page}, then try again.",
    )


def _rate_limited(headers: Mapping[str, str]) -> HubError:
    after = headers.get("retry-after", "").strip()
    when = f"in {after} seconds" if after.isdecimal() and len(after) < 6 else "in a few minutes"
    return HubError(
        "The Hub takes no more requests from here for now.",
        f"Try again {when}; it takes more from who is logged in (hf auth login).",
    )
