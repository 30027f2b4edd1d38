"""The table of goals: ratios of medians, and whether they hold. Arithmetic only."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tools.bench.plan import SERVES
from tools.bench.samples import Samples

Key = tuple[str, str, str]

# Tokens per second that `ours` is to reach as a multiple of the tutorial's; the share of a token's
# time that is not reading weights shrinks with the model.
_TUTORIAL_GOALS: Final = {"135M": 1.5, "0.6B": 1.3}
_MAX_ABOVE_BYTES: Final = 400e6
# The reply's own pace and an outside clock are said to differ beyond this share.
CLOCKS_DIFFER: Final = 0.02


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio is to reach: at least, or at most, a bound."""

    bound: float
    sign: Literal[">=", "<="] = ">="

    def holds(self, ratio: float) -> bool:
        """Whether a ratio reaches it."""
        return ratio >= self.bound if self.sign == ">=" else ratio <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        name: what it is, with the shape.
        ratio: None where something was not measured.
        goal: None where the row has none.
        reason: why `ratio` is None, else empty.
    """

    name: str
    ratio: float | None
    goal: Goal | None = None
    reason: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None where there is no goal or no ratio."""
        if self.goal is None or self.ratio is None:
            return None
        return self.goal.holds(self.ratio)

    def as_json(self) -> dict[str, object]:
        """As the JSON file has it."""
        return {
            "name": self.name,
            "ratio": self.ratio,
            "goal": None if self.goal is None else str(self.goal),
            "holds": self.holds,
            "reason": self.reason,
        }


def median(samples: Samples, key: Key) -> float | None:
    """The median of what was measured, or None."""
    values = samples.values.get(key)
    return statistics.median(values) if values else None


def figures(samples: Samples, shapes: Sequence[str], *, has_bf16: bool) -> list[Figure]:
    """All rows.

    Args:
        samples: what was measured.
        shapes: in the order of their size; what the table asks of the 0.6B model alone is told of
            the last one.
        has_bf16: whether the processor has bfloat16 instructions, on which two goals depend.
    """
    rows = [row for shape in shapes for row in _of_shape(samples, shape, has_bf16=has_bf16)]
    if shapes:
        rows += _of_largest(samples, shapes[-1])
    return rows


def _of_shape(samples: Samples, shape: str, *, has_bf16: bool) -> list[Figure]:
    pace, all_pace = "decode: decode_tokens_per_s", "eight: tokens_per_s"
    first = "first: first_s"
    ours, pipeline = (shape, "ours", pace), (shape, "pipeline", pace)
    serves = [(shape, name, pace) for name in SERVES]
    table = _Table(samples, shape)
    return [
        table.ratio(
            "decode tokens/s, ours / tutorial",
            ours,
            [(shape, "tutorial", pace)],
            Goal(_TUTORIAL_GOALS.get(shape, 1.3)),
        ),
        table.ratio("decode tokens/s, ours / pipeline", ours, [pipeline], Goal(1.15)),
        table.ratio("decode tokens/s, ours / best of serve", ours, serves, Goal(1.1)),
        table.ratio(
            "first token of a cold prompt, ours / pipeline",
            (shape, "ours", first),
            [(shape, "pipeline", first)],
            Goal(1.05 if has_bf16 else 0.5, "<="),
        ),
        table.ratio(
            "tokens/s of 8 at once, ours / pipeline one after another",
            (shape, "ours", all_pace),
            [(shape, "pipeline", all_pace)],
            Goal(4.0 if has_bf16 else 2.5),
        ),
        table.ratio(
            "tokens/s of 8 at once, ours / best of serve",
            (shape, "ours", all_pace),
            [(shape, name, all_pace) for name in SERVES],
            Goal(1.1),
        ),
        table.ratio(
            "first token at turn 30 / the same prompt cold",
            (shape, "ours", "turn_warm_first_s"),
            [(shape, "ours", "turn_cold_first_s")],
            Goal(0.08, "<="),
        ),
        table.ratio(
            "tokens/s, through ChatService / the engine alone",
            (shape, "ours", "service: decode_tokens_per_s"),
            [(shape, "engine", "service: decode_tokens_per_s")],
            Goal(0.97),
        ),
        table.most("tokens generated after Stop", (shape, "ours", "stop_tokens"), Goal(2, "<=")),
        table.most(
            "MB above weights and cache, 8 conversations",
            (shape, "ours", "memory_above"),
            Goal(_MAX_ABOVE_BYTES / 1e6, "<="),
            unit=1e6,
        ),
        table.unloaded("share of memory that unloading gives back"),
    ]


def _of_largest(samples: Samples, shape: str) -> list[Figure]:
    table = _Table(samples, shape)
    return [
        table.ratio(
            "decode tokens/s, 8-bit (fast, CPU) / full precision",
            (shape, "ours 8bit", "8bit: decode_tokens_per_s"),
            [(shape, "ours", "8bit: decode_tokens_per_s")],
            Goal(1.6),
        ),
        table.bandwidth("weight bytes x tokens/s / read bandwidth", Goal(0.75)),
    ]


class _Table:
    """Makes rows of one shape."""

    def __init__(self, samples: Samples, shape: str) -> None:
        self._samples = samples
        self._shape = shape

    def ratio(self, name: str, ours: Key, others: Sequence[Key], goal: Goal) -> Figure:
        """The median of ours divided by the largest of the others' medians."""
        mine = median(self._samples, ours)
        theirs = [value for key in others if (value := median(self._samples, key))]
        if mine is None or not theirs:
            return self._missing(name, goal, [ours] if mine is None else others)
        return self._figure(name, mine / max(theirs), goal)

    def most(self, name: str, key: Key, goal: Goal, unit: float = 1.0) -> Figure:
        """The largest value, in a unit."""
        values = self._samples.values.get(key)
        if not values:
            return self._missing(name, goal, [key])
        return self._figure(name, max(values) / unit, goal)

    def unloaded(self, name: str) -> Figure:
        """Of what loading and answering added to the process, the share that is gone again."""
        keys = [(self._shape, "ours", f"unload_{at}") for at in ("imported", "loaded", "unloaded")]
        found = [median(self._samples, key) for key in keys]
        imported, loaded, unloaded = found
        if imported is None or loaded is None or unloaded is None or loaded == imported:
            return self._missing(name, None, keys)
        return self._figure(name, (loaded - unloaded) / (loaded - imported), None)

    def bandwidth(self, name: str, goal: Goal) -> Figure:
        """The share of the read bandwidth that decoding reaches: every weight once a token."""
        pace = (self._shape, "ours", "decode: decode_tokens_per_s")
        sources = [("", "memory", f"{way}_bytes_per_s") for way in ("sum", "matrix")]
        weights = self._samples.facts.get((self._shape, "ours"), {}).get("weight_bytes")
        speed = median(self._samples, pace)
        limits = [value for key in sources for value in self._samples.values.get(key, ())]
        if speed is None or not weights or not limits:
            return self._missing(name, goal, [pace, *sources])
        return self._figure(name, weights * speed / max(limits), goal)

    def _figure(self, name: str, ratio: float, goal: Goal | None) -> Figure:
        return Figure(f"{name}, {self._shape}", ratio, goal)

    def _missing(self, name: str, goal: Goal | None, keys: Sequence[Key]) -> Figure:
        """A row without a ratio, and why."""
        failures = self._samples.failures
        contenders = dict.fromkeys((key[0], key[1]) for key in keys)
        contenders[self._shape, "ours"] = None  # without it there is nothing to compare
        contenders[self._shape, "checkpoint"] = None
        reasons = [f"{key[1]}: {failures[key]}" for key in contenders if key in failures]
        reason = "; ".join(reasons) or "not measured"
        return Figure(f"{name}, {self._shape}", None, goal, reason)


def clock_differences(samples: Samples) -> list[str]:
    """Where the reply's own pace and an outside clock differ, as sentences."""
    found = []
    for (shape, contender, measure), values in list(samples.values.items()):
        own = median(samples, (shape, contender, measure.replace(": ", ": own_")))
        if not measure.endswith(": decode_tokens_per_s") or not own:
            continue
        outside = statistics.median(values)
        if abs(own / outside - 1) > CLOCKS_DIFFER:
            found.append(
                f"{shape}, {contender}, {measure.partition(':')[0]}: the reply says "
                f"{own:.2f} tokens/s, an outside clock {outside:.2f}."
            )
    return found
