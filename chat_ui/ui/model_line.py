"""The sentences on the server's one model, as every pulse brings them to every page.

    idle:     Qwen3 0.6B · 4-bit · bfloat16 · Ready
    loading:  Loading Qwen3 0.6B, 4-bit: Downloading 340 of 980 MB · 12 MB/s · 53 s left

Pure functions of values, and small: a page asks for them every second. What a model would take in
its other precisions is `model_card.py`.
"""

from typing import Any, Final

from chat_ui.service import PRECISION_LABELS, Loading, Measured, ModelStatus
from chat_ui.ui.quantities import duration, size, size_of

PHASES: Final = {
    "starting": "Starting…",
    "loading": "Loading…",
    "ready": "Ready",
    "unloaded": "Unloaded",
    "failed": "Not loaded",
}

STAGES: Final = {
    "checking": "Checking the model",
    "downloading": "Downloading",
    "making room": "Making room",
    "reading": "Reading weights",
    "quantizing": "Quantizing",
    "warming up": "Warming up",
}


def model_line(status: ModelStatus) -> dict[str, Any]:
    """The server's model, for the line at the top of every page and the panel "Model"."""
    facts = [_precision(status.precision), *([status.dtype] if status.dtype else [])]
    # The phase alone does not tell: a model may answer while another one is being loaded.
    is_settled = status.phase not in ("starting", "loading") and status.loading is None
    return {
        "revision": status.revision,
        "phase": status.phase,
        "is_settled": is_settled,
        "model": status.model_id,
        "precision": status.precision,
        "label": status.label,
        "facts": " · ".join(facts),
        "state": _state(status),
        "note": _note(status),
        "error": status.error or "",
        "seed": seed_note(status),
        "assisted": assisted_note(status),
        "system_prompt": system_prompt_note(status),
        "has_thinking_switch": status.has_thinking_switch,
        "loading": None if status.loading is None else loading(status.loading),
        "loaded": loaded(status),
    }


def loading(now: Loading) -> dict[str, Any]:
    """A load that is under way, for its line and its bar.

    `share` is None where nobody knows how much there is: then the bar only moves.
    """
    return {
        "model": now.model_id,
        "precision": now.precision,
        "name": now.name,
        "stage": "Cancelling" if now.is_cancelled else STAGES[now.stage],
        "sentence": progress(now),
        "share": min(now.done / now.total, 1.0) if now.total else None,
        "is_cancelled": now.is_cancelled,
    }


def progress(now: Loading) -> str:
    """How far a load is: "Downloading 340 of 980 MB · 12 MB/s · 53 s left", "Warming up…"."""
    if now.is_cancelled:
        return "Cancelling…"
    if now.note:
        return now.note
    stage = STAGES[now.stage]
    if now.stage == "downloading":
        done = size(now.done) if now.total is None else size_of(now.done, now.total)
        pace = f"{size(round(now.bytes_per_s))}/s" if now.bytes_per_s else ""
        left = f"{duration(now.left_s)} left" if now.left_s is not None else ""
        return " · ".join(
            filter(None, (f"{stage} {done}" if now.done else f"{stage}…", pace, left))
        )
    if now.stage in ("reading", "quantizing") and now.total:
        return f"{stage} {now.done:,} of {now.total:,}"
    return f"{stage}…"


def loaded(status: ModelStatus) -> list[str]:
    """What was counted and measured of the model that answers: lines, none while none does."""
    if status.phase != "ready":
        return []
    weights = f"{size(status.weight_bytes)} of weights" if status.weight_bytes else ""
    counted = " · ".join(filter(None, (weights, modules(status))))
    return list(filter(None, (counted, *against_forecast(status.measured))))


def modules(status: ModelStatus) -> str:
    """The modules with weights: "210 Linear4bit, 2 left alone", or "211 Linear, 1 Embedding"."""
    left = status.left_modules
    quantized = [f"{count:,} {name}" for name, count in status.quantized_modules]
    if not quantized:
        return ", ".join(f"{count:,} {name}" for name, count in left)
    return ", ".join([*quantized, f"{sum(count for _, count in left):,} left alone"])


def against_forecast(measured: Measured | None) -> list[str]:
    """What was measured, beside what had been forecast: a sentence for speed, one for memory."""
    if measured is None:
        return []
    lines = []
    if measured.tokens_per_s is not None:
        forecast = measured.forecast_tokens_per_s
        of = f" of {forecast:,.1f} forecast" if forecast is not None else ""
        lines.append(f"Measured {measured.tokens_per_s:,.1f}{of} tokens/s")
    # What the program grew by says more than its weights; it can't always be told.
    for taken, forecast_bytes, what in (
        (measured.growth_bytes, measured.forecast_growth_bytes, "memory"),
        (measured.weight_bytes, measured.forecast_weight_bytes, "weights"),
    ):
        if taken is not None and forecast_bytes:
            lines.append(f"Measured {size_of(taken, forecast_bytes)} forecast {what}")
            break
    return lines


def seed_note(status: ModelStatus) -> str:
    """When a seed repeats an answer, for the control; empty while no model is loaded."""
    if status.dtype is None:
        return ""
    if status.repeats_in_company:
        return "A seed repeats an answer exactly."
    return (
        "A seed repeats an answer exactly only if it is unassisted and nobody else is being "
        "answered."
    )


def assisted_note(status: ModelStatus) -> str:
    """What drafts tokens for the loaded model, for its control; empty while there is none."""
    if status.dtype is None:
        return ""
    if not status.drafter:
        return "This model can't be assisted."
    drafts = f"The drafts come from {status.drafter}."
    if not status.is_mixture:
        return drafts
    return f"{drafts} With a mixture of experts, such as this model, it seldom helps."


def system_prompt_note(status: ModelStatus) -> str:
    """What becomes of a system prompt where the loaded model's template has no place for it."""
    if not status.folds_system_prompt:
        return ""
    return "This model knows no system prompt: it is put before your first message."


def _state(status: ModelStatus) -> str:
    is_busy = status.phase in ("starting", "loading")
    return status.note if is_busy and status.note else PHASES[status.phase]


def _note(status: ModelStatus) -> str:
    """What stands below the model's name: how far a load is, else what there is to know."""
    now = status.loading
    if status.phase in ("starting", "loading"):
        return "" if now is None else progress(now)  # the state has its name
    if now is not None:
        return f"Loading {now.name}: {progress(now)}"
    beside = f"Also in memory: {'; '.join(status.others)}." if status.others else ""
    return " ".join(filter(None, (status.note, beside)))


def _precision(precision: str) -> str:
    return "Full precision" if precision == "full" else PRECISION_LABELS[precision]
