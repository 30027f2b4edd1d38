"""What a person who chooses a model is shown: which there are, and one of them in full. Values.

`choosing.py` makes them; the page turns them into sentences.
"""

from dataclasses import dataclass, replace
from typing import Literal

from chat_ui.models.forecast import Forecast, PrecisionForecast, Verdict
from chat_ui.models.quantization import Precision

Group = Literal[
    "here",  # on this machine: built in, loaded before, in the Hub cache
    "fits",
    "tight",
    "no",
    "unknown",  # not forecast yet
]


@dataclass(frozen=True, slots=True)
class Choice:
    """A model to choose from.

    Attributes:
        id: as the picker takes it.
        label: its name.
        parameters: in all; None where that is not known.
        active_parameters: those that one token needs; None where that is not known.
        context_tokens: its window; None where that is not known.
        licence: such as "apache-2.0"; may be empty.
        is_gated: its owner gives access on request.
        is_here: its files are on this machine.
        disk_bytes: what they take there; None where they are not here.
        tags: such as "code" or "laptop".
        about: a sentence on what it is good for; may be empty.
        verdict: whether it fits in the precision that is named; None while that is not known.
        precision: the first of full, 8-bit and 4-bit in which it fits, else the smallest.
        downloads: in the last month, of a model found on the Hub.
        likes: there.
    """

    id: str
    label: str
    parameters: int | None = None
    active_parameters: int | None = None
    context_tokens: int | None = None
    licence: str = ""
    is_gated: bool = False
    is_here: bool = False
    disk_bytes: int | None = None
    tags: tuple[str, ...] = ()
    about: str = ""
    verdict: Verdict | None = None
    precision: Precision | None = None
    downloads: int | None = None
    likes: int | None = None


@dataclass(frozen=True, slots=True)
class ChoiceGroup:
    """Choices that belong together, small ones first."""

    kind: Group
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model really took and did on this machine, beside what was forecast for it.

    Attributes:
        tokens_per_s: of decoding, the median of its last answers; None before the first.
        forecast_tokens_per_s: for answers of that length.
        weight_bytes: of the loaded weights; None before it was loaded since the start.
        forecast_weight_bytes: of them.
        growth_bytes: by which the program grew when it was loaded last; None where it is not known.
        forecast_growth_bytes: for that.
    """

    tokens_per_s: float | None = None
    forecast_tokens_per_s: float | None = None
    weight_bytes: int | None = None
    forecast_weight_bytes: int | None = None
    growth_bytes: int | None = None
    forecast_growth_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PrecisionCard:
    """A model in one precision, before it is loaded.

    Attributes:
        precision: its name for `switch_model`.
        label: as the page shows it.
        kind_of: "4bit" for one of its kinds, which the page shows under "More"; else "".
        reason: why it can't be chosen, a sentence with a next step; "" where it can.
        forecast: what it takes and does; None where the model's config is not known.
        caveats: sentences on quality and on what the precision leaves alone.
        measured: what it took and did here before; None where it never ran.
    """

    precision: Precision
    label: str
    kind_of: str = ""
    reason: str = ""
    forecast: PrecisionForecast | None = None
    caveats: tuple[str, ...] = ()
    measured: Measured | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model in full, before it is loaded.

    Attributes:
        choice: what the list says of it, too.
        name_reading: what its name says, a sentence; "" where it says nothing, or where the exact
            counts say it better.
        is_exact: the counts are those of its config, not of its name.
        window_tokens: its context window; None where that is not known.
        context_tokens: the context that the forecasts are made for.
        dtype: of its checkpoint, which "Full" keeps; "" where that is not known.
        quantized_as: such as "GPTQ, 4-bit", of a checkpoint that is quantized already; else "".
        download_bytes: what has to be downloaded first; 0 where its files are here, None where that
            is not known.
        free_bytes: what it may take here.
        machine: this machine, as a person knows it, such as "AMD EPYC, 2 cores".
        device: where models run, "CPU" or "GPU".
        bandwidth_bytes_per_s: of its memory; None while it was not measured.
        forecast: in all precisions, by the names that forecasts have; None where there is none.
        precisions: those that can be loaded, in the page's order.
        problem: why there is no forecast, or why it can't be loaded; "" where there is none.
        needs_token: the Hub has it and doesn't give it to this account or token.
        what_fits: a sentence on what would fit where the full precision doesn't; may be empty.
    """

    choice: Choice
    name_reading: str
    is_exact: bool
    window_tokens: int | None
    context_tokens: int
    dtype: str
    quantized_as: str
    download_bytes: int | None
    free_bytes: int
    machine: str
    device: str
    bandwidth_bytes_per_s: float | None
    forecast: Forecast | None
    precisions: tuple[PrecisionCard, ...]
    problem: str = ""
    needs_token: bool = False
    what_fits: str = ""


def without_machine(card: ModelCard) -> ModelCard:
    """The same for strangers, who are told what the forecast is made of: whether the model has a
    GPU and what is free, but not which machine it is.
    """
    return replace(card, machine=card.device, bandwidth_bytes_per_s=None)
