"""Forecasts for this server: what a config describes, on this machine, with what was learnt here.

A model is counted once for each config; that takes a moment of one core. What was measured goes
back into later forecasts (`corrections`). Nothing here asks the Hub. It never calls torch.
"""

import hashlib
import json
import logging
import statistics
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from chat_ui.chat.messages import Numbers
from chat_ui.engine.protocol import EngineFacts
from chat_ui.errors import ChatUIError, ModelError
from chat_ui.history.measurements import Measurement, Measurements
from chat_ui.models import checkpoint, forecast, memory
from chat_ui.models.architecture import Architecture
from chat_ui.models.forecast import Forecast
from chat_ui.models.quantization import Precision
from chat_ui.models.weight_bytes import STORED
from chat_ui.service.activity import Activity
from chat_ui.service.cards import Measured
from chat_ui.service.instruments import Instruments, on_thread_that_ends
from chat_ui.service.machine import ThisMachine

log = logging.getLogger(__name__)

# Of fewer tokens, the pace says little.
_ENOUGH_TOKENS: Final = 32
# Configs that are remembered; a person looks at some dozens.
_REMEMBERED: Final = 256


class Forecasts:
    """All methods block, and may be called from any thread.

    Args:
        machine: this one.
        instruments: count models.
        measurements: what was measured on it; None where nothing is kept.
        leaving_bytes: gives what becomes free where loaded models leave.
        budget_bytes: what all models may take; None for what is free.
        activity: knows whether a load or a probe came in between.
    """

    def __init__(
        self,
        machine: ThisMachine,
        instruments: Instruments,
        measurements: Measurements | None,
        leaving_bytes: Callable[[], int],
        budget_bytes: int | None = None,
        activity: Activity | None = None,
    ) -> None:
        self.machine = machine
        self._instruments = instruments
        self._measurements = measurements
        self._leaving_bytes = leaving_bytes
        self._budget_bytes = budget_bytes
        self._activity = activity or Activity()
        self._learnt: dict[str, float] | None = None  # None until it is read
        self._lock = threading.Lock()
        self._known: dict[str, Architecture | ModelError] = {}
        self._measured: dict[tuple[str, str], Measured | None] = {}
        self._weights: dict[tuple[str, str], tuple[int, int]] = {}
        # The model that was loaded last, until its first answer; the bytes before it, and a mark.
        self._loaded: tuple[tuple[str, str] | None, int, int] = None, 0, 0

    def architecture(self, config: Mapping[str, Any]) -> Architecture:
        """What a config describes; counted once.

        Raises:
            ModelError: nothing that can be loaded.
        """
        key = _digest(config)
        if key in self._known:  # before the lock, behind which others are counted
            return _found(self._known[key])
        with self._lock:  # two at once would only be slower
            if key not in self._known:
                if len(self._known) >= _REMEMBERED:
                    self._known.pop(next(iter(self._known)))
                try:
                    self._known[key] = on_thread_that_ends(lambda: self._instruments.count(config))
                except ModelError as error:
                    self._known[key] = error
            return _found(self._known[key])

    def is_known(self, config: Mapping[str, Any]) -> bool:
        """Whether `architecture` takes no time."""
        return _digest(config) in self._known

    def forecast(
        self, config: Mapping[str, Any], context_tokens: int | None = None, *, learns: bool = True
    ) -> Forecast:
        """What a model takes and does here.

        Args:
            config: its config.json.
            context_tokens: for this context; None for a usual one.
            learns: with what was learnt here; what is to be learnt from goes without.

        Raises:
            ModelError: it is nothing that can be loaded.
        """
        found, machine = self.architecture(config), self.machine.now()
        leaving_bytes = self._leaving_bytes()
        if self._budget_bytes is not None:
            leaving_bytes = min(leaving_bytes, self._budget_bytes)
            free_bytes = min(machine.free_bytes, self._budget_bytes - leaving_bytes)
            machine = replace(machine, free_bytes=free_bytes)
        return forecast.forecast(
            found,
            machine,
            context_tokens=context_tokens,
            leaving_bytes=leaving_bytes,
            corrections=self._corrections() if learns else {},
        )

    def loaded(self, facts: EngineFacts, bytes_before: int) -> None:
        """Remember what the program took before a model was loaded.

        By how much it grew is known after the model's first answer, with which it takes what it
        needs beside its weights.
        """
        self._loaded = _key(facts), bytes_before, self._activity.work

    def answered(self, facts: EngineFacts, numbers: Numbers) -> None:
        """Note what a model took, and how fast it was, once it has answered alone."""
        tokens = numbers.completion_tokens or 0
        if tokens < _ENOUGH_TOKENS or not numbers.decode_tokens_per_s:
            return
        context = (numbers.prompt_tokens or 0) + tokens
        growth = self._growth(facts)
        speed = None if numbers.drafted_tokens else numbers.decode_tokens_per_s
        self._note(facts, context, speed, growth)

    def _growth(self, facts: EngineFacts) -> int | None:
        """By how much the program has grown with the model; None where something else may have."""
        (key, bytes_before, mark), self._loaded = self._loaded, (None, 0, 0)
        if key != _key(facts) or mark != self._activity.work or facts.device != "cpu":
            return None
        growth = memory.process_bytes() - bytes_before
        return growth if growth > 0 else None

    def measured(self, model_id: str, name: str) -> Measured | None:
        """What a model took and did here, beside what was forecast; None where it never ran.

        Args:
            model_id: the model.
            name: of the precision, as in a `Forecast`.
        """
        key = model_id, name
        if key not in self._measured:
            if self._measurements is None:
                return None
            try:
                runs = self._measurements.of(self.machine.key, model_id, name)
            except ChatUIError as error:
                log.warning("what was measured can't be read: %s", error)
                runs = []
            self._measured[key] = _summed_up(runs, *self._weights.get(key, (None, None)))
        return self._measured[key]

    def _corrections(self) -> dict[str, float]:
        if self._learnt is None:
            self._learnt = {}
            try:
                if self._measurements is not None:
                    self._learnt = self._measurements.corrections(self.machine.key)
            except ChatUIError as error:  # a forecast without them is better than none
                log.warning("what was measured can't be read: %s", error)
        return self._learnt

    def _note(
        self,
        facts: EngineFacts,
        context_tokens: int,
        tokens_per_s: float | None,
        growth_bytes: int | None,
    ) -> None:
        """Keep a run beside what is forecast for it without corrections; never raises."""
        key = model_id, name = _key(facts)
        if tokens_per_s is None and growth_bytes is None:
            return
        try:
            if facts.spec.folder is None or not facts.footprint_bytes or self._measurements is None:
                return  # no real model, or nothing is kept
            config = checkpoint.read_config(facts.spec.folder)
            whole = self.forecast(config, context_tokens, learns=False)
            if STORED in whole.precisions:  # quantized before: there is one precision
                key = model_id, name = model_id, STORED
            expected = whole.precisions.get(name)
            if expected is None:
                return
            self._weights[key] = facts.footprint_bytes, expected.weight_bytes
            self._measurements.add(
                Measurement(
                    machine=self.machine.key,
                    model_id=model_id,
                    precision=name,
                    context_tokens=context_tokens,
                    measured_at=datetime.now(UTC),
                    forecast_tokens_per_s=expected.tokens_per_s if tokens_per_s else None,
                    tokens_per_s=tokens_per_s,
                    forecast_bytes=expected.total_bytes if growth_bytes else None,
                    memory_bytes=growth_bytes,
                )
            )
            self._measured.pop(key, None)
            self._learnt = None
        except Exception as error:  # an answer is not to fail for it
            log.warning("what %s took and did could not be kept: %s", facts.spec.id, error)


def _found(known: Architecture | ModelError) -> Architecture:
    if isinstance(known, ModelError):
        raise type(known)(known.sentence, known.next_step)  # a new one, without old frames
    return known


def _key(facts: EngineFacts) -> tuple[str, str]:
    """A model and its precision, as measurements have them."""
    return facts.spec.id, precision_name(facts.precision, facts.dtype)


def precision_name(precision: Precision, dtype: str) -> str:
    """A precision's name in forecasts: of "full", the dtype that it means."""
    return dtype if precision == "full" else precision


def _summed_up(
    runs: list[Measurement], weight_bytes: int | None, forecast_weight_bytes: int | None
) -> Measured | None:
    speeds = [run for run in runs if run.tokens_per_s and run.forecast_tokens_per_s]
    loads = [run for run in runs if run.memory_bytes and run.forecast_bytes]
    if not speeds and not loads:
        return None
    return Measured(
        tokens_per_s=_median([run.tokens_per_s for run in speeds]),
        forecast_tokens_per_s=_median([run.forecast_tokens_per_s for run in speeds]),
        weight_bytes=weight_bytes,
        forecast_weight_bytes=forecast_weight_bytes,
        growth_bytes=loads[0].memory_bytes if loads else None,
        forecast_growth_bytes=loads[0].forecast_bytes if loads else None,
    )


def _median(values: list[Any]) -> float | None:
    return statistics.median(values) if values else None


def _digest(config: Mapping[str, Any]) -> str:
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
