"""Why a model could not be loaded, in a sentence. What was not foreseen is logged in full.

The library's exceptions are told apart by their texts, as it has no types for most of them.
"""

import logging
import re

import torch

from chat_ui.errors import BadCheckpointError, ChatUIError, ModelError
from chat_ui.models.quantization import QUANTIZATIONS, Precision
from chat_ui.models.spec import ModelSpec

log = logging.getLogger(__name__)

_OUT_OF_MEMORY = re.compile(r"out of memory|not enough memory|allocate memory", re.IGNORECASE)
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][\w.@~+-]+){2,}[\\/]?")


def as_model_error(error: Exception, spec: ModelSpec, precision: Precision) -> ModelError:
    """The error to show for any error while loading."""
    text = str(error)
    if isinstance(error, ModelError):
        return error
    if isinstance(error, ChatUIError):
        return ModelError(error.sentence, error.next_step)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _OUT_OF_MEMORY.search(text):
        log.error("Out of memory while loading %s: %s", spec.id, text)
        return ModelError(
            f"There is not enough memory for {spec.label} in {QUANTIZATIONS[precision].label}.",
            "Choose 4-bit or a smaller model, or close other programs.",
        )
    log.error("Loading %s failed.", spec.id, exc_info=error)
    if "ignore_mismatched_sizes" in text or "size mismatch" in text:
        return BadCheckpointError(
            f"The weights of {spec.label} don't match its config.json.",
            "Copy the model's files again.",
        )
    if "bitsandbytes" in text or getattr(error, "name", None) == "bitsandbytes":
        return ModelError(
            f"bitsandbytes can't be used on this machine ({_short(text)}).",
            "Choose Full, or reinstall the packages in requirements.txt.",
        )
    if "Unrecognized configuration class" in text:
        return ModelError(f"{spec.label} is not a model that writes text.", "Choose a chat model.")
    return ModelError(
        f"{spec.label} could not be loaded ({type(error).__name__}: {_short(text)}).",
        "Choose another model; the server's log has the details.",
    )


def _short(text: str) -> str:
    """The first line, without paths, which are nobody's business on a shared page."""
    line = _PATH.sub("…", text.strip().partition("\n")[0])
    return line if len(line) <= 160 else f"{line[:159]}…"
