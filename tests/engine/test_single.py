"""The plain loop: the same tokens as `generate`, whatever is reused and whoever else is answered.

In float32, for an architecture of every kind of cache. The tiny models' answers never end by
themselves here, so that every test knows how many tokens come.
"""

import gc
import random
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from chat_ui.chat.generation import GenerationConfig
from chat_ui.engine import single
from chat_ui.engine.forward import Forward
from chat_ui.engine.kept_caches import Cached
from chat_ui.engine.load import load_model
from chat_ui.engine.loaded import LoadedModel, run_on_own_thread
from chat_ui.engine.protocol import Delta, Event, Failed, Finished, Request, Started
from chat_ui.engine.sampler import Sampler
from chat_ui.engine.single import OPENING_TOKENS, SingleEngine
from chat_ui.errors import EngineError, PromptTooLongError
from chat_ui.models import memory
from tests.contract.harness import DEADLINE_S, Reader
from tests.engine import random_models

pytestmark = pytest.mark.torch

# The libraries' million objects, which every collection would walk.
gc.freeze()

T = TypeVar("T")

TOKENS = 6
PART = 16
# The longest is read in four parts.
PROMPT_LENGTHS = (24, 3, 60, 17)

CROPPED = ["llama", "deepseek_v3"]
WINDOWED = ["gemma4"]
RECURRENT = ["lfm2", "mamba2", "granitemoehybrid", "falcon_h1", "qwen3_next"]
# Several tokens can't be read on top of others.
READ_WHOLE = ["mamba"]
# It keeps its states in its modules, as if there were only one conversation.
UNCACHED = ["recurrent_gemma"]


class Bench:
    """An engine, its model, and what its sampler chose."""

    def __init__(self, loaded: LoadedModel, patch: pytest.MonkeyPatch) -> None:
        self.variant = ""
        self.tokens: dict[int, list[int]] = defaultdict(list)
        # Given the tokens that were read and their scores; gives the scores, or raises.
        self.spoil: Callable[[list[int], torch.Tensor], torch.Tensor] = lambda ids, scores: scores
        bench = self

        class Recorder(Sampler):
            def __init__(self, config: GenerationConfig, prompt_ids: Sequence[int]) -> None:
                super().__init__(config, prompt_ids)
                self._tokens = bench.tokens[config.seed or 0]
                self._tokens.clear()

            def __call__(self, scores: torch.Tensor) -> int:
                self._tokens.append(super().__call__(scores))
                return self._tokens[-1]

        class Spoiled(Forward):
            def __call__(self, cached: Cached, ids: Sequence[int]) -> torch.Tensor:
                scores = super().__call__(cached, ids)
                return bench.spoil(cached.ids, scores)

        patch.setattr(single, "Sampler", Recorder)
        patch.setattr(single, "Forward", Spoiled)
        patch.setattr(single, "CPU_PART_TOKENS", PART)
        self.loaded = replace(loaded, eos_token_ids=())
        loaded.model.generation_config.eos_token_id = None
        self.engine = SingleEngine(self.loaded)

    def start(self, *requests: Request) -> list[Reader]:
        readers = [Reader() for _ in requests]
        for request, reader in zip(requests, readers, strict=True):
            self.engine.start(request, reader)
        return readers

    def answers(self, *requests: Request) -> list[list[int]]:
        """The tokens of answers that were started together; seeds tell them apart."""
        for reader in self.start(*requests):
            assert isinstance(reader.wait(), Finished), reader.events
        return [list(self.tokens[request.config.seed or 0]) for request in requests]

    def answer(self, prompt: Sequence[int]) -> tuple[list[int], int]:
        """A greedy answer's tokens, and how many of its prompt's were reused."""
        request = greedy(prompt)
        (reader,) = self.start(request)
        assert isinstance(reader.wait(), Finished), reader.events
        return list(self.tokens[1]), reused(reader)

    def generate(self, prompt: Sequence[int], penalty: float = 1.0) -> list[int]:
        """What the library's `generate` answers, greedily. The engine is idle meanwhile."""

        def run() -> list[int]:
            ids = torch.tensor([list(prompt)])
            output = self.loaded.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=TOKENS,
                repetition_penalty=penalty,
            )
            tokens: list[int] = output[0, len(prompt) :].tolist()
            return tokens

        return run_on_own_thread(run)

    def forget(self) -> None:
        """Drop the kept caches."""
        self.ask(lambda: self.engine._kept.shrink(0))

    def ask(self, function: Callable[[], T]) -> T:
        """Run on the engine's thread, between two steps."""
        result: Future[T] = Future()
        self.engine._inbox.put(lambda: result.set_result(function()))
        return result.result(DEADLINE_S)

    def reusable(self, same: int, *marks: int) -> int:
        """How many of a prompt's tokens are reused, if a longer cache begins with so many of them.

        Args:
            same: how many.
            *marks: where snapshots were taken.
        """
        if self.variant in CROPPED:
            return same
        if self.variant in [*WINDOWED, *RECURRENT]:
            return max((mark for mark in marks if mark <= same), default=0)
        return 0


def load(folder: Path, variant: str) -> LoadedModel:
    spec = random_models.spec(random_models.write(folder / variant, variant))
    return load_model(spec, "full", speedup=lambda model: 1.0)


@pytest.fixture(scope="module", params=[*CROPPED, *WINDOWED, *RECURRENT, *READ_WHOLE, *UNCACHED])
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """An engine for all tests of exactness; its caches are what the tests before have left."""
    with pytest.MonkeyPatch.context() as patch:
        made = Bench(load(tmp_path_factory.mktemp("model"), request.param), patch)
        made.variant = request.param
        yield made
        made.engine.close()


@pytest.fixture(scope="module", params=["llama", "lfm2"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture
def own(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """An engine of the test's own, which it may break."""
    made = Bench(loaded, monkeypatch)
    yield made
    made.engine.close()


def prompt_of(length: int, seed: int = 0) -> list[int]:
    numbers = random.Random(1000 * length + seed)
    return [numbers.randrange(3, random_models.VOCABULARY) for _ in range(length)]


def greedy(
    prompt: Sequence[int], key: int = 1, penalty: float = 1.0, tokens: int = TOKENS, owner: str = ""
) -> Request:
    config = GenerationConfig(
        temperature=0.0, repetition_penalty=penalty, max_new_tokens=tokens, seed=key
    )
    return Request(prompt, config, owner)


def reused(reader: Reader) -> int:
    (started,) = (event for event in reader.events if isinstance(event, Started))
    return started.reused_tokens


# Exactness ------------------------------------------------------------------------------------


def test_greedy_is_generate_alone_and_in_company(bench: Bench) -> None:
    penalties = (1.0, 1.3, 1.0, 1.3)
    prompts = [prompt_of(length) for length in PROMPT_LENGTHS]
    wanted = list(map(bench.generate, prompts, penalties))
    requests = list(map(greedy, prompts, range(1, 5), penalties))
    bench.forget()
    assert [bench.answers(request)[0] for request in requests] == wanted
    assert bench.answers(*requests) == wanted  # with what was kept
    bench.forget()
    assert bench.answers(*requests) == wanted


def test_a_seed_gives_the_same_answer_alone_and_in_company(bench: Bench) -> None:
    requests = [
        Request(
            prompt_of(length),
            GenerationConfig(
                temperature=0.9, top_p=0.9, repetition_penalty=1.1, max_new_tokens=TOKENS, seed=seed
            ),
        )
        for seed, length in enumerate(PROMPT_LENGTHS, 1)
    ]
    bench.forget()
    alone = [bench.answers(request)[0] for request in requests]
    assert bench.answers(*requests) == alone
    assert bench.answers(*requests[::-1]) == alone[::-1]


def test_the_next_turn_reads_only_what_is_new(bench: Bench) -> None:
    first = prompt_of(50, seed=1)
    answer, _ = bench.answer(first)
    second = [*first, *answer, *prompt_of(5, seed=2)]
    third, count = bench.answer(second)
    assert third == bench.generate(second)
    # The answer's last token was chosen, and never read.
    assert count == (0 if bench.variant in UNCACHED else len(first) + TOKENS - 1)


def test_regenerate_goes_back_to_the_prompt(bench: Bench) -> None:
    prompt = prompt_of(50, seed=3)
    wanted = bench.generate(prompt)
    mark = len(prompt) - OPENING_TOKENS
    bench.forget()
    for count in (0, bench.reusable(len(prompt) - 1, mark)):
        assert bench.answer(prompt) == (wanted, count)


def test_regenerate_after_a_short_question_goes_back_to_the_turn_before(bench: Bench) -> None:
    first = prompt_of(45, seed=4)
    second = [*first, *bench.answer(first)[0], *prompt_of(5, seed=5)]
    wanted = bench.generate(second)
    bench.answer(second)
    turn = len(first) + TOKENS - 1
    answer, count = bench.answer(second)
    assert answer == wanted
    # What is read token by token is not read whole, so here Mamba has a snapshot.
    is_single = bench.variant in READ_WHOLE
    assert count == (turn if is_single else bench.reusable(len(second) - 1, turn))


def test_an_edit_reuses_what_is_before_it(bench: Bench) -> None:
    first = prompt_of(45, seed=6)
    second = [*first, *bench.answer(first)[0], *prompt_of(30, seed=7)]
    bench.answer(second)
    same = len(first) + TOKENS + 10
    edited = [*second[:same], *prompt_of(20, seed=8)]
    answer, count = bench.answer(edited)
    assert answer == bench.generate(edited)
    assert count == bench.reusable(same, len(first) - OPENING_TOKENS)


def test_a_template_that_rewrites_an_answer_reuses_the_prompt(bench: Bench) -> None:
    """As where thoughts are left out: only the last tokens of the prompt and the answer change."""
    first = prompt_of(45, seed=9)
    bench.answer(first)
    same = len(first) - 5
    second = [*first[:same], *prompt_of(20, seed=10)]
    answer, count = bench.answer(second)
    assert answer == bench.generate(second)
    assert count == bench.reusable(same, len(first) - OPENING_TOKENS)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_what_was_read_before_a_cancel_is_reused(bench: Bench, after: int) -> None:
    prompt = prompt_of(50, seed=11 + after)
    wanted = bench.generate(prompt)
    reader = Reader()
    cancel = bench.engine.start(greedy(prompt, tokens=400), reader)
    reader.wait_for_tokens(after)
    cancel()
    assert reader.wait() == Finished("cancelled")
    answer, count = bench.answer(prompt)
    assert answer == wanted
    if after:
        mark = len(prompt) - OPENING_TOKENS
        assert count == bench.reusable(len(prompt) - 1, mark)


def test_conversations_share_a_system_prompt(bench: Bench) -> None:
    system = prompt_of(70, seed=20)
    prompts = [[*system, *prompt_of(30, seed=seed)] for seed in (21, 22, 23)]
    wanted = [bench.generate(prompt) for prompt in prompts]
    bench.forget()
    found = [bench.answer(prompt) for prompt in prompts]
    assert [answer for answer, _ in found] == wanted
    # The second one to have it shows that it is worth a snapshot.
    second, third = ([70, 70], [0, 70])[bench.variant not in CROPPED]
    assert [count for _, count in found] == [
        0,
        *(bench.reusable(70, each) for each in (second, third)),
    ]
    # And what the first one had is still there.
    follow_up = [*prompts[0], *wanted[0], 7, 8]
    answer, count = bench.answer(follow_up)
    assert answer == bench.generate(follow_up)
    assert count == (0 if bench.variant in UNCACHED else len(prompts[0]) + TOKENS - 1)


def test_an_open_conversation_s_beginning_is_copied(bench: Bench) -> None:
    system = prompt_of(70, seed=30)
    prompts = [[*system, *prompt_of(20, seed=seed)] for seed in (31, 32)]
    wanted = [bench.generate(prompt) for prompt in prompts]
    bench.forget()
    long = Reader()
    cancel = bench.engine.start(greedy(prompts[0], key=2, tokens=600), long)
    long.wait_for_tokens(2)
    answer, count = bench.answer(prompts[1])
    assert not long.ends
    assert answer == wanted[1]
    assert count == bench.reusable(70)
    long.wait_for_tokens(TOKENS)
    cancel()
    long.wait()
    assert bench.tokens[2][:TOKENS] == wanted[0]


def test_a_window_is_cropped_while_it_forgot_nothing(bench: Bench) -> None:
    prompt = prompt_of(10, seed=40)
    wanted = bench.generate(prompt)
    bench.forget()
    bench.answer(prompt)
    answer, count = bench.answer(prompt)
    assert answer == wanted
    assert count == (9 if bench.variant in [*CROPPED, *WINDOWED] else 0)


# Fairness -------------------------------------------------------------------------------------


class Order:
    """Sinks that note in which order events came."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Event]] = []
        self.readers: dict[str, Reader] = defaultdict(Reader)

    def sink(self, name: str) -> Callable[[Event], None]:
        def hear(event: Event) -> None:
            self.heard.append((name, event))
            reader(event)

        reader = self.readers[name]
        return hear

    def names(self, kind: type) -> str:
        return "".join(name for name, event in self.heard if isinstance(event, kind))


def test_every_text_grows_in_turn(own: Bench) -> None:
    order = Order()

    def start() -> None:
        for key, name in enumerate("abc", 1):
            own.engine.start(greedy(prompt_of(5, seed=key), key), order.sink(name))

    own.ask(start)  # all in one go
    for reader in order.readers.values():
        reader.wait()
    together = order.names(Delta)[4:-4]
    assert len(together) > TOKENS
    assert all(len({*together[at : at + 3]}) == 3 for at in range(len(together) - 2))


def test_a_long_prompt_stalls_nobody(own: Bench) -> None:
    order = Order()
    cancel = own.engine.start(greedy(prompt_of(5), 1, tokens=500), order.sink("a"))
    order.readers["a"].wait_for_tokens(3)
    own.engine.start(greedy(prompt_of(10 * PART), 2), order.sink("b"))
    # A short one does not wait for the long one, either.
    own.engine.start(greedy(prompt_of(6), 3, tokens=2), order.sink("c"))
    order.readers["b"].wait_for_tokens(1)
    cancel()
    order.readers["a"].wait()
    names = [name for name, _ in order.heard]
    begun, ended = (
        next(at for at, (name, event) in enumerate(order.heard) if (name, type(event)) == wanted)
        for wanted in (("b", Started), ("b", Delta))
    )
    assert names[begun:ended].count("a") >= 10
    assert order.names(Finished).startswith("c")


def test_memory_decides_how_many_run_and_owners_take_turns(own: Bench) -> None:
    order = Order()
    # Two prompts of this length and their answers.
    own.engine._budget_bytes = 2 * own.engine._cost.bytes(20 + 6)

    def start() -> None:
        for key, name in enumerate("aaaabcc", 1):
            request = greedy(prompt_of(20, seed=key), key, tokens=6, owner=name)
            own.engine.start(request, order.sink(f"{name}{key}"))

    own.ask(start)
    most = 0
    while own.ask(lambda: len(own.engine._rows) + len(own.engine._waiting)):
        most = max(most, own.ask(lambda: len(own.engine._rows)))
    for reader in order.readers.values():
        assert reader.wait() == Finished("length")
    assert most <= 2
    assert order.names(Started) == "a1b5c6a2c7a3a4"


def test_a_request_that_waits_can_be_cancelled(own: Bench) -> None:
    own.engine._budget_bytes = 1
    running, waiting, last = Reader(), Reader(), Reader()
    cancel_running = own.engine.start(greedy(prompt_of(5), 1, tokens=1000, owner="a"), running)
    running.wait_for_tokens(1)
    cancel_waiting = own.engine.start(greedy(prompt_of(5), 2, owner="a"), waiting)
    own.engine.start(greedy(prompt_of(6), 3, owner="a"), last)
    cancel_waiting()
    assert waiting.wait() == Finished("cancelled")
    assert not running.ends
    cancel_running()
    assert last.wait() == Finished("length")


# Memory ---------------------------------------------------------------------------------------


def test_the_least_recently_used_leaves_first(own: Bench) -> None:
    used, other = prompt_of(60, seed=1), prompt_of(60, seed=2)
    used += own.answer(used)[0]
    other += own.answer(other)[0]
    used += [5, *own.answer([*used, 5])[0]]
    kept = own.engine._kept
    own.ask(lambda: kept.shrink(kept.bytes - 1))
    assert own.ask(lambda: len(kept)) == 1
    assert own.answer([*used, 6])[1] == len(used) - 1
    assert own.answer([*other, 6])[1] == 0


def test_an_answer_before_regenerate_can_be_returned_to_and_leaves_first(own: Bench) -> None:
    other, prompt = prompt_of(60, seed=2), prompt_of(60, seed=1)
    own.answer(other)
    old = [*prompt, *own.answer(prompt)[0]]
    assert own.answer([*prompt[:-1], 5])[1] > 0
    kept = own.engine._kept
    first = own.ask(lambda: next(iter(kept._kept)).ids)
    assert first == old[:-1]
    assert own.answer([*old, 6])[1] == len(old) - 1


def test_kept_caches_stay_within_the_budget(own: Bench) -> None:
    own.engine._budget_bytes = budget = 3 * own.engine._cost.bytes(60)
    for seed in range(8):
        own.answer(prompt_of(50, seed=seed))
        assert own.ask(lambda: own.engine._kept.bytes) <= budget
    assert own.ask(lambda: len(own.engine._kept)) >= 2


def test_the_cost_of_a_cache_is_what_it_takes(bench: Bench) -> None:
    """Within what a part leaves behind a window, and with two snapshots."""
    bench.forget()
    first = prompt_of(60, seed=50)
    bench.answer([*first, *bench.answer(first)[0], *prompt_of(30, seed=51)])
    kept = [Cached(), *bench.ask(lambda: list(bench.engine._kept._kept))][-1]
    cost = bench.engine._cost
    real, forecast = kept.bytes(), cost.bytes(len(kept.ids))
    slack = 0 if bench.variant not in WINDOWED else 3 * PART * cost.bytes(1)
    if bench.variant in READ_WHOLE:  # a single snapshot, or none
        assert forecast / 3 <= real <= forecast
    else:
        assert 0.8 * forecast <= real <= forecast + slack


def test_a_window_that_memory_does_not_hold_is_made_smaller(
    own: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = own.engine._cost
    monkeypatch.setattr(memory, "free_bytes", lambda kind: 4 * cost.bytes(1000))
    engine = SingleEngine(own.loaded)
    try:
        assert engine.facts.window_tokens == 1000
        reader = Reader()
        engine.start(greedy(prompt_of(1000)), reader)
        end = reader.wait()
        assert isinstance(end, Failed)
        assert isinstance(end.error, PromptTooLongError)
        assert "1,000" in str(end.error)
    finally:
        engine.close()


# Failure --------------------------------------------------------------------------------------


def fail(error: Exception) -> torch.Tensor:
    raise error


FAULTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exception": lambda scores: fail(RuntimeError("as planned")),
    "not numbers": lambda scores: scores * torch.nan,
    "full GPU": lambda scores: fail(torch.OutOfMemoryError("CUDA out of memory.")),
    "full": lambda scores: fail(RuntimeError("DefaultCPUAllocator: can't allocate memory")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_request_s_own(own: Bench, fault: str) -> None:
    """Whatever it is, and at whichever token."""
    prompts = [prompt_of(5, seed=seed) for seed in range(3)]
    wanted = [own.generate(prompt) for prompt in prompts]
    for at in (0, 3) if "full" in fault else (0, 3, TOKENS - 1):
        own.forget()
        own.answer(prompt_of(6))  # something is kept

        def spoil(ids: list[int], scores: torch.Tensor, at: int = at) -> torch.Tensor:
            is_it = ids[:5] == prompts[1] and len(ids) == 5 + at
            return FAULTS[fault](scores) if is_it else scores

        own.spoil = spoil
        readers = own.start(*(greedy(prompt, key) for key, prompt in enumerate(prompts, 1)))
        end = readers[1].wait()
        assert isinstance(end, Failed)
        assert type(end.error) is EngineError
        assert ("memory" in end.error.sentence) == ("full" in fault)
        assert "as planned" not in str(end.error)
        assert readers[1].tokens == at
        for key in (0, 2):
            assert readers[key].wait() == Finished("length")
            assert own.tokens[key + 1] == wanted[key]
        kept = own.ask(lambda: [cached.ids[:5] for cached in own.engine._kept._kept])
        assert prompts[1] not in kept  # it may be broken
        assert (prompt_of(6)[:5] in kept) == ("full" not in fault)
        own.spoil = lambda ids, scores: scores
        assert own.answer(prompts[1])[0] == wanted[1]


def test_a_fault_of_the_engine_itself_reaches_everyone(
    own: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def advance(row: object) -> None:
        raise RuntimeError("as planned")

    with monkeypatch.context() as patch:
        patch.setattr(own.engine, "_advance", advance)
        for reader in own.start(greedy(prompt_of(5), 1), greedy(prompt_of(6), 2)):
            assert isinstance(reader.wait(), Failed)
    assert len(own.answer(prompt_of(5))[0]) == TOKENS


def test_a_reader_that_breaks_leaves(own: Bench) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("a broken reader")

    own.engine.start(greedy(prompt_of(5), 2, tokens=1000), broken)
    assert len(own.answer(prompt_of(6))[0]) == TOKENS
    assert own.ask(lambda: len(own.engine._rows)) == 0


def test_a_thousand_cancelled_requests_leave_nothing(own: Bench) -> None:
    """Cancelled while they wait, read or write."""
    own.engine._budget_bytes = budget = 8 * own.engine._cost.bytes(1100)

    def alive() -> int:
        gc.collect()
        return sum(type(each) is Cached for each in gc.get_objects())

    threads, before = set(threading.enumerate()), alive()
    chance = random.Random(0)
    for _ in range(20):
        readers = [Reader() for _ in range(50)]
        cancels = [
            own.engine.start(
                greedy(prompt_of(chance.randrange(1, 50), seed), seed, tokens=1500), reader
            )
            for seed, reader in enumerate(readers, 1)
        ]
        readers[chance.randrange(3)].wait_for_tokens(chance.randrange(3))
        chance.shuffle(cancels)
        for cancel in cancels:
            cancel()
        assert {reader.wait() for reader in readers} == {Finished("cancelled")}
    assert own.ask(lambda: len(own.engine._rows) + len(own.engine._waiting)) == 0
    assert own.ask(lambda: own.engine._kept.bytes) <= budget
    assert alive() - before <= own.ask(lambda: len(own.engine._kept))
    assert set(threading.enumerate()) == threads
    assert len(own.answer(prompt_of(6))[0]) == TOKENS


def test_a_model_that_can_t_run_is_the_caller_s_again(own: Bench) -> None:
    threads = set(threading.enumerate())
    own.spoil = lambda ids, scores: fail(RuntimeError("as planned"))
    with pytest.raises(RuntimeError, match="as planned") as caught:
        SingleEngine(own.loaded)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert not any(isinstance(each, Forward) for f in frames for each in f.f_locals.values())
    assert set(threading.enumerate()) == threads
    own.spoil = lambda ids, scores: scores
    assert len(own.answer(prompt_of(6))[0]) == TOKENS
