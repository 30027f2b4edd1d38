"""Prints a run as tables, and writes it as JSON."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tools.bench import figures as table
from tools.bench.figures import Figure
from tools.bench.samples import Samples

_PACES: Final = {
    "decode: decode_tokens_per_s": "one conversation",
    "service: decode_tokens_per_s": "one, beside the engine alone",
    "8bit: decode_tokens_per_s": "one, beside 8-bit",
    "eight: tokens_per_s": "8 conversations",
}


def as_text(samples: Samples, rows: Sequence[Figure], machine: Mapping[str, object]) -> str:
    """The tables that a person reads."""
    lines = [", ".join(f"{name} {value}" for name, value in machine.items()), ""]
    lines += _paces(samples)
    lines += ["", f"{'figure':72}{'ratio':>9}  {'goal':9}holds"]
    lines += [_row(row) for row in rows]
    lines += ["", *table.clock_differences(samples)]
    lines += [
        f"{shape or 'machine'}: {name} was not measured to the end: {reason}"
        for (shape, name), reason in samples.failures.items()
    ]
    return "\n".join(lines).rstrip()


def _row(row: Figure) -> str:
    ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
    verdict = {True: "yes", False: "NO", None: row.reason}[row.holds]
    goal = "" if row.goal is None else str(row.goal)
    return f"{row.name:72}{ratio:>9}  {goal:9}{verdict}".rstrip()


def _paces(samples: Samples) -> list[str]:
    """Tokens per second by contender, and the bandwidth."""
    lines = []
    for (shape, name, measure), values in samples.values.items():
        middle = statistics.median(values)
        if measure in _PACES:
            title = f"{shape}, {name}, {_PACES[measure]}"
            lines.append(f"{title:60}{middle:9.2f} tokens/s (of {len(values)})")
        elif measure.endswith("_bytes_per_s"):
            way = measure.removesuffix("_bytes_per_s")
            lines.append(f"{f'read bandwidth, {way}':60}{max(values) / 1e9:9.2f} GB/s")
    return lines


def as_json(
    samples: Samples,
    rows: Sequence[Figure],
    machine: Mapping[str, object],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Everything, with each raw number."""
    return {
        "machine": dict(machine),
        "versions": dict(versions),
        "figures": [row.as_json() for row in rows],
        "models": [
            {"shape": shape, "contender": name, **facts}
            for (shape, name), facts in samples.facts.items()
        ],
        "raw": [
            {"shape": shape, "contender": name, "measure": measure, "values": values}
            for (shape, name, measure), values in samples.values.items()
        ],
        "failures": [
            {"shape": shape, "contender": name, "reason": reason}
            for (shape, name), reason in samples.failures.items()
        ],
        "clocks": table.clock_differences(samples),
    }


def write_json(file: Path, report: Mapping[str, Any]) -> None:
    """Write a report so that a reader never sees half of one."""
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    part.replace(file)
