"""Measures the batched engine against `model.generate`, side by side on the same loaded model.

    python -m tools.bench.decode                       # the built-in model
    python -m tools.bench.decode --random 135M         # random weights are as fast as others
    python -m tools.bench.decode path/to/model --precision 4bit --readers 1 4

Every row is the median of several rounds, and a round measures everything once, so that a machine
that is busy for a while does not favour one side. `generate` runs on the engine's own thread: on
another, two pools of OpenMP threads would fight for the cores and both sides would
lose.
"""

import argparse
import queue
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from transformers import LogitsProcessor

from chat_ui.chat.generation import GenerationConfig
from chat_ui.engine import ragged
from chat_ui.engine.batched import BatchedEngine
from chat_ui.engine.load import load_model
from chat_ui.engine.loaded import LoadedModel
from chat_ui.engine.protocol import Delta, Event, Failed, Request
from chat_ui.models import quantization
from chat_ui.models.spec import ModelSpec, find
from tests.engine import random_models

T = TypeVar("T")

# Llama shapes near SmolLM2-135M and Qwen3-0.6B.
SHAPES: Final[dict[str, dict[str, int]]] = {
    "5M": {
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 5,
        "vocab_size": 4096,
    },
    "135M": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
    },
    "600M": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
    },
}


@dataclass(frozen=True, slots=True)
class Timing:
    """How one answer went.

    Attributes:
        first_token_s: seconds from the request to its first token.
        tokens_per_s: tokens after the first, divided by the seconds between the first and the last.
    """

    first_token_s: float
    tokens_per_s: float


def main() -> None:
    """Parse the command line, measure and print a table."""
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        loaded = _load(args, Path(folder))
        # No answer may end early.
        loaded = replace(loaded, eos_token_ids=())
        engine = BatchedEngine(loaded)
        try:
            rows = _measure(engine, loaded, args)
        finally:
            engine.close()
    print(f"{loaded.facts.spec.label}, {loaded.facts.dtype}, {loaded.facts.device}")
    print(f"prompt {args.prompt} tokens, answer {args.tokens}, medians of {args.rounds}\n")
    print(f"{'':34}{'first token':>12}{'tokens/s in all':>18}")
    for name, timings in rows.items():
        first = statistics.median(timing.first_token_s for timing in timings)
        speed = statistics.median(timing.tokens_per_s for timing in timings)
        print(f"{name:34}{first * 1000:9.0f} ms{speed:18.1f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", nargs="?", default="", help="as the app takes it")
    parser.add_argument("--random", choices=sorted(SHAPES), help="random weights of this size")
    parser.add_argument("--dtype", default="float32", help="of the random weights")
    parser.add_argument("--precision", choices=quantization.PRECISIONS, default="full")
    parser.add_argument("--readers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt")
    parser.add_argument("--tokens", type=int, default=48, help="tokens of each answer")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _load(args: argparse.Namespace, folder: Path) -> LoadedModel:
    return load_model(_spec(args, folder), quantization.precision(args.precision))


def _spec(args: argparse.Namespace, folder: Path) -> ModelSpec:
    if args.random is None:
        return find(args.model)
    shape: dict[str, Any] = dict(SHAPES[args.random])
    random_models.write(
        folder / f"random-{args.random}", dtype=args.dtype, initializer_range=0.02, **shape
    )
    return random_models.spec(folder / f"random-{args.random}")


def _measure(
    engine: BatchedEngine, loaded: LoadedModel, args: argparse.Namespace
) -> dict[str, list[Timing]]:
    """Timings by row; the first round warms up and is not counted."""
    rows: dict[str, list[Timing]] = defaultdict(list)
    prompts = _Prompts(loaded, args.prompt)
    for number in range(args.rounds + 1):
        round_rows = {
            "generate, 1 reader": on_engine_thread(
                engine, partial(_generate, loaded.model, [prompts.new()], args.tokens)
            )
        }
        for readers in args.readers:
            batch = [prompts.new() for _ in range(readers)]
            round_rows[f"engine, {readers} readers"] = _answer(engine, batch, args.tokens)
            if readers > 1:
                run = partial(_generate, loaded.model, batch, args.tokens)
                round_rows[f"generate, one batch of {readers}"] = on_engine_thread(engine, run)
        turn = prompts.new()
        _answer(engine, [turn], 1)
        longer = [*turn, *prompts.new()[:16]]
        round_rows["engine, next turn of 16 tokens"] = _answer(engine, [longer], args.tokens)
        if number:
            for name, timing in round_rows.items():
                rows[name].append(timing)
    return rows


class _Prompts:
    """Prompts that have nothing in common, so that no cache helps."""

    def __init__(self, loaded: LoadedModel, tokens: int) -> None:
        self._random = random.Random(0)
        self._vocabulary = loaded.model.config.get_text_config().vocab_size
        self._tokens = tokens

    def new(self) -> list[int]:
        return [self._random.randrange(3, self._vocabulary) for _ in range(self._tokens)]


def _answer(engine: BatchedEngine, prompts: Sequence[Sequence[int]], tokens: int) -> Timing:
    """Start one answer for each prompt at once, and wait for all."""
    events: queue.SimpleQueue[tuple[float, Event]] = queue.SimpleQueue()
    config = GenerationConfig(temperature=0.0, max_new_tokens=tokens, seed=0)
    started = time.perf_counter()
    for prompt in prompts:
        engine.start(
            Request(prompt, config), lambda event: events.put((time.perf_counter(), event))
        )
    arrivals: list[float] = []
    open_answers = len(prompts)
    while open_answers:
        at, event = events.get()
        if isinstance(event, Delta):
            arrivals += [at] * event.tokens
        else:
            open_answers -= 1
            if isinstance(event, Failed):
                raise event.error
    return _timing(started, arrivals)


class _Clock(LogitsProcessor):
    """Notes when tokens come. (A streamer, which hears of them too, takes one prompt only.)"""

    def __init__(self) -> None:
        self.arrivals: list[float] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.arrivals.append(time.perf_counter())
        return scores


def _generate(model: Any, prompts: Sequence[Sequence[int]], tokens: int) -> Timing:
    """One `generate` for prompts of the same length; runs on the thread that owns the model."""
    clock = _Clock()
    ids = torch.tensor(prompts)
    attention = model.config._attn_implementation
    if attention == ragged.NAME:  # the engine's own, which only its loop can use
        model.set_attn_implementation("sdpa")
    started = time.perf_counter()
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=None,
        logits_processor=[clock],
    )
    model.set_attn_implementation(attention)
    return _timing(started, [at for at in clock.arrivals for _ in prompts])


def _timing(started: float, arrivals: list[float]) -> Timing:
    """First token and speed of answers whose tokens came at these times, one or more at once."""
    first = arrivals[0]
    after = [at for at in arrivals if at > first]
    seconds = arrivals[-1] - first
    return Timing(first - started, len(after) / seconds if seconds else 0.0)


def on_engine_thread(engine: BatchedEngine, job: Callable[[], T]) -> T:
    """Run a job on the engine's thread, between two steps."""
    results: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(job())
        except Exception as error:
            results.put(error)

    engine._inbox.put(run)
    result = results.get()
    if isinstance(result, BaseException):
        raise result
    return result


if __name__ == "__main__":
    main()
