"""The command line beside the app: `python -m chat_ui forecast MODEL`, `python -m chat_ui models`.

It forecasts and lists, and serves nothing: that is `app.py`. No weights are read, and nothing but a
model's config is fetched.
"""

import argparse
import io
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from chat_ui.errors import ChatUIError, ModelError
from chat_ui.history.database import FILE_NAME
from chat_ui.history.store import Store
from chat_ui.models.catalogue import catalogue
from chat_ui.models.forecast import PrecisionForecast
from chat_ui.models.spec import BUILT_IN_ID, find
from chat_ui.service import Choice, ModelCard, RealInstruments
from chat_ui.service.choosing import Choosing
from chat_ui.service.forecasts import Forecasts
from chat_ui.service.machine import ThisMachine
from chat_ui.settings import read
from chat_ui.ui.model_card import group_title, short_count, verdict_word
from chat_ui.ui.quantities import rate, size

# The four that every machine and model has, in the order of their size; others follow.
PRECISIONS: Final = ("float32", "bfloat16", "8bit", "4bit")
_COLUMNS: Final = "{:17} {:>9} {:>11} {:>9} {:>9} {:>9}  {:11} {:>9}"
_KEYS: Final = (
    "weight_bytes", "unquantized_bytes", "kv_cache_bytes", "total_bytes", "load_peak_bytes",
    "verdict", "missing_bytes", "tokens_per_s", "prompt_tokens_per_s", "reach",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong is a sentence on standard error.

    Returns:
        0, or 1 where it could not be done.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    args = _arguments(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may have letters that a terminal has not
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        forecasts = _forecasts()
        choosing = Choosing(lambda: [find(BUILT_IN_ID)], forecasts)
        if args.command == "models":
            return _models(choosing, forecasts, args.json)
        return _forecast(choosing, forecasts.machine, args)
    except ChatUIError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chat_ui",
        description="What models take and do on this machine, before they are here.",
        epilog="The app itself is started with: python app.py",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("forecast", help="memory and speed of one model, in each precision")
    one.add_argument("model", metavar="MODEL", help="a Hub id, or a folder with a config.json")
    one.add_argument("--context", type=_tokens, metavar="N", help="tokens of a conversation")
    one.add_argument("--precision", metavar="P", help="only this one, such as 4bit")
    listing = commands.add_parser("models", help="the catalogue and the Hub's cache")
    for command in (one, listing):
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def _tokens(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens, such as 4096")
    return count


def _forecasts() -> Forecasts:
    """As the app's own, with what it has learnt, if it ever ran."""
    settings, instruments = read(), RealInstruments()
    data_dir = settings.data_dir
    file = data_dir / FILE_NAME
    measurements = Store.beside(file).measurements if file.is_file() else None
    machine = ThisMachine(data_dir, instruments, is_quiet=lambda: True)
    return Forecasts(machine, instruments, measurements, lambda: 0, settings.model_memory_bytes)


def _forecast(choosing: Choosing, machine: ThisMachine, args: argparse.Namespace) -> int:
    was_measured = machine.is_measured  # looking at a card begins it
    card = choosing.card(args.model, args.context)
    if card.forecast is not None and not was_measured:
        sys.stderr.write("Measuring this machine, once: it takes some seconds.\n")
        machine.wait_measured()
        card = choosing.card(args.model, args.context)
    if card.forecast is None:
        raise ModelError(card.problem or "Its config can't be read.")
    order = [*PRECISIONS, *(name for name in card.forecast.precisions if name not in PRECISIONS)]
    found = {
        name: card.forecast.precisions[name] for name in order if name in card.forecast.precisions
    }
    if args.precision is not None:
        wanted = card.forecast.full if args.precision == "full" else args.precision
        if wanted not in found:
            raise ModelError(
                f"There is no forecast for the precision {args.precision!r}.",
                f"Give one of {', '.join(found)}.",
            )
        found = {wanted: found[wanted]}
    if args.json:
        _print(json.dumps(_as_json(card, found), indent=2))
    else:
        _print("\n".join(_as_text(card, found)))
    return 0


def _as_json(card: ModelCard, found: dict[str, PrecisionForecast]) -> dict[str, Any]:
    return {
        "model": card.choice.id,
        "total_parameters": card.choice.parameters,
        "active_parameters": card.choice.active_parameters,
        "context_tokens": card.context_tokens,
        "window_tokens": card.window_tokens,
        "dtype": card.dtype,
        "quantized_as": card.quantized_as,
        "free_bytes": card.free_bytes,
        "machine": card.machine,
        "bandwidth_bytes_per_s": card.bandwidth_bytes_per_s,
        "problem": card.problem,
        "precisions": {
            name: {key: asdict(one)[key] for key in _KEYS} for name, one in found.items()
        },
    }


def _as_text(card: ModelCard, found: dict[str, PrecisionForecast]) -> list[str]:
    window = f" of {card.window_tokens:,}" if card.window_tokens else ""
    bandwidth = card.bandwidth_bytes_per_s
    reads = f", reads {bandwidth / 1e9:.1f} GB/s" if bandwidth else ""
    lines = [
        f"{card.choice.label}: {short_count(card.choice)} parameters",
        f"{card.machine}{reads}, {size(card.free_bytes)} free",
        f"With a context of {card.context_tokens:,}{window} tokens:",
        "",
        _COLUMNS.format(
            "precision",
            "weights",
            "left alone",
            "cache",
            "in all",
            "loading",
            "verdict",
            "tokens/s",
        ),
    ]
    for name, one in found.items():
        lines.append(
            _COLUMNS.format(
                name,
                size(one.weight_bytes),
                size(one.unquantized_bytes),
                size(one.kv_cache_bytes),
                size(one.total_bytes),
                size(one.load_peak_bytes),
                verdict_word(one.verdict).lower() if one.is_honest else "not offered",
                "" if one.tokens_per_s is None else rate(one.tokens_per_s),
            )
        )
    notes = [card.quantized_as and f"Its files are quantized: {card.quantized_as}."]
    least = min((one.reach for one in found.values()), default=1.0)
    if any(not one.is_honest for one in found.values()):
        notes.append(f"What is not offered reaches only {least:.0%} of this model's layers.")
    notes += [card.what_fits, card.problem]
    return [*lines, *(f"\n{note}" for note in notes if note)]


def _models(choosing: Choosing, forecasts: Forecasts, as_json: bool) -> int:
    for one in catalogue():  # one after the other: their counts are known then
        with suppress(ModelError):
            forecasts.architecture(one.config)
    groups = choosing.choices()
    if as_json:
        found = [{"group": group.kind, **asdict(one)} for group in groups for one in group.choices]
        _print(json.dumps({"models": found}, indent=2))
        return 0
    lines = []
    for group in groups:
        lines += ["", group_title(group.kind), *(_listed(one) for one in group.choices)]
    _print("\n".join(lines[1:]))
    return 0


def _listed(one: Choice) -> str:
    verdict = f"{verdict_word(one.verdict).lower()} in {one.precision}" if one.verdict else ""
    told = [short_count(one), verdict, "gated" if one.is_gated else "", one.licence]
    return f"  {one.id:44} {', '.join(filter(None, told))}"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
