"""The numbers of a run, as they come."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Samples:
    """Every number that was measured, and why there are none.

    Attributes:
        values: by shape ("" for the machine itself), contender and what was measured.
        facts: of a loaded model, by shape and contender.
        failures: reasons, by shape and contender.
    """

    values: dict[tuple[str, str, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    facts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, shape: str, contender: str, result: Mapping[str, Any], prefix: str = "") -> None:
        """Keep all numbers of a result."""
        for name, value in result.items():
            if isinstance(value, int | float):
                self.values[shape, contender, prefix + name].append(float(value))
