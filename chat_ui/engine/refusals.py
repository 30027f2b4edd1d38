"""Refuses a model before a weight of it is read, for what its files and this machine say.

It is unsafe, unknown, quantized in a way that can't be read here, or too large. Whether it may be
had at all, and whether its files are whole, was found out before (`models/`).
"""

import logging
from typing import Final

from chat_ui.errors import BadCheckpointError, ModelError
from chat_ui.models import admission, memory, meta_model, safety
from chat_ui.models.checkpoint import Checkpoint
from chat_ui.models.memory import DeviceKind
from chat_ui.models.quantization import QUANTIZATIONS, Precision, quantized_as

log = logging.getLogger(__name__)

# Where less is missing, the loader says which weights, and what is made up takes no more than they.
_LEAST_SHARE: Final = 0.5


def refuse(found: Checkpoint, precision: Precision, *, anyway: bool = False) -> None:
    """Refuse what can't or mustn't be loaded. Call it on a thread that ends: it calls torch.

    Args:
        found: the checkpoint.
        precision: as asked for.
        anyway: take it though memory seems too short.

    Raises:
        ModelError: it is refused, with the reason and a next step.
    """
    admission.refuse(found.config, precision)
    safety.refuse_unsafe_files(found.folder)
    _refuse_unknown(found)
    _refuse_incomplete(found)
    kind = memory.device_kind()
    if kind != "cpu" and QUANTIZATIONS[precision].is_for_cpu:
        raise ModelError(
            f"{QUANTIZATIONS[precision].label} is for a CPU; this machine has a GPU.",
            "Choose 8-bit or 4-bit.",
        )
    if not anyway:
        _refuse_too_large(found, precision, kind)


def _refuse_unknown(found: Checkpoint) -> None:
    from transformers import CONFIG_MAPPING

    if found.model_type not in CONFIG_MAPPING:
        raise ModelError(
            f"The installed transformers doesn't know the architecture {found.model_type!r}, and a "
            "model's own code is never run here.",
            "Update transformers, or choose another model.",
        )


def _refuse_incomplete(found: Checkpoint) -> None:
    """Raises BadCheckpointError where files hold far less than the config describes.

    The library would make the rest up first: 3.3 billion random numbers took 5.9 GB, and no cancel
    was heard meanwhile.
    """
    if quantized_as(found.config) is not None:  # several numbers are packed into one
        return
    try:
        described = sum(one.numel() for one in meta_model.build(found.config).parameters())
    except ModelError as error:  # the library may know better
        log.info("%s could not be counted: %s", found.folder.name, error)
        return
    if found.parameters < _LEAST_SHARE * described:
        raise BadCheckpointError(
            f"The weights in {found.folder.name} don't match its config.json: they have "
            f"{found.parameters:,} of {described:,} parameters.",
            "Get the model's files again, or choose another model.",
        )


def _refuse_too_large(found: Checkpoint, precision: Precision, kind: DeviceKind) -> None:
    needed, free = memory.needed_bytes(found, precision, kind), memory.free_bytes(kind)
    if needed > free:
        log.warning("Refused to load %s: needs %d bytes, free %d", found.folder, needed, free)
        raise ModelError(
            f"Loading this model takes about {needed / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB "
            "are free.",
            "Choose a smaller model, or close other programs.",
        )
