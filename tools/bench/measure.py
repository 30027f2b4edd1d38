"""Asks the contenders, in turns, and keeps every number.

A round asks each contender once, and the next round begins with another one, so that a machine that
is busy for a while does not favour one side. The first round warms up and is not kept. A contender
that fails is named with its reason, and the others go on.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tools.bench.plan import CONTENDERS, LLAMAS, READERS, SERVES, Plan
from tools.bench.samples import Samples
from tools.bench.shapes import Prompts, TextFacts
from tools.bench.worker import ContenderError, Worker

# A contender's OpenMP threads spin for up to 0.2 s after its last step, on the cores of the next.
_SETTLE_S: Final = 0.3
_LONG_S: Final = 900.0


class Bench:
    """One run.

    Args:
        plan: how much.
        folder: for checkpoints and logs.
        tell: is given a line about what goes on.
    """

    def __init__(self, plan: Plan, folder: Path, tell: Callable[[str], None]) -> None:
        self.samples = Samples()
        self.has_bf16: bool | None = None
        self.device = "cpu"
        self._plan = plan
        self._folder = folder
        self._tell = tell

    def run(self, shapes: Sequence[str]) -> None:
        """Measure everything in the plan; what fails is in `samples.failures`."""
        written = self._prepare(shapes)
        for shape in written:
            _OneShape(self, self._plan, shape, self._folder / shape).run()

    def worker(self, module: str) -> Worker:
        """A new process."""
        threads = self._plan.threads
        environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        return Worker(module, self._folder / f"{module}.log", environment)

    def tell(self, line: str) -> None:
        """Say what goes on."""
        self._tell(line)

    def _prepare(self, shapes: Iterable[str]) -> list[str]:
        written = []
        with self.worker("setup") as setup:
            try:
                self._read_memory(setup)
            except ContenderError as error:
                self.samples.failures["", "memory"] = str(error)
            for shape in shapes:
                try:
                    self._tell(f"{shape}: writing a checkpoint")
                    setup.ask("write", folder=str(self._folder / shape), shape=shape)
                    written.append(shape)
                except ContenderError as error:
                    self.samples.failures[shape, "checkpoint"] = str(error)
        return written

    def _read_memory(self, setup: Worker) -> None:
        self._tell("reading memory")
        plan = self._plan
        rounds = plan.rounds if "bandwidth" in plan.only else 0
        found = setup.ask("bandwidth", size_bytes=plan.bandwidth_bytes, rounds=rounds)
        self.has_bf16, self.device = bool(found["has_bf16"]), str(found["device"])
        for name in ("sum", "matrix"):
            for value in found[name]:
                self.samples.add("", "memory", {f"{name}_bytes_per_s": value})


class _OneShape:
    """All measurements of one shape."""

    def __init__(self, bench: Bench, plan: Plan, shape: str, folder: Path) -> None:
        self._bench = bench
        self._plan = plan
        self._shape = shape
        self._folder = folder
        self._samples = bench.samples
        self._workers: dict[str, Worker] = {}
        self._prompts = Prompts(TextFacts.read(folder))

    def run(self) -> None:
        """In an order that has few models in memory at a time: the app's cache is large."""
        only = self._plan.only
        with ExitStack() as stack:
            self._start(stack)
            ours = self._load("ours")
            if ours is None:
                return
            # First of all: the peak is of these conversations, before the others leave anything.
            alone = {"memory": self._memory, "turn": self._turns, "stop": self._stop}
            for name, job in alone.items():
                if name in only:
                    self._guarded("ours", lambda job=job: job(ours))  # type: ignore[misc]
            if "service" in only:
                self._service(ours)
            if "8bit" in only:
                self._eight_bit(ours)
            if {"decode", "first", "eight"} & set(only):
                self._against_others({"ours": ours, **self._others()})
            if "unload" in only:
                self._guarded("ours", lambda: self._keep("ours", ours.ask("unload"), "unload_"))

    # ---- contenders ----

    def _start(self, stack: ExitStack) -> None:
        """Start all processes at once, and wait until they have imported what they need."""
        for name, contender in CONTENDERS.items():
            if set(contender.measures) & set(self._plan.only):
                self._workers[name] = stack.enter_context(self._bench.worker(contender.module))
        self._say("starting")
        for name, worker in self._workers.items():
            self._guarded(name, lambda worker=worker: worker.ask("ready"))  # type: ignore[misc]

    def _load(self, name: str) -> Worker | None:
        """A contender with its model loaded; None where it can't be, or isn't wanted."""
        if name not in self._workers:
            return None
        self._say(f"loading {name}")
        worker = self._workers[name]
        try:
            facts = worker.ask("load", folder=str(self._folder), **CONTENDERS[name].load)
        except ContenderError as error:
            self._fail(name, error)
            worker.close()
            return None
        self._samples.facts[self._shape, name] = facts
        return worker

    def _others(self) -> dict[str, Worker]:
        names = ("pipeline", "tutorial", *SERVES, *LLAMAS)
        return {name: worker for name in names if (worker := self._load(name)) is not None}

    # ---- measurements ----

    def _memory(self, ours: Worker) -> None:
        result = ours.ask(
            "memory",
            texts=self._texts(READERS),
            tokens=self._plan.eight_tokens,
            deadline_s=_LONG_S,
        )
        self._keep("ours", result, "memory_")

    def _turns(self, ours: Worker) -> None:
        plan, words = self._plan, self._prompts
        # The same number of tokens, one word each, and no prompt begins like another.
        systems = [words.message(24) for _ in range(plan.turn_rounds + 1)]
        answer_tokens = 4
        turn = TextFacts.read(self._folder).turn_tokens + answer_tokens + 2
        question = max(2, plan.history_tokens // plan.turns - turn)
        earlier = [words.message(question) for _ in range(plan.turns - 1)]
        self._say(f"a conversation of {plan.turns} turns")
        ours.ask("talk", texts=earlier, tokens=answer_tokens, system=systems[0], deadline_s=_LONG_S)
        for other in systems[1:]:
            result = ours.ask(
                "next_turn",
                text=words.message(question),
                tokens=answer_tokens,
                system=systems[0],
                other_system=other,
            )
            self._keep("ours", result["warm"], "turn_warm_")
            self._keep("ours", result["cold"], "turn_cold_")

    def _stop(self, ours: Worker) -> None:
        self._say("pressing Stop")
        for _ in range(self._plan.rounds):
            text = self._prompts.prompt(self._plan.prompt_tokens)
            self._keep("ours", ours.ask("stop", text=text), "stop_")

    def _service(self, ours: Worker) -> None:
        tokens = self._plan.answer_tokens
        self._rounds(
            "through the service and past it",
            {
                "ours": lambda: ours.ask("answer", text=self._text(), tokens=tokens),
                "engine": lambda: ours.ask("direct", text=self._text(), tokens=tokens),
            },
            self._plan.rounds,
            "service: ",
        )

    def _eight_bit(self, ours: Worker) -> None:
        quantized = self._load("ours 8bit")
        if quantized is not None:
            self._side_by_side({"ours": ours, "ours 8bit": quantized}, "8bit: ")
            quantized.close()

    def _side_by_side(self, workers: Mapping[str, Worker], prefix: str) -> None:
        self._rounds(
            "one conversation, " + " and ".join(workers),
            {name: self._answer(worker, self._text) for name, worker in workers.items()},
            self._plan.rounds,
            prefix,
        )

    def _against_others(self, workers: Mapping[str, Worker]) -> None:
        plan = self._plan

        def wanted(measure: str) -> dict[str, Worker]:
            if measure not in plan.only:
                return {}
            return {n: worker for n, worker in workers.items() if measure in CONTENDERS[n].measures}

        if decode := wanted("decode"):
            self._side_by_side(decode, "decode: ")
        if first := wanted("first"):
            cold = {
                name: self._answer(worker, lambda: self._prompts.prompt(plan.cold_tokens), 2)
                for name, worker in first.items()
            }
            self._rounds(f"a prompt of {plan.cold_tokens} tokens", cold, plan.rounds, "first: ")
        if eight := wanted("eight"):
            sides = {name: self._answers(worker) for name, worker in eight.items()}
            self._rounds("8 conversations", sides, plan.eight_rounds, "eight: ")

    def _answer(
        self, worker: Worker, text: Callable[[], str], tokens: int | None = None
    ) -> Callable[[], dict[str, Any]]:
        count = tokens or self._plan.answer_tokens
        return lambda: worker.ask("answer", text=text(), tokens=count)

    def _answers(self, worker: Worker) -> Callable[[], dict[str, Any]]:
        tokens = self._plan.eight_tokens

        def ask() -> dict[str, Any]:
            texts = self._texts(READERS)
            found = worker.ask("answers", texts=texts, tokens=tokens, deadline_s=_LONG_S)
            return {**found, "tokens_per_s": found["tokens"] / found["seconds"]}

        return ask

    def _rounds(
        self,
        title: str,
        sides: Mapping[str, Callable[[], dict[str, Any]]],
        rounds: int,
        prefix: str,
    ) -> None:
        """Ask every side once a round; one that fails is not asked again."""
        order = dict(sides)
        for number in range(rounds + 1):
            self._say(f"{title}, round {number} of {rounds}")
            names = list(order)
            first = number % max(1, len(names))
            for name in itertools.chain(names[first:], names[:first]):
                time.sleep(_SETTLE_S)
                try:
                    result = order[name]()
                except ContenderError as error:
                    self._fail(name, error)
                    del order[name]
                    continue
                if number:
                    self._keep(name, result, prefix)

    # ---- parts ----

    def _text(self) -> str:
        return self._prompts.prompt(self._plan.prompt_tokens)

    def _texts(self, count: int) -> list[str]:
        return [self._text() for _ in range(count)]

    def _keep(self, name: str, result: Mapping[str, Any], prefix: str) -> None:
        self._samples.add(self._shape, name, result, prefix)

    def _guarded(self, name: str, job: Callable[[], None]) -> None:
        try:
            job()
        except ContenderError as error:
            self._fail(name, error)

    def _fail(self, name: str, error: ContenderError) -> None:
        self._say(f"{name} failed: {error}")
        self._samples.failures.setdefault((self._shape, name), str(error))

    def _say(self, line: str) -> None:
        self._bench.tell(f"{self._shape}: {line}")
