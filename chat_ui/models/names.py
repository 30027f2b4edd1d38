"""Reads what a model's name says of its size: 8B, 8x7B, 235B-A22B, E4B and their like.

Makers round, and a name says nothing of many models, so this is a first guess that needs no file
and no network. As soon as the config is there, `models/architecture.py` counts exactly and this
reading is to be thrown away. Versions (v0.1, 3.1, 2507), contexts (4k) and precisions (8bit, Q4)
are no sizes.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

_LETTERS: Final = "BbMmT"
# A size, and what may stand around it: Qwen2.5 and v0.3B are versions, 4bit is a precision.
# An underscore is a point where only one digit is before it: stablelm-2-1_6b, but llama_2_7b.
_SIZE: Final = rf"(?:\d{{1,4}}(?:\.\d{{1,3}})?|(?<![^-])\d_\d{{1,2}})[{_LETTERS}]"
_LEFT: Final = r"(?<![A-Za-z0-9])(?<!\d\.)"
_RIGHT: Final = r"(?![A-Za-z0-9])"

_NOTATION: Final = re.compile(
    rf"""{_LEFT}(?:
        (?P<total>{_SIZE})[-_]?[Aa](?P<active>{_SIZE})     # 235B-A22B, 21BA3B
      | (?P<active_of>{_SIZE})-(?P<of>\d{{1,4}})E           # 17B-16E
      | (?P<first>{_SIZE})(?=-(?P<second>{_SIZE}){_RIGHT})   # 1B-7B, of OLMoE
      | (?P<experts>\d{{1,3}})[xX\xd7](?P<expert>{_SIZE})     # 8x7B
      | [Ee](?P<effective>{_SIZE})                         # E4B
      | [Aa](?P<active_only>{_SIZE})                       # A2.7B
      | (?P<plain>{_SIZE})                                 # 8B
    ){_RIGHT}""",
    re.VERBOSE | re.ASCII,
)

_UNITS: Final = {"M": 10**6, "B": 10**9, "T": 10**12}
_WORDS: Final = {"M": "million", "B": "billion", "T": "trillion"}

# Of a family that the name alone tells apart: in all, and for a token.
# Source: Mistral AI, "Mixtral of experts" (2023) and "Cheaper, better, faster, stronger" (2024).
_MIXTRAL: Final = {(8, "7B"): ("46.7B", "12.9B"), (8, "22B"): ("141B", "39B")}


@dataclass(frozen=True, slots=True)
class NameReading:
    """What a name says. All counts are rounded, and None where the name does not say.

    Attributes:
        total_parameters: in all, which decide the memory. Of 8x7B, the product: more than there
            are. Of E4B, the effective ones: fewer than there are.
        active_parameters: those that one token needs, which decide the speed.
        experts: of how many experts a mixture chooses.
        expert_parameters: of one expert with what it shares with the others, the 7B of 8x7B.
        is_effective: `total_parameters` leaves out embeddings that can stay outside fast memory.
        sentence: what the name means, and what it does not, for a person.
    """

    sentence: str
    total_parameters: int | None = None
    active_parameters: int | None = None
    experts: int | None = None
    expert_parameters: int | None = None
    is_effective: bool = False


def read_name(name: str) -> NameReading | None:
    """Read the size in a model's name.

    Args:
        name: a Hub id, a path or a bare name, of which the last part is read.

    Returns:
        What it says; None where it has no size in it.
    """
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    found = [reading for match in _NOTATION.finditer(last) if (reading := _reading(match, last))]
    # TinyLlama-1.1B-3T has read 3T tokens; Nemotron-UltraLong-1M-8B has a context of 1M.
    return min(found, key=_is_doubtful, default=None)


def _reading(match: re.Match[str], name: str) -> NameReading | None:
    """The meaning of one notation; None where it has none, as of 0B or 3B-A30B."""
    notation = match[0]
    found = {group: text for group, text in match.groupdict().items() if text}
    if not all(_number(text) for text in found.values()):
        return None
    match found:
        case {"total": total, "active": active}:
            return _mixture(notation, total, active)
        case {"first": active, "second": total} if "moe" in name.lower():
            return _mixture(f"{active}-{total}", total, active)
        case {"active_of": active, "of": experts}:
            return _active(notation, active, int(experts))
        case {"active_only": active}:
            return _active(notation, active)
        case {"experts": experts, "expert": expert}:
            return _experts(notation, int(experts), expert, "mixtral" in name.lower())
        case {"effective": size}:
            return _effective(notation, size)
        case {"first": size} | {"plain": size}:
            return _whole(size)
    return None


def _whole(size: str) -> NameReading:
    return NameReading(
        f"{size} means about {_in_words(size)} parameters: all of them decide the memory, and the "
        "speed, too, unless this is a mixture of experts.",
        total_parameters=_number(size),
    )


def _mixture(notation: str, total: str, active: str) -> NameReading | None:
    if _number(active) > _number(total):
        return None
    return NameReading(
        f"{notation} means a mixture of experts: {_in_words(total)} parameters in all, which "
        f"decide the memory, and {_in_words(active)} that one token needs, which decide the speed.",
        total_parameters=_number(total),
        active_parameters=_number(active),
    )


def _active(notation: str, active: str, experts: int | None = None) -> NameReading:
    of = f" of {experts} experts" if experts else " of experts"
    return NameReading(
        f"{notation} means a mixture{of}: one token needs {_in_words(active)} parameters, which "
        "decide the speed. How many there are in all, which decide the memory, the name doesn't "
        "say: more than that.",
        active_parameters=_number(active),
        experts=experts,
    )


def _experts(notation: str, experts: int, size: str, is_mixtral: bool) -> NameReading:
    product = experts * _number(size)
    sentence = (
        f"{notation} means {experts} experts of {_in_words(size)} parameters. Read literally that "
        f"is {_short(product)}; it has fewer, because the experts share the attention and the "
        "embeddings, and one token needs only some of the experts."
    )
    known = _MIXTRAL.get((experts, size.upper())) if is_mixtral else None
    if known:
        sentence += f" Mixtral has {known[0]} in all, of which one token needs {known[1]}."
    return NameReading(
        sentence,
        total_parameters=product,
        experts=experts,
        expert_parameters=_number(size),
    )


def _effective(notation: str, size: str) -> NameReading:
    return NameReading(
        f"{notation} means that {_in_words(size)} parameters are effective: those that have to be "
        "in fast memory. There are more in all, because the embeddings of each layer, of which a "
        "token needs a row, can stay outside.",
        total_parameters=_number(size),
        is_effective=True,
    )


def _is_doubtful(reading: NameReading) -> bool:
    """Whether a size may be of something else: of tokens that were read, or of a context."""
    total = reading.total_parameters
    return total is not None and not 10**7 < total < 10**12


def _number(text: str) -> int:
    """A size in parameters, 0.6B; or a plain count."""
    unit = _UNITS.get(text[-1].upper(), 1)
    return int(Decimal(text.rstrip(_LETTERS).replace("_", ".")) * unit)


def _in_words(size: str) -> str:
    return f"{size[:-1].replace('_', '.')} {_WORDS[size[-1].upper()]}"


def _short(parameters: int) -> str:
    """A count with the largest unit of which there is one: 56B, 1.2T."""
    unit = max(
        (unit for unit, size in _UNITS.items() if size <= parameters), key=_UNITS.__getitem__
    )
    return f"{parameters / _UNITS[unit]:g}{unit}"
