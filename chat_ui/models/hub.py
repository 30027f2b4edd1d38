"""Brings a model's files from the Hub to this machine, or finds them where they were brought.

It takes only what loading reads: never a pickle, never code. A token is the Hub client's own
business (`hf auth login`, HF_TOKEN); none passes through here.
"""

import errno
import logging
from pathlib import Path
from typing import Final

from chat_ui.errors import ModelError, ModelNotFoundError

log = logging.getLogger(__name__)

_WANTED: Final = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
# Patterns match in folders, too: those hold other formats. Mistral's repositories have all weights
# twice.
_UNWANTED: Final = ["*/*", "consolidated*"]


def download(model_id: str) -> Path:
    """The folder of a Hub model's files; blocks while they come.

    Raises:
        ModelNotFoundError: the Hub has no such model, or not for this account.
        ModelError: it is gated, the Hub can't be reached, or the disk is full.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model_id, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except Exception as error:
        raise _as_model_error(model_id, error) from error


def _as_model_error(model_id: str, error: Exception) -> ModelError:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"{model_id} is gated: its owner gives access on request.",
            f"Ask for it at https://huggingface.co/{model_id}, then run: hf auth login.",
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return ModelNotFoundError(
            f"The Hub has no model {model_id}, or it is private.",
            "Check the name; for a private model run: hf auth login.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ModelError(
            f"The disk is full: {model_id} did not fit.",
            "Free some space, or point HF_HOME to a larger disk.",
        )
    if isinstance(error, errors.LocalEntryNotFoundError | ConnectionError | TimeoutError):
        return ModelError(
            f"{model_id} is not on this machine, and the Hub can't be reached.",
            "Check the connection (HF_HUB_OFFLINE forbids it), or give a model's folder.",
        )
    log.error("Downloading %s failed.", model_id, exc_info=error)
    return ModelError(
        f"{model_id} could not be downloaded ({type(error).__name__}).",
        "Try again later; the server's log has the details.",
    )
