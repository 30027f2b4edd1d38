"""Runs the benchmark: `python -m tools.bench`, and with `--quick` in less than 10 minutes."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tools.bench import machine, report
from tools.bench.figures import figures
from tools.bench.measure import Bench
from tools.bench.plan import MEASURES, QUICK, Plan
from tools.bench.shapes import DEFAULT_SHAPES, SHAPES


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print tables, write JSON where it is asked for. Goals that are missed are no error.

    Returns:
        0, or 1 where nothing at all could be measured.
    """
    args = _arguments(argv)
    # As on Ctrl-C: the processes are ended and the checkpoints removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chat-ui-bench-") as folder:
        bench = Bench(_plan(args), Path(folder), lambda line: _tell(started, line))
        bench.run(args.shapes)
    known = machine.has_bf16_instructions()
    has_bf16 = bool(bench.has_bf16) if known is None else known
    about = {
        **machine.describe(),
        "bf16_instructions": has_bf16,
        "device": bench.device,
        "threads": args.threads or "torch's choice",
    }
    rows = figures(bench.samples, args.shapes, has_bf16=has_bf16)
    print(report.as_text(bench.samples, rows, about))
    if args.json is not None:
        found = report.as_json(bench.samples, rows, about, machine.versions())
        report.write_json(args.json, {**found, "seconds": time.monotonic() - started})
    return 0 if bench.samples.values else 1


def _plan(args: argparse.Namespace) -> Plan:
    plan = replace(QUICK if args.quick else Plan(), only=args.only, threads=args.threads)
    if args.rounds is not None:
        count = args.rounds
        plan = replace(plan, rounds=count, eight_rounds=count, turn_rounds=count)
    return plan


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description="Measure the app beside the other ways to run a model.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="what --only takes:\n"
        + "\n".join(f"  {name:11}{text}" for name, text in MEASURES.items()),
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats, all rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there")
    parser.add_argument(
        "--shapes",
        nargs="+",
        choices=SHAPES,
        default=list(DEFAULT_SHAPES),
        metavar="SHAPE",
        help=f"of {', '.join(SHAPES)}, small ones first ({' '.join(DEFAULT_SHAPES)})",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASURES,
        default=list(MEASURES),
        metavar="NAME",
        help="measure only this",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="repeats of everything")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (its own choice)")
    return parser.parse_args(argv)


def _tell(started: float, line: str) -> None:
    print(f"[{time.monotonic() - started:5.0f} s] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
