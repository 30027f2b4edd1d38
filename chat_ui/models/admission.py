"""Whether a model may be loaded at all, by its config alone: before a byte of it is downloaded.

    refuse(config, precision): unsafe, unknown to transformers, or quantized in a way that can't be
    read here

Whether it fits the memory is not asked here (`memory`, `forecast`).
"""

from collections.abc import Mapping
from typing import Any

from chat_ui.errors import ModelError
from chat_ui.models import safety
from chat_ui.models.quantization import Precision, quantized_as


def refuse(config: Mapping[str, Any], precision: Precision) -> None:
    """Refuse what can't or mustn't be loaded.

    Args:
        config: its config.json.
        precision: as asked for.

    Raises:
        ModelError: it is refused, with the reason and a next step.
    """
    safety.refuse_unsafe(config)
    reason = stored_reason(config, precision)
    if reason is not None:
        raise reason


def stored_reason(config: Mapping[str, Any], precision: Precision) -> ModelError | None:
    """Why a checkpoint that is quantized already can't be loaded so; None where it can."""
    quantized = quantized_as(config)
    if quantized is None:
        return None
    already = f"This model's files are quantized already ({quantized.label})"
    if not quantized.is_known:
        return ModelError(
            f"{already}, in a way that this app can't load.",
            "Choose a version of it that is not quantized.",
        )
    if quantized.packages:
        return ModelError(
            f"{already}, and a package for that is missing: {', '.join(quantized.packages)}.",
            f"Run: pip install {' '.join(quantized.packages)}. Or choose another version of it.",
        )
    if precision != "full":
        return ModelError(f"{already}.", "Choose Full: it loads them as they are.")
    return None
