"""What the service says of its model; a value, kept by `state.py` and shown by every page."""

from dataclasses import dataclass
from typing import Literal

from chat_ui.engine.protocol import EngineFacts, ModuleCounts
from chat_ui.models.progress import LoadStage
from chat_ui.models.quantization import QUANTIZATIONS, Precision
from chat_ui.models.spec import ModelSpec
from chat_ui.service.cards import Measured

ModelPhase = Literal[
    "starting",
    "loading",
    "ready",
    "unloaded",  # by hand, or as nobody used it; the next message loads it again
    "failed",
]


@dataclass(frozen=True, slots=True)
class Loading:
    """A load at one moment.

    Attributes:
        model_id: of what is being loaded.
        name: the model and its precision, as a person reads them.
        precision: its precision.
        stage: what is being done.
        done: bytes while downloading, else weights.
        total: how many there are in all; None where that is not known.
        bytes_per_s: of a download, over the last seconds; None elsewhere.
        left_s: seconds that a download will still take; None where that can't be told.
        note: a sentence on what it waits for; may be empty.
        is_cancelled: somebody has cancelled it, and it is about to end.
    """

    model_id: str
    name: str
    precision: Precision
    stage: LoadStage
    done: int = 0
    total: int | None = None
    bytes_per_s: float | None = None
    left_s: float | None = None
    note: str = ""
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Which model the server has, as every page shows it.

    Attributes:
        revision: grows with every change.
        phase: what the server can do: "loading" where no model answers until one is loaded.
        model_id: of the model that answers, or of the one that is being loaded first.
        label: its name on the page.
        precision: its precision.
        dtype: of its weights that are not quantized; None until one is loaded.
        note: a sentence on what is going on, or why the dtype is what it is; may be empty.
        error: why the last change failed; None after one that worked.
        drafter: what drafts for assisted generation; "" where nothing can, or nothing is loaded.
        is_mixture: a mixture of experts, which assisted generation seldom helps.
        folds_system_prompt: its template has no system role, so the system prompt is put before the
            first user message.
        has_thinking_switch: an answer can be asked for with or without a thought before it.
        repeats_in_company: whether a seed repeats an answer while others are being written, too.
            Other numbers than float32 round differently in batches of another size.
        others: names of the models that stay in memory beside it.
        weight_bytes: what its weights take; None until one is loaded.
        quantized_modules: its layers with quantized weights, by class: ("Linear4bit", 210).
        left_modules: the others with weights: ("Linear", 1), ("Embedding", 1).
        measured: what it took and did, beside what was forecast; None before its first answer.
        loading: the load that is under way, for which the model that answers may have to leave.
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
    folds_system_prompt: bool = False
    has_thinking_switch: bool = False
    repeats_in_company: bool = True
    others: tuple[str, ...] = ()
    weight_bytes: int | None = None
    quantized_modules: ModuleCounts = ()
    left_modules: ModuleCounts = ()
    measured: Measured | None = None
    loading: Loading | None = None


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
        "folds_system_prompt": facts.folds_system_prompt,
        "has_thinking_switch": facts.thinking.has_switch,
        "repeats_in_company": facts.dtype == "float32" and facts.precision == "full",
        "weight_bytes": facts.weight_bytes,
        "quantized_modules": facts.quantized_modules,
        "left_modules": facts.left_modules,
    }


NO_MODEL: dict[str, object] = {
    "dtype": None,
    "note": "",
    "drafter": "",
    "is_mixture": False,
    "folds_system_prompt": False,
    "has_thinking_switch": False,
    "repeats_in_company": True,
    "weight_bytes": None,
    "quantized_modules": (),
    "left_modules": (),
}


def named(spec: ModelSpec, precision: Precision) -> str:
    """A model and its precision, as a person reads it."""
    return f"{spec.label}, {QUANTIZATIONS[precision].label}"
