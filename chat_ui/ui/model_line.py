"""The sentences on the server's one model, as every pulse brings them to every page.

    idle:     Qwen3 0.6B · 4-bit · bfloat16 · Ready
    loading:  Loading Qwen3 0.6B, 4-bit: Downloading 340 of 980 MB · 12 MB/s · 53 s left

Pure functions of values, and small: a page asks for them every second. What a model would take in
its other precisions is `model_card.py`.
"""

from typing import Any

from chat_ui.service import BUILT_IN_ID, Loading, Measured, ModelStatus
from chat_ui.ui.quantities import duration, size, size_of
from chat_ui.ui.texts import ENGLISH, Texts


def model_line(status: ModelStatus, say: Texts = ENGLISH) -> dict[str, Any]:
    """The server's model, for the line at the top of every page and the panel "Model"."""
    facts = [_precision(status.precision, say), *([status.dtype] if status.dtype else [])]
    # The phase alone does not tell: a model may answer while another one is being loaded.
    is_settled = status.phase not in ("starting", "loading") and status.loading is None
    return {
        "revision": status.revision,
        "phase": status.phase,
        "is_settled": is_settled,
        "model": status.model_id,
        "is_english_only": status.model_id == BUILT_IN_ID,
        "precision": status.precision,
        "label": status.label,
        "facts": " · ".join(facts),
        "state": _state(status, say),
        "note": _note(status, say),
        "error": status.error or "",
        "seed": seed_note(status, say),
        "assisted": assisted_note(status, say),
        "system_prompt": system_prompt_note(status, say),
        "has_thinking_switch": status.has_thinking_switch,
        "loading": None if status.loading is None else loading(status.loading, say),
        "loaded": loaded(status, say),
    }


def loading(now: Loading, say: Texts = ENGLISH) -> dict[str, Any]:
    """A load that is under way, for its line and its bar.

    `share` is None where nobody knows how much there is: then the bar only moves.
    """
    return {
        "model": now.model_id,
        "precision": now.precision,
        "name": now.name,
        "stage": say("line.cancelling") if now.is_cancelled else _stage(now, say),
        "sentence": progress(now, say),
        "share": min(now.done / now.total, 1.0) if now.total else None,
        "is_cancelled": now.is_cancelled,
    }


def progress(now: Loading, say: Texts = ENGLISH) -> str:
    """How far a load is: "Downloading 340 of 980 MB · 12 MB/s · 53 s left", "Warming up…"."""
    if now.is_cancelled:
        return f"{say('line.cancelling')}…"
    if now.note:
        return now.note
    stage = _stage(now, say)
    if now.stage == "downloading":
        done = size(now.done, say) if now.total is None else size_of(now.done, now.total, say)
        pace = f"{size(round(now.bytes_per_s), say)}/s" if now.bytes_per_s else ""
        left = say("line.left", time=duration(now.left_s, say)) if now.left_s is not None else ""
        return " · ".join(
            filter(None, (f"{stage} {done}" if now.done else f"{stage}…", pace, left))
        )
    if now.stage in ("reading", "quantizing") and now.total:
        done, total = say.number(now.done), say.number(now.total)
        return say("line.of", stage=stage, done=done, total=total)
    return f"{stage}…"


def loaded(status: ModelStatus, say: Texts = ENGLISH) -> list[str]:
    """What was counted and measured of the model that answers: lines, none while none does."""
    if status.phase != "ready":
        return []
    much = status.weight_bytes
    weights = say("line.weights", size=size(much, say)) if much else ""
    counted = " · ".join(filter(None, (weights, modules(status, say))))
    return list(filter(None, (counted, *against_forecast(status.measured, say))))


def modules(status: ModelStatus, say: Texts = ENGLISH) -> str:
    """The modules with weights: "210 Linear4bit, 2 left alone", or "211 Linear, 1 Embedding"."""
    left = status.left_modules
    quantized = [f"{say.number(count)} {name}" for name, count in status.quantized_modules]
    if not quantized:
        return ", ".join(f"{say.number(count)} {name}" for name, count in left)
    alone = say("line.left_alone", sum(count for _, count in left))
    return ", ".join([*quantized, alone])


def against_forecast(measured: Measured | None, say: Texts = ENGLISH) -> list[str]:
    """What was measured, beside what had been forecast: a sentence for speed, one for memory."""
    if measured is None:
        return []
    lines = []
    if measured.tokens_per_s is not None:
        forecast = measured.forecast_tokens_per_s
        speed = say.number(measured.tokens_per_s, 1)
        lines.append(
            say("line.measured_speed", rate=speed)
            if forecast is None
            else say("line.measured_of_speed", rate=speed, forecast=say.number(forecast, 1))
        )
    # What the program grew by says more than its weights; it can't always be told.
    for taken, forecast_bytes, what in (
        (measured.growth_bytes, measured.forecast_growth_bytes, "line.measured_memory"),
        (measured.weight_bytes, measured.forecast_weight_bytes, "line.measured_weights"),
    ):
        if taken is not None and forecast_bytes:
            forecast_size = size(forecast_bytes, say)
            lines.append(say(what, size=size(taken, say), forecast=forecast_size))
            break
    return lines


def seed_note(status: ModelStatus, say: Texts = ENGLISH) -> str:
    """When a seed repeats an answer, for the control; empty while no model is loaded."""
    if status.dtype is None:
        return ""
    return say("line.seed" if status.repeats_in_company else "line.seed_alone")


def assisted_note(status: ModelStatus, say: Texts = ENGLISH) -> str:
    """What drafts tokens for the loaded model, for its control; empty while there is none."""
    if status.dtype is None:
        return ""
    if not status.drafter:
        return say("line.not_assisted")
    return say("line.drafts_mixture" if status.is_mixture else "line.drafts", name=status.drafter)


def system_prompt_note(status: ModelStatus, say: Texts = ENGLISH) -> str:
    """What becomes of a system prompt where the loaded model's template has no place for it."""
    return say("line.folded") if status.folds_system_prompt else ""


def _stage(now: Loading, say: Texts) -> str:
    return say(f"line.{now.stage.replace(' ', '_')}")


def _state(status: ModelStatus, say: Texts) -> str:
    is_busy = status.phase in ("starting", "loading")
    return status.note if is_busy and status.note else say(f"line.{status.phase}")


def _note(status: ModelStatus, say: Texts) -> str:
    """What stands below the model's name: how far a load is, else what there is to know."""
    now = status.loading
    if status.phase in ("starting", "loading"):
        return "" if now is None else progress(now, say)  # the state has its name
    if now is not None:
        return say("line.loading_of", name=now.name, progress=progress(now, say))
    beside = say("line.also", names="; ".join(status.others)) if status.others else ""
    return " ".join(filter(None, (status.note, beside)))


def _precision(precision: str, say: Texts) -> str:
    return say("line.full") if precision == "full" else say.precision(precision)
