"""Assisted generation: the answer is the one that it would have been, and it stops where it costs.

In float32. Elsewhere a step of several tokens rounds otherwise than a step of one, as company does.
"""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig
from transformers.generation.continuous_batching import PagedAttentionCache

from chat_ui.chat.generation import GenerationConfig
from chat_ui.engine import batched, verify
from chat_ui.engine.assist import Assistant, Drafter, PromptLookup, is_mixture
from chat_ui.engine.draft import DraftModel, same_tokens
from chat_ui.engine.load import load_engine
from chat_ui.engine.protocol import Event, Finished, Request
from chat_ui.engine.sampler import Sampler
from chat_ui.engine.sizing import PAGE_TOKENS
from tests.contract.harness import Reader
from tests.engine import random_models
from tests.engine.test_exactness import Bench, load, prompt_of

pytestmark = pytest.mark.torch

TOKENS = 50
SAMPLED: dict[str, Any] = {"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.1}
WAYS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 0.0, "repetition_penalty": 1.3},
    SAMPLED,
]
# A window of 32 tokens is a ring that comes round several times in an answer.
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "qwen3": ("qwen3", {}),
    "mistral": ("mistral", {}),
    "mixed": ("qwen3", {**MIXED, "use_sliding_window": True}),
    "eager": ("llama", {}),
}


class Always(Assistant):
    """Drafts at each step, whatever it costs, with the drafter that a test sets."""

    drafter: Drafter | None = None

    def __init__(self, label: str, make: Callable[[], Drafter]) -> None:
        super().__init__(label, lambda: Always.drafter or make())
        self._next_stretch()

    def _next_stretch(self) -> None:
        self._is_drafting, self._tokens_left = True, 10**9


class Oracle:
    """Drafts an answer that is known, with one wrong token in so many."""

    def __init__(self, prompt: Sequence[int], answer: Sequence[int], wrong_every: int) -> None:
        self._all = [*prompt, *answer]
        self._wrong_every = wrong_every
        self.wrong: list[list[int]] = []  # drafts up to a wrong token, with all before them

    def propose(self, tokens: Sequence[int], limit: int) -> list[int]:
        begin = len(tokens)
        assert list(tokens) == self._all[:begin]
        drafts = self._all[begin : begin + limit]
        for place in range(len(drafts)):
            if (begin + place) % self._wrong_every == 0:
                drafts[place] = 3 + (drafts[place] + 1) % (random_models.VOCABULARY - 3)
                self.wrong.append([*tokens, *drafts[: place + 1]])
                break
        return drafts

    def close(self) -> None:
        pass


class Rig(Bench):
    """An engine that can be asked for the same answer with drafts and without."""

    @property
    def has_window(self) -> bool:
        """Whether layers forget what is older than a sliding window."""
        return getattr(self.loaded.model.config, "sliding_window", None) is not None

    def answer(
        self, request: Request, drafter: Drafter | None = None
    ) -> tuple[list[int], Finished]:
        """The tokens of one answer and its end."""
        Always.drafter = drafter
        self.tokens.clear()
        self.scores.clear()
        reader = Reader()
        self.engine.start(request, reader)
        end = reader.wait()
        assert isinstance(end, Finished), end
        tokens = self.tokens[request.config.seed or 0]
        # Every call of the sampler is a token that was passed on.
        assert reader.tokens == len(tokens)
        return tokens, end

    def both(self, request: Request, wrong_every: int = 5) -> tuple[list[int], Finished, Oracle]:
        """The plain answer, checked against an assisted one; the latter's end."""
        plain, _ = self.answer(request)
        oracle = Oracle(request.prompt_ids, plain, wrong_every)
        assisted, end = self.answer(assist(request), oracle)
        assert assisted == plain
        return plain, end, oracle


@pytest.fixture(scope="module", params=list(MODELS))
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    variant, config = MODELS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        loaded = load(tmp_path_factory.mktemp("model"), variant, "float32", "full", **config)
        loaded.eos_token_ids = ()
        if request.param == "eager":  # with masks, as on a GPU
            loaded.model.set_attn_implementation("eager")
        patch.setattr(batched, "Assistant", Always)
        made = Rig(loaded, patch)
        yield made
        made.engine.close()


@pytest.fixture
def llama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A model of the test's own, whose answers have no end."""
    loaded = load(tmp_path, "llama", "float32", "full")
    loaded.eos_token_ids = ()
    monkeypatch.setattr(batched, "Assistant", Always)
    made = Rig(loaded, monkeypatch)
    yield made
    made.engine.close()


def ask(prompt: Sequence[int], key: int = 1, **config: Any) -> Request:
    config = {"temperature": 0.0, "max_new_tokens": TOKENS, "seed": key, **config}
    return Request(prompt, GenerationConfig(**config))


def assist(request: Request) -> Request:
    return replace(request, config=replace(request.config, assisted=True))


# The answer.


@pytest.mark.parametrize("way", WAYS)
def test_an_assisted_answer_is_the_plain_one(rig: Rig, way: dict[str, Any]) -> None:
    request = ask(prompt_of(45), **way)
    plain, end = rig.answer(request)
    assert (end.drafted_tokens, end.accepted_tokens) == (0, 0)
    for wrong_every in (1, 3, 1000):
        tokens, end = rig.answer(assist(request), Oracle(request.prompt_ids, plain, wrong_every))
        assert tokens == plain
        if wrong_every == 1:
            assert end.drafted_tokens > end.accepted_tokens == 0
    # One in each step is chosen without a draft, and the steps get longer.
    assert end.accepted_tokens == end.drafted_tokens > TOKENS * 0.8


def test_prompt_lookup_finds_what_repeats_and_changes_nothing(rig: Rig) -> None:
    # A random model repeats itself sooner or later, when greedy.
    drafted = accepted = 0
    for seed in range(1, 4):
        request = ask(prompt_of(12, seed) * 4, seed, max_new_tokens=90)
        tokens, end = rig.answer(assist(request))
        drafted += end.drafted_tokens
        accepted += end.accepted_tokens
        assert tokens == rig.answer(request)[0]
    assert drafted > accepted > 0 or rig.has_window


def test_greedy_is_generate(rig: Rig) -> None:
    prompt = prompt_of(150, seed=4)
    wanted = rig.generate(prompt)
    oracle = Oracle(prompt, wanted, 4)
    request = assist(ask(prompt, max_new_tokens=len(wanted)))
    assert rig.answer(request, oracle)[0] == wanted


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 5, 6, 11])
def test_no_answer_gets_longer_than_its_limit(llama: Rig, tokens: int) -> None:
    plain, end, _ = llama.both(ask(prompt_of(30), max_new_tokens=tokens), 1000)
    assert (len(plain), end.reason) == (tokens, "length")


def test_the_window_is_filled_to_its_last_token(llama: Rig) -> None:
    prompt = prompt_of(random_models.WINDOW_TOKENS - 10)
    plain, end, _ = llama.both(ask(prompt), 1000)
    assert (len(plain), end.reason) == (10, "length")


def test_an_answer_ends_inside_its_drafts(llama: Rig) -> None:
    request = ask(prompt_of(30), **SAMPLED)
    plain, _ = llama.answer(request)
    places = [i for i in range(20, TOKENS) if plain[i] not in plain[:i]][:3]
    went_on = []
    for place in places:
        llama.loaded.eos_token_ids = (plain[place],)
        tokens, end = llama.answer(assist(request), Oracle(request.prompt_ids, plain, 1000))
        assert tokens == plain[: place + 1]
        assert end.reason == "stop"
        went_on.append(end.drafted_tokens > end.accepted_tokens)
    assert any(went_on)  # one of three places is not a step's last


def test_a_stop_string_ends_an_answer_inside_its_drafts(llama: Rig) -> None:
    request = ask(prompt_of(30))
    reader = Reader()
    llama.engine.start(request, reader)
    reader.wait()
    text = reader.text
    stop = next(
        text[i : i + 2]
        for i in range(len(text) // 2, len(text) - 2)
        if "\ufffd" not in text[i : i + 2] and text[i : i + 2] not in text[: i + 1]
    )
    request = replace(request, config=replace(request.config, stop=(stop,)))
    plain, _, _ = llama.both(request, 1000)
    reader = Reader()
    llama.engine.start(assist(request), reader)
    assert reader.wait() == replace(Finished("stop"), **figures(reader))
    assert reader.text == text[: text.index(stop)]
    assert len(plain) < TOKENS


def figures(reader: Reader) -> dict[str, Any]:
    (end,) = reader.ends
    assert isinstance(end, Finished)
    return {
        "drafted_tokens": end.drafted_tokens,
        "accepted_tokens": end.accepted_tokens,
        "assisted_speedup": end.assisted_speedup,
    }


# Others, and what comes after.


def test_a_second_reader_in_the_middle_changes_neither_answer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ask(prompt_of(40), 1), ask(prompt_of(33), 2, **SAMPLED)
    wanted = [rig.answer(request)[0] for request in (first, second)]
    Always.drafter = Oracle(first.prompt_ids, wanted[0], 1000)
    rig.tokens.clear()
    steps: list[int] = []
    step = verify.step

    def spy(*args: Any) -> None:
        step(*args)
        steps.append(len(rig.tokens[2]))

    monkeypatch.setattr(verify, "step", spy)
    readers = [Reader(), Reader()]

    def sink(event: Event) -> None:
        readers[0](event)
        if readers[0].tokens == 20 and not readers[1].events and not started:
            started.append(rig.engine.start(second, readers[1]))

    started: list[Callable[[], None]] = []
    rig.engine.start(assist(first), sink)
    ends = [readers[0].wait()]
    ends.append(readers[1].wait())
    assert [type(end) for end in ends] == [Finished, Finished]
    assert [rig.tokens[1], rig.tokens[2]] == wanted
    # None while the second was written; none after, either, because it took longer.
    assert set(steps) == {0}


def test_the_next_turn_reuses_what_was_accepted_and_nothing_else(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    reused: list[int] = []
    search = PagedAttentionCache.search_prefix_match

    def spy(self: PagedAttentionCache, request_id: str, prompt_ids: list[int]) -> int:
        reused.append(search(self, request_id, prompt_ids))
        return reused[-1]

    monkeypatch.setattr(PagedAttentionCache, "search_prefix_match", spy)
    first = prompt_of(150, seed=2)
    plain, end, oracle = rig.both(ask(first), 3)
    assert end.accepted_tokens > 0
    # A wrong draft that was the last token of a page, which other tokens took its place in.
    (wrong,) = [history for history in oracle.wrong if len(history) % PAGE_TOKENS == 0]
    for history in ([*first, *plain], wrong):
        second = [*history, *prompt_of(40, seed=3)]
        wanted = rig.generate(second)
        tokens, _ = rig.answer(ask(second, max_new_tokens=len(wanted)))
        assert tokens == wanted
    assert reused[-2:] == ([] if rig.has_window else [192, 128])


def test_cancelled_within_a_step_it_ends_at_once_and_leaves_nothing(llama: Rig) -> None:
    request = ask(prompt_of(30), max_new_tokens=400)
    plain, _ = llama.answer(request)
    for after in range(9, 14):
        assert cancelled(llama, assist(request), Oracle(request.prompt_ids, plain, 1000), after)
    llama.both(ask(prompt_of(31)))


def cancelled(rig: Rig, request: Request, drafter: Drafter, after: int) -> bool:
    """Whether an answer that is cancelled from its sink, after some tokens, has no more."""
    reader, is_started = Reader(), threading.Event()
    cancel: list[Callable[[], None]] = []

    def sink(event: Event) -> None:
        reader(event)
        if reader.tokens == after:
            assert is_started.wait(30)
            cancel[0]()

    Always.drafter = drafter
    cancel.append(rig.engine.start(request, sink))
    is_started.set()
    end = reader.wait()
    return isinstance(end, Finished) and (end.reason, reader.tokens) == ("cancelled", after)


# Drafters.


class Broken:
    """Fails at its third call."""

    def __init__(self) -> None:
        self.calls = self.closed = 0

    def propose(self, tokens: Sequence[int], limit: int) -> list[int]:
        self.calls += 1
        if self.calls == 3:
            raise MemoryError
        return [5] * limit

    def close(self) -> None:
        self.closed += 1


def test_a_drafter_that_fails_fails_no_answer(llama: Rig, caplog: pytest.LogCaptureFixture) -> None:
    request, broken = ask(prompt_of(30)), Broken()
    plain, _ = llama.answer(request)
    tokens, end = llama.answer(assist(request), broken)
    assert tokens == plain
    assert (broken.calls, broken.closed) == (3, 1)
    assert end.drafted_tokens > 0
    assert "Drafting failed" in caplog.text


def test_what_the_page_is_told(llama: Rig) -> None:
    assert llama.engine.facts.drafter == "prompt lookup"
    assert not llama.engine.facts.is_mixture
    _, end, _ = llama.both(ask(prompt_of(30)))
    assert end.drafted_tokens > end.accepted_tokens > 0
    assert end.assisted_speedup is None  # nothing was measured without drafts


@pytest.mark.parametrize("is_same", [True, False])
def test_a_draft_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_same: bool) -> None:
    monkeypatch.setattr(batched, "Assistant", Always)
    Always.drafter = None
    large = random_models.write(tmp_path / "large")
    small = large if is_same else random_models.write(tmp_path / "small", seed=5)
    seen: list[int] = []

    class Recorder(Sampler):
        def __call__(self, scores: torch.Tensor) -> int:
            seen.append(super().__call__(scores))
            return seen[-1]

    monkeypatch.setattr(batched, "Sampler", Recorder)
    engine = load_engine(
        random_models.spec(large),
        "full",
        draft=replace(random_models.spec(small), label="Small"),
        speedup=lambda model: 1.0,
    )
    try:
        assert engine.facts.drafter == "Small"
        prompt = prompt_of(300)  # more than a part
        for turn in range(3):
            tokens: dict[bool, list[int]] = {}
            for assisted in (False, True):
                seen.clear()
                reader = Reader()
                config = GenerationConfig(
                    temperature=0.0, max_new_tokens=40, seed=1, assisted=assisted
                )
                engine.start(Request(prompt, config), reader)
                end = reader.wait()
                tokens[assisted] = list(seen)
            assert isinstance(end, Finished)
            assert tokens[True] == tokens[False]
            assert end.drafted_tokens > 10
            share = end.accepted_tokens / end.drafted_tokens
            assert share > 0.9 if is_same else share < 0.5
            # A next turn, an edit, and another conversation.
            prompt = [
                [*prompt, *tokens[True], *prompt_of(20)],
                [*prompt[:290], *prompt_of(30)],
                [],
            ][turn]
    finally:
        engine.close()


def test_a_draft_model_stops_where_its_window_ends(tmp_path: Path) -> None:
    small = load(tmp_path, "llama", "float32", "full")
    small.facts = replace(small.facts, window_tokens=20)
    draft = DraftModel(small, random_models.VOCABULARY)
    assert [len(draft.propose(prompt_of(n), 4)) for n in (10, 17, 19, 20, 30)] == [4, 3, 1, 0, 0]
    # Ids that the large model does not know are never drafted.
    draft = DraftModel(small, 8)
    assert max(draft.propose(prompt_of(10), 8)) < 8
    draft.release()
    assert small.model is None


def test_a_draft_model_that_does_not_fit_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = random_models.write(tmp_path / "large")
    small = random_models.write(tmp_path / "small")
    file = small / "tokenizer_config.json"
    file.write_text(file.read_text().replace("<|im_end|>", "<|im_start|>"))
    missing = random_models.spec(tmp_path / "missing")
    for draft, said in ((random_models.spec(small), "tokenizer"), (missing, "no model folder")):
        engine = load_engine(
            random_models.spec(large), "full", draft=draft, speedup=lambda model: 1.0
        )
        try:
            assert engine.facts.drafter == "prompt lookup"
        finally:
            engine.close()
        assert said in caplog.text


def test_tokenizers_are_compared_by_what_their_ids_mean() -> None:
    one, other = random_models.tokenizer(), random_models.tokenizer(chat_template=None)
    assert same_tokens(one, other)
    other.eos_token = "<|endoftext|>"
    assert not same_tokens(one, other)
    other = random_models.tokenizer()
    other.add_tokens(["more"])
    assert not same_tokens(one, other)


@pytest.mark.parametrize(
    ("model_type", "config", "is_one"),
    [
        ("llama", {}, False),
        ("mixtral", {}, True),
        ("qwen3_moe", {}, True),
        ("deepseek_v3", {}, True),
        ("mixtral", {"num_local_experts": 1}, False),
    ],
)
def test_a_mixture_of_experts_is_known_by_its_config(
    model_type: str, config: dict[str, Any], is_one: bool
) -> None:
    assert is_mixture(AutoConfig.for_model(model_type, **config)) == is_one


def naive(tokens: Sequence[int], limit: int) -> list[int]:
    """What followed the newest three tokens, or two, the last time; found by looking everywhere."""
    for n in (3, 2):
        for end in range(len(tokens) - 1, n - 1, -1):
            if tokens[end - n : end] == tokens[len(tokens) - n :]:
                drafts = list(tokens)
                while len(drafts) < len(tokens) + limit:
                    drafts.append(drafts[len(drafts) - (len(tokens) - end)])
                return drafts[len(tokens) :]
    return []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=40),
    st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=6), st.integers(1, 9)), max_size=8),
)
def test_prompt_lookup_finds_what_a_search_finds(
    prompt: list[int], growth: list[tuple[list[int], int]]
) -> None:
    lookup, tokens = PromptLookup(), list(prompt)
    for more, limit in growth:
        tokens += more
        assert lookup.propose(tokens, limit) == naive(tokens, limit)


# Whether it pays. A fake clock, and a drafter that is right or wrong as told.


class World:
    """A machine on which a step of one token takes 1 s, and each draft a little more."""

    def __init__(self, draft_s: float, is_right: bool) -> None:
        self.draft_s = draft_s
        self.is_right = is_right
        self.now_s = 0.0
        self.assistant = Assistant("world", lambda: self, lambda: self.now_s)
        self.counts: list[int] = []  # drafts of each step

    def propose(self, tokens: Sequence[int], limit: int) -> list[int]:
        return [7 if self.is_right else 8] * limit

    def close(self) -> None:
        pass

    def write(self, tokens: int) -> None:
        """An answer of at least this many tokens."""
        answer = self.assistant.open([1, 2])
        for _ in itertools.count():
            with answer.step(room_tokens=100) as drafts:
                self.counts.append(len(drafts))
                self.now_s += 1.0 + self.draft_s * len(drafts)
                for draft in drafts:
                    answer.push(7)
                    tokens -= 1
                    if draft != 7:
                        break
                else:
                    answer.push(7)
                    tokens -= 1
            if tokens <= 0:
                return


def test_it_reports_how_much_faster_it_is() -> None:
    world = World(draft_s=0.02, is_right=True)
    assert world.assistant.speedup is None
    world.write(2000)
    # In the long run, 8 tokens take 1.14 s.
    assert world.assistant.speedup == pytest.approx(8 / 1.14, rel=0.02)
    assert max(world.counts) == 7
    # Nearly all tokens come from steps with drafts.
    assert sum(count == 0 for count in world.counts) < 2000 * 0.1


def test_it_rests_where_it_is_slower_and_tries_again() -> None:
    world = World(draft_s=0.5, is_right=False)
    world.write(20_000)
    assert world.assistant.speedup == pytest.approx(1 / 1.5, rel=0.05)
    tries = [len(list(run)) for drafts, run in itertools.groupby(world.counts, bool) if drafts]
    rests = [len(list(run)) for drafts, run in itertools.groupby(world.counts, bool) if not drafts]
    assert len(tries) > 3
    assert max(tries) <= 96
    # Longer and longer.
    assert rests[:4] == [8, 256, 512, 1024]
    assert sum(tries) < 0.05 * 20_000


def test_what_has_become_faster_is_used_again() -> None:
    world = World(draft_s=0.5, is_right=False)
    world.write(3000)
    assert (world.assistant.speedup or 9) < 0.8
    world.is_right, world.draft_s = True, 0.05
    world.write(6000)
    assert (world.assistant.speedup or 0) > 5
    world.counts.clear()
    world.write(500)
    assert sum(count == 0 for count in world.counts) < 50


def test_wrong_drafts_become_few() -> None:
    world = World(draft_s=0.0, is_right=False)
    world.write(100)
    assert world.counts[8:12] == [4, 1, 1, 1]


def test_a_slow_drafter_counts() -> None:
    world = World(draft_s=0.0, is_right=True)
    propose = world.propose

    def slowly(tokens: Sequence[int], limit: int) -> list[int]:
        world.now_s += 100.0
        return propose(tokens, limit)

    world.propose = slowly  # type: ignore[method-assign]
    world.write(300)
    assert (world.assistant.speedup or 9) < 0.5


def test_a_step_that_fails_is_not_measured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(draft_s=0.0, is_right=True)
    answer = world.assistant.open([1])
    for _ in range(50):
        with pytest.raises(ValueError, match="broken"), answer.step(10):
            raise ValueError("broken")
    assert world.assistant.speedup is None
