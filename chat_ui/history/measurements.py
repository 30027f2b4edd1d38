"""What models were forecast to take and took, so that the next forecast gets better.

Runs of a machine, not of a person: no owner, no text and no conversation are kept, and old runs
leave. Forecasting is `models/forecast.py`'s, which is given the corrections that are learnt here.
"""

import math
import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, insert, select

from chat_ui.history.rows import Transaction, storable
from chat_ui.history.tables import measurements

# One run is an accident: another program was busy.
ENOUGH: Final = 3
# Of each precision, the newest: a machine's habits change.
RECENT: Final = 20
# One model, asked often, must not speak for all others.
RECENT_OF_A_MODEL: Final = 5
# What is further off than this was no usual run.
MOST: Final = 4.0
KEPT: Final = 2000


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of a model.

    Attributes:
        machine: see `hardware.machine_key`; only compared.
        model_id: the model.
        precision: such as "bfloat16", "8bit" or "4bit".
        context_tokens: how long the conversation was.
        measured_at: when.
        forecast_tokens_per_s: as the machine's speeds alone say, without any correction: else what
            is learnt here would be learnt of itself. None where there was no forecast.
        tokens_per_s: of decoding, as measured; None where it was not.
        forecast_bytes: of memory; None where there was no forecast.
        memory_bytes: as measured; None where it was not.
    """

    machine: str
    model_id: str
    precision: str
    context_tokens: int
    measured_at: datetime
    forecast_tokens_per_s: float | None = None
    tokens_per_s: float | None = None
    forecast_bytes: int | None = None
    memory_bytes: int | None = None


_FIELDS: Final = tuple(field.name for field in fields(Measurement))


class Measurements:
    """All runs; `Store.measurements` is the one there is.

    Any method raises `HistoryError` when the database fails, and has then changed nothing.

    Args:
        reading: begins a transaction that reads.
        writing: begins one that writes.
    """

    def __init__(self, reading: Transaction, writing: Transaction) -> None:
        self._reading = reading
        self._writing = writing

    def add(self, measurement: Measurement) -> None:
        """Keep a run; the oldest leave where there are more than `KEPT`."""
        values = asdict(measurement)
        for name in ("machine", "model_id", "precision"):
            values[name] = storable(values[name])
        sequence = measurements.c.sequence
        with self._writing() as connection:
            connection.execute(insert(measurements).values(values))
            newest = select(sequence).order_by(sequence.desc()).offset(KEPT).limit(1)
            connection.execute(delete(measurements).where(sequence <= newest.scalar_subquery()))

    def of(
        self, machine: str, model_id: str, precision: str, limit: int = RECENT
    ) -> list[Measurement]:
        """A model's runs in a precision on a machine, the newest first."""
        c = measurements.c
        query = (
            select(*(c[name] for name in _FIELDS))
            .where(
                c.model_id == storable(model_id),
                c.precision == storable(precision),
                c.machine == storable(machine),
            )
            .order_by(c.sequence.desc())
            .limit(limit)
        )
        with self._reading() as connection:
            found = connection.execute(query).all()
        return [Measurement(**row._mapping) for row in found]

    def corrections(self, machine: str) -> dict[str, float]:
        """By precision, what to multiply a forecast of tokens/s with: measured by forecast.

        The median of the newest runs on the machine; a precision with fewer than `ENOUGH` is not
        there. Within 1 / `MOST` and `MOST`.
        """
        c = measurements.c
        newest = (
            func.row_number()
            .over(partition_by=(c.precision, c.model_id), order_by=c.sequence.desc())
            .label("place")
        )
        runs = (
            select(c.sequence, c.precision, c.tokens_per_s, c.forecast_tokens_per_s, newest)
            .where(c.machine == storable(machine), c.tokens_per_s > 0, c.forecast_tokens_per_s > 0)
            .subquery()
        )
        query = (
            select(runs.c.precision, runs.c.tokens_per_s, runs.c.forecast_tokens_per_s)
            .where(runs.c.place <= RECENT_OF_A_MODEL)
            .order_by(runs.c.sequence.desc())
        )
        ratios: defaultdict[str, list[float]] = defaultdict(list)
        with self._reading() as connection:
            for precision, measured, forecast in connection.execute(query):
                ratio = measured / forecast
                if math.isfinite(ratio):
                    ratios[precision].append(ratio)
        return {
            precision: min(max(statistics.median(found[:RECENT]), 1 / MOST), MOST)
            for precision, found in ratios.items()
            if len(found) >= ENOUGH
        }
