"""The settings of one answer, checked. Sampling itself is `engine/sampler.py`."""

from dataclasses import dataclass
from typing import Final

from chat_ui.errors import InvalidRequestError

MAX_NEW_TOKENS: Final = 4096
MAX_STOP_STRINGS: Final = 8
MAX_STOP_CHARS: Final = 100
MAX_SEED: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """How an answer is sampled.

    Attributes:
        temperature: divides the logits; 0 means greedy (the likeliest token, always).
        top_p: keep the likeliest tokens whose probabilities sum to at least this, in (0, 1].
        top_k: keep this many of the likeliest tokens; 0 means all.
        min_p: drop tokens less likely than this share of the likeliest one, in [0, 1].
        repetition_penalty: divides positive and multiplies negative logits of tokens already in the
            prompt or the answer; 1 means none.
        max_new_tokens: the answer ends after this many tokens.
        seed: the same seed, settings and prompt give the same answer (exactly so in float32); None
            draws one.
        stop: the answer ends before the first of these strings.
        assisted: let a drafter propose tokens that the model then checks several at a time, while
            nobody else's answer is being written. The answer's distribution is the same.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 512
    seed: int | None = None
    stop: tuple[str, ...] = ()
    assisted: bool = False

    def __post_init__(self) -> None:
        """Raises InvalidRequestError for a value of the wrong type or out of its range."""
        _number("Temperature", self.temperature, 0.0, 2.0)
        _number("Top-p", self.top_p, 0.0, 1.0, open_below=True)
        _whole("Top-k", self.top_k, 0, 1000)
        _number("Min-p", self.min_p, 0.0, 1.0)
        _number("Repetition penalty", self.repetition_penalty, 0.5, 2.0)
        check_new_tokens(self.max_new_tokens)
        if self.seed is not None:
            _whole("Seed", self.seed, 0, MAX_SEED)
        _stop_strings(self.stop)
        if not isinstance(self.assisted, bool):
            raise InvalidRequestError(
                "Assisted generation is either on or off.", "Set it in its panel."
            )


def check_new_tokens(count: object, most: int = MAX_NEW_TOKENS) -> None:
    """Refuse a number of new tokens that an answer may not have.

    Args:
        count: as it was asked for.
        most: what may be asked for, where that is less than `MAX_NEW_TOKENS`.

    Raises:
        InvalidRequestError: it is out of the range, which the sentence names.
    """
    _whole("Max new tokens", count, 1, min(most, MAX_NEW_TOKENS))


def _number(name: str, value: object, low: float, high: float, *, open_below: bool = False) -> None:
    # bool is an int to Python. NaN is in no range; so the test is for inside, not for outside.
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not low <= value <= high
        or (open_below and value == low)
    ):
        above = "above" if open_below else "from"
        raise InvalidRequestError(
            f"{name} has to be a number {above} {low:g} to {high:g}.", "Set it in its panel."
        )


def _whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidRequestError(
            f"{name} has to be a whole number from {low} to {high}.", "Set it in its panel."
        )


def _stop_strings(stop: object) -> None:
    if (
        not isinstance(stop, tuple)
        or len(stop) > MAX_STOP_STRINGS
        or not all(isinstance(s, str) and 0 < len(s) <= MAX_STOP_CHARS for s in stop)
    ):
        raise InvalidRequestError(
            f"There can be {MAX_STOP_STRINGS} stop strings of 1 to {MAX_STOP_CHARS} characters.",
            "Shorten the list.",
        )
