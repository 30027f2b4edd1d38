"""The sentences on models to choose from: the picker's options, and one model in full.

    Choice -> option        "SmolLM2 1.7B", "1.7B", "Fits in 4-bit"
    ModelCard -> card       counts, precisions with their memory and speed, what a button would do

Pure functions of the service's values, which give JSON that the page's script writes as text. They
forecast nothing and ask nobody.
"""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final

from chat_ui.service import (
    PRECISION_LABELS,
    Choice,
    ChoiceGroup,
    ModelCard,
    PrecisionCard,
    PrecisionForecast,
)
from chat_ui.ui.model_line import against_forecast
from chat_ui.ui.quantities import duration, pace, parameters, popularity, size

GROUPS: Final = {
    "here": "On this machine",
    "fits": "Fits this machine",
    "tight": "Tight",
    "no": "Too large for this machine",
    "unknown": "Not known yet",
}
VERDICTS: Final = {"fits": "Fits", "tight": "Tight", "no": "Too large"}

# A prompt of a page or two, such as a question about a text.
PROMPT_TOKENS: Final = 1000
SMALLEST_CONTEXT: Final = 2048

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

Json = dict[str, Any]


def groups(of: Sequence[ChoiceGroup]) -> list[Json]:
    """The picker's groups; those without a choice are left out."""
    return [
        {"title": GROUPS[group.kind], "options": options(group.choices)}
        for group in of
        if group.choices
    ]


def options(choices: Sequence[Choice]) -> list[Json]:
    """The picker's options."""
    return [_option(choice) for choice in choices]


def _option(choice: Choice) -> Json:
    said = []
    if choice.downloads is not None:
        said.append(f"{popularity(choice.downloads)} downloads")
    if choice.likes is not None:
        said.append(f"{popularity(choice.likes)} likes")
    return {
        "id": choice.id,
        "label": choice.label,
        "size": short_count(choice),
        "tags": list(choice.tags),
        "is_gated": choice.is_gated,
        "popularity": " · ".join(said),
        **verdict(choice.verdict, choice.precision),
    }


def short_count(choice: Choice) -> str:
    """Parameters, and those that a token needs: "30.5B, 3.4B active"; "" where not known."""
    if choice.parameters is None:
        return ""
    active = choice.active_parameters
    if active is None or active >= choice.parameters:
        return parameters(choice.parameters)
    return f"{parameters(choice.parameters)}, {parameters(active)} active"


def verdict(fits: str | None, precision: str | None = None) -> Json:
    """Whether something fits: for the colour of a dot, and a word, which says it without colours.

    Args:
        fits: the forecast's verdict; None while that is not known.
        precision: the one that the verdict is about, where it need not be the full one.
    """
    if fits is None:
        return {"verdict": "", "word": ""}
    is_named = precision not in (None, "full") and fits != "no"
    word = f"{VERDICTS[fits]} in {PRECISION_LABELS[str(precision)]}" if is_named else VERDICTS[fits]
    return {"verdict": fits, "word": word}


def card(of: ModelCard) -> Json:
    """One model in full."""
    choice = of.choice
    is_askable = choice.is_gated and not _is_here(of) and _HUB_ID.fullmatch(choice.id)
    return {
        "id": choice.id,
        "label": choice.label,
        "about": choice.about,
        "counts": exact_count(of),
        "reading": of.name_reading,
        "facts": facts(of),
        "problem": of.problem,
        "fitting": of.what_fits,
        "gated": "Its owner gives access on request." if choice.is_gated else "",
        "ask_at": f"https://huggingface.co/{choice.id}" if is_askable else "",
        "contexts": contexts(of.window_tokens, of.context_tokens),
        "context": of.context_tokens,
        "machine": machine(of),
        "precisions": [_precision(of, one) for one in of.precisions],
        "suggested": choice.precision or "",
        "needs_token": of.needs_token,
        "is_partial": is_partial(of),
    }


def is_partial(of: ModelCard) -> bool:
    """Whether a speed is missing, which this machine's first measurements will bring."""
    return any(
        not one.reason and one.forecast is not None and one.forecast.tokens_per_s is None
        for one in of.precisions
    )


def exact_count(of: ModelCard) -> str:
    """The parameters: exact ones in full, those of the name rounded as the name is."""
    total, active = of.choice.parameters, of.choice.active_parameters
    if total is None:
        return ""
    write = (lambda count: f"{count:,}") if of.is_exact else parameters
    said = f"{'' if of.is_exact else 'About '}{write(total)} parameters"
    if active is None or active >= total:
        return said
    return f"{said}, of which a token needs {write(active)}"


def facts(of: ModelCard) -> list[str]:
    """Window, dtype, licence and files, as far as they are known."""
    choice = of.choice
    said = [
        f"Window of {of.window_tokens:,} tokens" if of.window_tokens else "",
        of.dtype,
        f"Quantized already: {of.quantized_as}" if of.quantized_as else "",
        f"Licence {choice.licence}" if choice.licence else "",
    ]
    if of.download_bytes:
        said.append(f"{size(of.download_bytes)} to download")
    elif choice.disk_bytes:
        said.append(f"{size(choice.disk_bytes)} on this disk")
    return [fact for fact in said if fact]


def machine(of: ModelCard) -> str:
    """This machine: "AMD EPYC, 2 cores · 44 GB/s · 20.1 GB free"."""
    speed = of.bandwidth_bytes_per_s
    parts = [of.machine, f"{speed / 1e9:.0f} GB/s" if speed else "", f"{size(of.free_bytes)} free"]
    return " · ".join(filter(None, parts))


def contexts(window: int | None, present: int) -> list[tuple[int, str]]:
    """The contexts to choose from, with their names: 2k, 4k and so on up to the window."""
    end = max(window or present, 1)
    doubled = takewhile(lambda tokens: tokens < end, (SMALLEST_CONTEXT << n for n in range(24)))
    tokens = sorted({*doubled, end, min(present, end)})
    return [(count, _context(count)) for count in tokens]


def _context(tokens: int) -> str:
    return f"{tokens // 1024}k tokens" if tokens % 1024 == 0 else f"{tokens:,} tokens"


def _precision(of: ModelCard, one: PrecisionCard) -> Json:
    forecast = one.forecast
    return {
        "id": one.precision,
        "label": one.label,
        "kind_of": one.kind_of,
        "reason": one.reason,
        "line": one.reason or _line(forecast),
        "caveats": list(one.caveats),
        "memory": None if forecast is None else memory(forecast, of),
        "speed": [] if forecast is None else speed(forecast),
        "measured": against_forecast(one.measured),
        "action": action(of, one),
        **verdict(None if one.reason or forecast is None else forecast.verdict),
    }


def _line(forecast: PrecisionForecast | None) -> str:
    """What a precision takes and does, before it is chosen."""
    if forecast is None:
        return "Its size is not known yet."
    speed = f"about {pace(forecast.tokens_per_s)} tokens/s" if forecast.tokens_per_s else ""
    return " · ".join(filter(None, (size(forecast.total_bytes), speed)))


def speed(forecast: PrecisionForecast) -> list[str]:
    """How fast it will write, and read; none while this machine's speed is not known."""
    said = []
    if forecast.tokens_per_s:
        said.append(f"Writes about {pace(forecast.tokens_per_s)} tokens/s")
    if forecast.prompt_tokens_per_s:
        wait = duration(PROMPT_TOKENS / forecast.prompt_tokens_per_s)
        about = "" if wait.startswith("under") else "about "
        said.append(f"Reads a prompt of {PROMPT_TOKENS:,} tokens in {about}{wait}")
    return said


def memory(forecast: PrecisionForecast, of: ModelCard) -> Json:
    """The memory bar: its parts as shares of its length, and all of it in words.

    The bar is as long as what is free, or as what is needed where that is more; then `free_share`
    is where the free memory ends.
    """
    whole = max(forecast.total_bytes, of.free_bytes, 1)
    plain = min(forecast.unquantized_bytes, forecast.weight_bytes)
    quantized = forecast.weight_bytes - plain
    if not quantized:
        weights = [("weights", "Weights", plain)]
    else:
        weights = [("weights", "Quantized weights", quantized), ("plain", "Left alone", plain)]
    rest = forecast.total_bytes - forecast.weight_bytes - forecast.kv_cache_bytes
    parts = [
        *weights,
        ("cache", f"Cache for {of.context_tokens:,} tokens", forecast.kv_cache_bytes),
        ("rest", "All the rest", max(rest, 0)),
    ]
    return {
        "parts": [
            {"kind": kind, "name": name, "size": size(count), "share": count / whole}
            for kind, name, count in parts
            if count
        ],
        "free_share": min(of.free_bytes / whole, 1.0),
        "sentence": _need(forecast, of),
    }


def _need(forecast: PrecisionForecast, of: ModelCard) -> str:
    need = f"Needs {size(forecast.total_bytes)}; {size(of.free_bytes)} are free."
    if forecast.missing_bytes:
        return f"{need} {size(forecast.missing_bytes)} are missing."
    if forecast.load_peak_bytes > forecast.total_bytes:
        return f"{need} Loading takes up to {size(forecast.load_peak_bytes)}."
    return need


def action(of: ModelCard, one: PrecisionCard) -> Json:
    """What loading it takes: the button's text, and whether choosing it is enough.

    It is, where nothing has to be downloaded, it fits, and nothing stands against it.
    """
    fits = one.forecast is None or one.forecast.verdict != "no"
    if _is_here(of):
        label = "Load" if fits else "Load anyway"
    else:
        much = f" ({size(of.download_bytes)})" if of.download_bytes else ""
        label = f"Download and load{'' if fits else ' anyway'}{much}"
    is_enough = _is_here(of) and fits and not of.problem and not one.reason
    return {"label": label, "is_enough": is_enough, "is_anyway": not fits}


def _is_here(of: ModelCard) -> bool:
    return of.choice.is_here or of.download_bytes == 0
