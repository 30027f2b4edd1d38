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
    Choice,
    ChoiceGroup,
    ModelCard,
    PrecisionCard,
    PrecisionForecast,
)
from chat_ui.ui.model_line import against_forecast
from chat_ui.ui.quantities import duration, pace, parameters, popularity, size
from chat_ui.ui.texts import ENGLISH, Texts

# A prompt of a page or two, such as a question about a text.
PROMPT_TOKENS: Final = 1000
SMALLEST_CONTEXT: Final = 2048

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

Json = dict[str, Any]


def group_title(kind: str, say: Texts = ENGLISH) -> str:
    """What stands above a group of choices."""
    return say("card.here" if kind == "here" else f"card.{kind}_here")


def groups(of: Sequence[ChoiceGroup], say: Texts = ENGLISH) -> list[Json]:
    """The picker's groups; those without a choice are left out."""
    return [
        {"title": group_title(group.kind, say), "options": options(group.choices, say)}
        for group in of
        if group.choices
    ]


def options(choices: Sequence[Choice], say: Texts = ENGLISH) -> list[Json]:
    """The picker's options."""
    return [_option(choice, say) for choice in choices]


def _option(choice: Choice, say: Texts) -> Json:
    said = []
    if choice.downloads is not None:
        said.append(say("card.downloads", count=popularity(choice.downloads)))
    if choice.likes is not None:
        said.append(say("card.likes", count=popularity(choice.likes)))
    return {
        "id": choice.id,
        "label": choice.label,
        "size": short_count(choice, say),
        "tags": list(choice.tags),
        "is_gated": choice.is_gated,
        "popularity": " · ".join(said),
        **verdict(choice.verdict, choice.precision, say),
    }


def short_count(choice: Choice, say: Texts = ENGLISH) -> str:
    """Parameters, and those that a token needs: "30.5B, 3.4B active"; "" where not known."""
    if choice.parameters is None:
        return ""
    active = choice.active_parameters
    if active is None or active >= choice.parameters:
        return parameters(choice.parameters)
    total = parameters(choice.parameters)
    return say("card.active", count=total, active=parameters(active))


def verdict_word(fits: str, say: Texts = ENGLISH) -> str:
    """Whether something fits, in a word."""
    return say(f"card.{fits}")


def verdict(fits: str | None, precision: str | None = None, say: Texts = ENGLISH) -> Json:
    """Whether something fits: for the colour of a dot, and a word, which says it without colours.

    Args:
        fits: the forecast's verdict; None while that is not known.
        precision: the one that the verdict is about, where it need not be the full one.
        say: the language's texts.
    """
    if fits is None:
        return {"verdict": "", "word": ""}
    is_named = precision not in (None, "full") and fits != "no"
    word = verdict_word(fits, say)
    if is_named:
        word = say("card.in", verdict=word, precision=say.precision(str(precision)))
    return {"verdict": fits, "word": word}


def card(of: ModelCard, say: Texts = ENGLISH) -> Json:
    """One model in full."""
    choice = of.choice
    is_askable = choice.is_gated and not _is_here(of) and _HUB_ID.fullmatch(choice.id)
    return {
        "id": choice.id,
        "label": choice.label,
        "about": choice.about,
        "counts": exact_count(of, say),
        "reading": of.name_reading,
        "facts": facts(of, say),
        "problem": of.problem,
        "fitting": of.what_fits,
        "gated": say("card.gated") if choice.is_gated else "",
        "ask_at": f"https://huggingface.co/{choice.id}" if is_askable else "",
        "contexts": contexts(of.window_tokens, of.context_tokens, say),
        "context": of.context_tokens,
        "machine": machine(of, say),
        "precisions": [_precision(of, one, say) for one in of.precisions],
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


def exact_count(of: ModelCard, say: Texts = ENGLISH) -> str:
    """The parameters: exact ones in full, those of the name rounded as the name is."""
    total, active = of.choice.parameters, of.choice.active_parameters
    if total is None:
        return ""
    write = say.number if of.is_exact else parameters
    said = say("card.parameters" if of.is_exact else "card.about_parameters", count=write(total))
    if active is None or active >= total:
        return said
    return say("card.needed", parameters=said, count=write(active))


def facts(of: ModelCard, say: Texts = ENGLISH) -> list[str]:
    """Window, dtype, licence and files, as far as they are known."""
    choice = of.choice
    said = [
        say("card.window", of.window_tokens) if of.window_tokens else "",
        of.dtype,
        say("card.quantized", name=of.quantized_as) if of.quantized_as else "",
        say("card.licence", name=choice.licence) if choice.licence else "",
    ]
    if of.download_bytes:
        said.append(say("card.to_download", size=size(of.download_bytes, say)))
    elif choice.disk_bytes:
        said.append(say("card.on_disk", size=size(choice.disk_bytes, say)))
    return [fact for fact in said if fact]


def machine(of: ModelCard, say: Texts = ENGLISH) -> str:
    """This machine: "AMD EPYC, 2 cores · 44 GB/s · 20.1 GB free"."""
    speed = of.bandwidth_bytes_per_s
    reads = f"{speed / 1e9:.0f} {say('quantity.gb')}/s" if speed else ""
    parts = [of.machine, reads, say("card.free", size=size(of.free_bytes, say))]
    return " · ".join(filter(None, parts))


def contexts(window: int | None, present: int, say: Texts = ENGLISH) -> list[tuple[int, str]]:
    """The contexts to choose from, with their names: 2k, 4k and so on up to the window."""
    end = max(window or present, 1)
    doubled = takewhile(lambda tokens: tokens < end, (SMALLEST_CONTEXT << n for n in range(24)))
    tokens = sorted({*doubled, end, min(present, end)})
    return [(count, _context(count, say)) for count in tokens]


def _context(tokens: int, say: Texts) -> str:
    count = f"{tokens // 1024}k" if tokens % 1024 == 0 else say.number(tokens)
    return say("card.tokens", count=count)


def _precision(of: ModelCard, one: PrecisionCard, say: Texts) -> Json:
    forecast = one.forecast
    return {
        "id": one.precision,
        "label": say.precision(one.precision),
        "kind_of": one.kind_of,
        "reason": one.reason,
        "line": one.reason or _line(forecast, say),
        "caveats": list(one.caveats),
        "memory": None if forecast is None else memory(forecast, of, say),
        "speed": [] if forecast is None else speed(forecast, say),
        "measured": against_forecast(one.measured, say),
        "action": action(of, one, say),
        **verdict(None if one.reason or forecast is None else forecast.verdict, say=say),
    }


def _line(forecast: PrecisionForecast | None, say: Texts) -> str:
    """What a precision takes and does, before it is chosen."""
    if forecast is None:
        return say("card.size_unknown")
    per_s = forecast.tokens_per_s
    speed = say("card.about_rate", rate=pace(per_s, say)) if per_s else ""
    return " · ".join(filter(None, (size(forecast.total_bytes, say), speed)))


def speed(forecast: PrecisionForecast, say: Texts = ENGLISH) -> list[str]:
    """How fast it will write, and read; none while this machine's speed is not known."""
    said = []
    if forecast.tokens_per_s:
        said.append(say("card.writes", rate=pace(forecast.tokens_per_s, say)))
    if forecast.prompt_tokens_per_s:
        wait = PROMPT_TOKENS / forecast.prompt_tokens_per_s
        key = "card.reads_under" if wait < 1 else "card.reads"
        said.append(say(key, PROMPT_TOKENS, time=duration(wait, say)))
    return said


def memory(forecast: PrecisionForecast, of: ModelCard, say: Texts = ENGLISH) -> Json:
    """The memory bar: its parts as shares of its length, and all of it in words.

    The bar is as long as what is free, or as what is needed where that is more; then `free_share`
    is where the free memory ends.
    """
    whole = max(forecast.total_bytes, of.free_bytes, 1)
    plain = min(forecast.unquantized_bytes, forecast.weight_bytes)
    quantized = forecast.weight_bytes - plain
    if not quantized:
        weights = [("weights", say("card.weights"), plain)]
    else:
        weights = [
            ("weights", say("card.quantized_weights"), quantized),
            ("plain", say("card.plain_weights"), plain),
        ]
    rest = forecast.total_bytes - forecast.weight_bytes - forecast.kv_cache_bytes
    parts = [
        *weights,
        ("cache", say("card.cache", of.context_tokens), forecast.kv_cache_bytes),
        ("rest", say("card.rest"), max(rest, 0)),
    ]
    return {
        "parts": [
            {"kind": kind, "name": name, "size": size(count, say), "share": count / whole}
            for kind, name, count in parts
            if count
        ],
        "free_share": min(of.free_bytes / whole, 1.0),
        "sentence": _need(forecast, of, say),
    }


def _need(forecast: PrecisionForecast, of: ModelCard, say: Texts) -> str:
    total, free = size(forecast.total_bytes, say), size(of.free_bytes, say)
    need = say("card.need", size=total, free=free)
    if forecast.missing_bytes:
        return f"{need} {say('card.missing', size=size(forecast.missing_bytes, say))}"
    if forecast.load_peak_bytes > forecast.total_bytes:
        return f"{need} {say('card.peak', size=size(forecast.load_peak_bytes, say))}"
    return need


def action(of: ModelCard, one: PrecisionCard, say: Texts = ENGLISH) -> Json:
    """What loading it takes: the button's text, and whether choosing it is enough.

    It is, where nothing has to be downloaded, it fits, and nothing stands against it.
    """
    fits = one.forecast is None or one.forecast.verdict != "no"
    if _is_here(of):
        label = say("card.load" if fits else "card.load_anyway")
    else:
        label = say("card.download" if fits else "card.download_anyway")
        if of.download_bytes:
            label = say("card.sized", action=label, size=size(of.download_bytes, say))
    is_enough = _is_here(of) and fits and not of.problem and not one.reason
    return {"label": label, "is_enough": is_enough, "is_anyway": not fits}


def _is_here(of: ModelCard) -> bool:
    return of.choice.is_here or of.download_bytes == 0
