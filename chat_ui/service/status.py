"""What the service says of its model; a value, made by `host.py` and shown by every page."""

from dataclasses import dataclass
from typing import Literal

from chat_ui.engine.protocol import EngineFacts
from chat_ui.models.quantization import QUANTIZATIONS, Precision
from chat_ui.models.spec import ModelSpec

ModelPhase = Literal[
    "starting",
    "loading",
    "ready",
    "unloaded",  # nobody used it for a while; the next message loads it again
    "failed",
]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Which model the server has, as every page shows it.

    Attributes:
        revision: grows with every change.
        phase: what the server is doing.
        model_id: of the model that answers, or of the one that is being loaded first.
        label: its name on the page.
        precision: its precision.
        dtype: of its weights that are not quantized; None until one is loaded.
        note: a sentence on what is going on, or why the dtype is what it is; may be empty.
        error: why the last change failed; None after one that worked.
        drafter: what drafts for assisted generation; "" where nothing can, or nothing is loaded.
        is_mixture: a mixture of experts, which assisted generation seldom helps.
        repeats_in_company: whether a seed repeats an answer while others are being written, too.
            Other numbers than float32 round differently in batches of another size.
        others: names of the models that stay in memory beside it.
    """

    revision: int
    phase: ModelPhase
    model_id: str
    label: str
    precision: Precision
    dtype: str | None = None
    note: str = ""
    error: str | None = None
    drafter: str = ""
    is_mixture: bool = False
    repeats_in_company: bool = True
    others: tuple[str, ...] = ()


def of_facts(facts: EngineFacts) -> dict[str, object]:
    """What a loaded model says of itself, by the names of ModelStatus."""
    return {
        "model_id": facts.spec.id,
        "label": facts.spec.label,
        "precision": facts.precision,
        "dtype": facts.dtype,
        "note": facts.dtype_reason,
        "drafter": facts.drafter,
        "is_mixture": facts.is_mixture,
        "repeats_in_company": facts.dtype == "float32" and facts.precision == "full",
    }


NO_MODEL: dict[str, object] = {
    "dtype": None,
    "note": "",
    "drafter": "",
    "is_mixture": False,
    "repeats_in_company": True,
}


def named(spec: ModelSpec, precision: Precision) -> str:
    """A model and its precision, as a person reads it."""
    return f"{spec.label}, {QUANTIZATIONS[precision].label}"
