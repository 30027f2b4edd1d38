"""Choosing a model: which there are, and what one of them is, takes and does before it is here.

What the catalogue, the cache and local folders say needs no network; only a search, and a Hub model
that neither of them knows, ask the Hub. Nothing is downloaded or loaded here.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from chat_ui.errors import AccessError, BadCheckpointError, ModelError
from chat_ui.models import admission, cached, checkpoint, forecast, hardware, hub, names, safety
from chat_ui.models.architecture import Architecture
from chat_ui.models.catalogue import catalogue
from chat_ui.models.forecast import Forecast, PrecisionForecast
from chat_ui.models.hardware import Machine
from chat_ui.models.hub import ModelInfo
from chat_ui.models.quantization import QUANTIZATIONS, Precision, quantized_as
from chat_ui.models.spec import ModelSpec, find
from chat_ui.service.cards import Choice, ChoiceGroup, ModelCard, PrecisionCard
from chat_ui.service.forecasts import Forecasts, precision_name
from chat_ui.service.listing import Listing, by_name, with_verdict

T = TypeVar("T")

_SHOWN_CONTEXT_TOKENS: Final = 4096
# What the Hub says of a model stays true for a while.
_INFO_S: Final = 60.0


class Choosing:
    """All methods block, and may be called from any thread.

    Args:
        loaded: gives the models that were loaded here.
        forecasts: of this server.
        find_model: gives the model that a person named.
    """

    def __init__(
        self,
        loaded: Callable[[], Iterable[ModelSpec]],
        forecasts: Forecasts,
        find_model: Callable[[str], ModelSpec] = find,
    ) -> None:
        self._loaded = loaded
        self._find_model = find_model
        self._listing = Listing(loaded, forecasts)
        self._forecasts = forecasts
        # Not by token: who may load models here is one person. Kept for a moment only.
        self._infos: dict[str, tuple[float, ModelInfo]] = {}
        self._configs: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def choices(self) -> list[ChoiceGroup]:
        """The models there are without asking the Hub; see `Listing.groups`."""
        return self._listing.groups()

    def search(self, text: str, token: str | None = None) -> list[Choice]:
        """Models of the Hub by a part of their id, the most used first.

        Raises:
            ModelError: the Hub can't be asked.
        """
        known = {one.id: one for one in catalogue()}
        here = {one.id for one in cached.cached()}
        found = []
        for one in hub.search(text, token=token):
            choice = self._listing.of_catalogue(known[one.id]) if one.id in known else None
            found.append(
                replace(
                    choice or by_name(one.id, one.id),
                    parameters=one.parameters or (choice.parameters if choice else None),
                    is_gated=one.is_gated,
                    is_here=one.id in here,
                    downloads=one.downloads,
                    likes=one.likes,
                )
            )
        return found

    def forget_downloads(self) -> None:
        """Ask the Hub again what is missing: a download has brought some of it."""
        self._infos.clear()

    def card(
        self,
        model: str,
        context_tokens: int | None = None,
        token: str | None = None,
        *,
        asks_hub: bool = True,
    ) -> ModelCard:
        """One model in full.

        Args:
            model: as the picker takes it.
            context_tokens: for which it is forecast; None for a usual one.
            token: of the Hub, for this call alone.
            asks_hub: False for strangers, who must not make this server ask.

        Raises:
            ModelError: it is neither a folder nor a Hub id.
        """
        spec, problem = self._spec(model)
        info, config, found, whole, needs_token, refusal = None, None, None, None, False, ""
        try:
            if asks_hub:
                info = self._info(spec, token)
        except ModelError as error:
            problem, needs_token = problem or str(error), isinstance(error, AccessError)
        try:
            config = self._config(spec, token, asks_hub=asks_hub)
        except ModelError as error:
            problem = problem or str(error)
        try:
            if config is not None:
                safety.refuse_unsafe(config)
                found = self._forecasts.architecture(config)
                whole = self._forecasts.forecast(config, context_tokens)
                self._forecasts.machine.begin_measuring()
        except ModelError as error:  # no precision of it can be loaded
            problem = refusal = str(error)
        card = self._card(spec, info, config or {}, found, whole)
        precisions = tuple(replace(one, reason=one.reason or refusal) for one in card.precisions)
        return replace(card, precisions=precisions, problem=problem, needs_token=needs_token)

    def _card(
        self,
        spec: ModelSpec,
        info: ModelInfo | None,
        config: Mapping[str, Any],
        found: Architecture | None,
        whole: Forecast | None,
    ) -> ModelCard:
        machine = self._forecasts.machine.now()
        choice = self._choice(spec, info, found, whole)
        reading = names.read_name(spec.id)
        stored = quantized_as(config)
        return ModelCard(
            choice=choice,
            name_reading=reading.sentence if reading and found is None else "",
            is_exact=found is not None,
            window_tokens=found.window_tokens if found else choice.context_tokens,
            context_tokens=whole.context_tokens if whole else _SHOWN_CONTEXT_TOKENS,
            dtype=found.dtype if found else "",
            quantized_as=stored.label if stored else "",
            download_bytes=0 if choice.is_here else (info.missing_bytes if info else None),
            free_bytes=whole.free_bytes if whole else machine.free_bytes,
            machine=_described(machine),
            device="CPU" if machine.kind == "cpu" else "GPU",
            bandwidth_bytes_per_s=machine.bandwidth_bytes_per_s or None,
            forecast=whole,
            precisions=tuple(
                self._precision_card(spec, config, name, found, whole) for name in QUANTIZATIONS
            ),
            what_fits=forecast.what_fits_sentence(whole) if whole else "",
        )

    def _precision_card(
        self,
        spec: ModelSpec,
        config: Mapping[str, Any],
        precision: Precision,
        found: Architecture | None,
        whole: Forecast | None,
    ) -> PrecisionCard:
        method = QUANTIZATIONS[precision]
        name = precision_name(precision, whole.full if whole else "bfloat16")
        expected = whole.precisions.get(name) if whole else None
        caveats = [method.caveat, *(forecast.caveats(found, name) if found else ())]
        return PrecisionCard(
            precision=precision,
            label=method.label,
            kind_of=method.is_kind_of,
            reason=self._reason(precision, config) or _unreached(method.label, expected),
            forecast=expected,
            caveats=tuple(caveats),
            measured=self._forecasts.measured(spec.id, name),
        )

    def _reason(self, precision: Precision, config: Mapping[str, Any]) -> str:
        """Why a precision can't be chosen; "" where it can."""
        machine, method = self._forecasts.machine, QUANTIZATIONS[precision]
        stored = admission.stored_reason(config, precision)
        if stored is not None:
            return str(stored)
        if method.is_for_cpu and machine.kind != "cpu":
            return f"{method.label} is for a CPU; this machine has a GPU."
        speed = machine.now().speeds.get(method.is_kind_of or precision)
        return "" if speed is None or speed.works else speed.reason

    def _choice(
        self,
        spec: ModelSpec,
        info: ModelInfo | None,
        found: Architecture | None,
        whole: Forecast | None,
    ) -> Choice:
        listed = next((one for one in catalogue() if one.id == spec.id), None)
        choice = self._listing.of_catalogue(listed) if listed else by_name(spec.id, spec.label)
        is_here = spec.folder is not None or cached.find(spec.id) is not None
        choice = replace(choice, is_here=is_here)
        if info is not None:
            choice = replace(
                choice,
                is_gated=info.is_gated,
                licence=info.licence or choice.licence,
                parameters=info.parameters or choice.parameters,
                downloads=info.downloads,
                likes=info.likes,
            )
        if found is not None:
            choice = replace(
                choice,
                parameters=found.total_parameters,
                active_parameters=found.active_parameters,
                context_tokens=found.window_tokens,
            )
        return with_verdict(choice, whole)

    def _spec(self, model: str) -> tuple[ModelSpec, str]:
        """The model that is meant, and why it can't be loaded; "" where it can."""
        for known in self._loaded():
            if known.id == model:  # of the Hub, with its folder
                return known, ""
        try:
            return self._find_model(model), ""
        except BadCheckpointError as error:
            folder = Path(model.strip()).expanduser().resolve()
            return ModelSpec(str(folder), folder.name, "folder", folder), str(error)

    def _info(self, spec: ModelSpec, token: str | None) -> ModelInfo | None:
        """What the Hub says of a model that is not here; None for one that is."""
        if spec.kind != "hub" or cached.find(spec.id) is not None:
            return None
        info = _kept(self._infos, spec.id)
        if info is None:
            info = hub.check_access(spec.id, token, known=[one.id for one in catalogue()])
            self._infos[spec.id] = time.monotonic(), info
        return info

    def _config(
        self, spec: ModelSpec, token: str | None, *, asks_hub: bool
    ) -> Mapping[str, Any] | None:
        if spec.folder is not None:
            return checkpoint.read_config(spec.folder)
        listed = {one.id: one.config for one in catalogue()}
        if spec.id in listed and cached.snapshot(spec.id) is None:
            return listed[spec.id]
        config = _kept(self._configs, spec.id)
        if config is None and asks_hub:
            config = hub.fetch_config(spec.id, token)
            self._configs[spec.id] = time.monotonic(), config
        return config


def _kept(kept: dict[str, tuple[float, T]], key: str) -> T | None:
    """What was kept not long ago; what is older leaves."""
    now = time.monotonic()
    for old in [name for name, (at, _) in kept.items() if now - at > _INFO_S]:
        kept.pop(old, None)
    return kept[key][1] if key in kept else None


def _described(machine: Machine) -> str:
    if machine.kind != "cpu":
        return machine.name
    count = hardware.cores()
    return f"{machine.name}, {count} {'core' if count == 1 else 'cores'}"


def _unreached(label: str, expected: PrecisionForecast | None) -> str:
    """Why a precision can't be chosen that leaves most of a model alone; "" where it doesn't."""
    if expected is None or expected.is_honest:
        return ""
    return (
        f"{label} would reach only {expected.reach:.0%} of this model's layers. Choose Full or "
        "another model."
    )
