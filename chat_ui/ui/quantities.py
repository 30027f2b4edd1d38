"""Quantities as people read them: bytes, parameters, seconds, rates. No sentences.

`say` has the language's units and its decimal mark.
"""

from typing import Final

from chat_ui.ui.texts import ENGLISH, Texts

_BYTE_UNITS: Final = ((10**9, "gb"), (10**6, "mb"), (10**3, "kb"))
_COUNT_UNITS: Final = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))
_TIME_UNITS: Final = ((86_400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def size(count: int, say: Texts = ENGLISH) -> str:
    """Bytes, in powers of ten: "20.1 GB", "340 MB", "4.7 MB"."""
    unit, name = _unit(count)
    value = say.number(count / unit, _digits(count / unit, name))
    return f"{value} {say(f'quantity.{name}')}"


def size_of(done: int, total: int, say: Texts = ENGLISH) -> str:
    """A part of a size in the whole's unit: "0.3 of 1.2 GB", "340 of 980 MB"."""
    unit, name = _unit(total)
    digits = _digits(total / unit, name)
    part, whole = say.number(done / unit, digits), say.number(total / unit, digits)
    return say("quantity.part", done=part, total=whole, unit=say(f"quantity.{name}"))


def parameters(count: int) -> str:
    """A parameter count as models' names have it: "135M", "4.7M", "30.5B", "671B"."""
    for unit, name in _COUNT_UNITS:
        if count >= unit * 0.9995:
            value = count / unit
            # 30.5B and 3.3B are known by their decimals, 135M and 671B are not.
            is_whole = value >= 99.95 or f"{value:.1f}".endswith(".0")
            return f"{value:.0f}{name}" if is_whole else f"{value:.1f}{name}"
    return str(count)


def popularity(count: int) -> str:
    """Downloads or likes: "1.2M", "340", "34K"."""
    return parameters(count)


def rate(per_s: float, say: Texts = ENGLISH) -> str:
    """A rate with the digits that mean something: "9.9", "184"."""
    # No mark between its thousands: it is followed by a unit, and is looked at as it changes.
    return say.number(per_s, 1) if per_s < 10 else f"{per_s:.0f}"


def pace(per_s: float, say: Texts = ENGLISH) -> str:
    """A rate that is only a forecast, with no more digits than are likely: "9.9", "19", "4,700"."""
    if per_s < 100:
        return rate(per_s, say)
    step = 10 ** (len(f"{per_s:.0f}") - 2)
    return say.number(round(per_s / step) * step)


def duration(seconds: float, say: Texts = ENGLISH) -> str:
    """A time to wait, rounded up as far as a guess can be told: "under 1 s", "8 s", "3 min"."""
    if seconds < 1:
        return say("quantity.under", time=duration(1, say))
    unit, name = next(one for one in _TIME_UNITS if seconds >= one[0])
    return f"{seconds / unit:.0f} {say(f'quantity.{name}')}"


def exact_seconds(seconds: float, say: Texts = ENGLISH, *, digits: int = 2) -> str:
    """A time that was measured: "0.12 s"."""
    return f"{say.number(seconds, digits)} {say('quantity.seconds')}"


def _unit(count: int) -> tuple[int, str]:
    # 999.6 MB would be read as 1,000 MB.
    return next(
        ((unit, name) for unit, name in _BYTE_UNITS if count >= unit * 0.9995), (1, "bytes")
    )


def _digits(value: float, unit: str) -> int:
    return 1 if unit == "gb" or (value < 9.95 and unit != "bytes") else 0
