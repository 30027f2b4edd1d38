"""Assisted generation: who drafts tokens, how many, and whether it pays.

    Assistant (an engine's) --open(prompt)--> Assistance (an answer's) --step()--> drafted tokens

A model reads its weights once for a step, be it of one token or of eight. So a drafter guesses the
next tokens, one step scores all of them, and the sampler chooses at each place as ever: while it
chooses what was drafted, the next place's scores are right, too, and the first other choice ends
the step. The sampler is asked once for each token of the answer, in order, with the model's own
scores, so the answer is the one that it would have been, greedy or sampled, penalties and seed
included.
Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023), with
one token's sampling in place of their rejection rule; prompt lookup: Saxena (2023).

This module has no torch: `verify.py` runs the step, `draft.py` is a drafter with a model.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, Final, Protocol

log = logging.getLogger(__name__)

# Never more drafts than this in a step: with the newest token, as many rows as the kernels for a
# CPU take (`native/compiled.py`). Beyond, a step goes torch's slower way.
MAX_DRAFTS: Final = 7
_FIRST_DRAFTS: Final = 4
# The longest beginning is tried first: three tokens that came before say more than two.
_GRAMS: Final = (3, 2)

# Tokens of a stretch with drafts, and of one without that it is measured against.
_ASSISTED_TOKENS: Final = 96
_PLAIN_TOKENS: Final = 8
# Tokens without drafts after drafts were found slower: at first, and at most.
_PAUSE_TOKENS: Final = 256
_LONGEST_PAUSE_TOKENS: Final = 4096
# Below this, it is slower for sure; between this and 1, measuring again might say the opposite.
_SLOWER: Final = 0.95
# What a speed is measured over: the last steps, and not fewer than these.
_STEPS: Final = 64
_FEWEST_STEPS: Final = 4


class Drafter(Protocol):
    """Guesses how an answer goes on."""

    def propose(self, tokens: Sequence[int], limit: int) -> list[int]:
        """At most `limit` tokens that may follow `tokens`: the prompt and the answer so far.

        Within an answer, `tokens` only grows.
        """
        ...

    def close(self) -> None:
        """Free the memory; any number of times. It can be used again."""
        ...


class PromptLookup:
    """Guesses that what followed the newest words before follows again.

    Good where an answer repeats its prompt or itself: code, summaries, tables, corrections. It
    costs a microsecond a token. One object serves one answer.
    """

    def __init__(self) -> None:
        # For each n: where the last occurrence of n tokens ended, without the newest ones.
        self._ends: dict[int, dict[tuple[int, ...], int]] = {n: {} for n in _GRAMS}
        self._known = 0  # of the tokens

    def propose(self, tokens: Sequence[int], limit: int) -> list[int]:
        """See `Drafter.propose`."""
        self._learn(tokens)
        for n in _GRAMS:
            begin = self._ends[n].get(tuple(tokens[-n:])) if len(tokens) > n else None
            if begin is not None:
                drafts = list(tokens[begin : begin + limit])
                # What runs into the newest token repeats itself, as rows of dashes do.
                while len(drafts) < limit:
                    drafts.append(drafts[len(drafts) - (len(tokens) - begin)])
                return drafts
        return []

    def close(self) -> None:
        """Nothing to free."""

    def _learn(self, tokens: Sequence[int]) -> None:
        """Note all that ended before the newest token."""
        for end in range(self._known + 1, len(tokens)):
            for n in _GRAMS:
                if end >= n:
                    self._ends[n][tuple(tokens[end - n : end])] = end
        self._known = max(self._known, len(tokens) - 1)


class Assistant:
    """Decides for one engine when tokens are drafted and how many, by measuring what it brings.

    Stretches with drafts and without take turns, so that both are measured on the same answers.
    Where drafts were slower, the next stretch without them is long.

    Args:
        label: the drafter's name, for the page and the log.
        make: the drafter of a new answer.
        clock: seconds; replaced in tests.

    Attributes:
        label: see above.
    """

    def __init__(
        self,
        label: str,
        make: Callable[[], Drafter],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.label = label
        self._make = make
        self._clock = clock
        self._drafts = _FIRST_DRAFTS
        self._is_drafting = False
        self._tokens_left = _PLAIN_TOKENS  # of this stretch
        self._pause_tokens = _PAUSE_TOKENS
        # Of the last steps without drafts, the seconds; of those with, the seconds and tokens.
        self._plain: deque[float] = deque(maxlen=_STEPS)
        self._assisted: deque[tuple[float, int]] = deque(maxlen=_STEPS)
        self._speedup: float | None = None

    @property
    def speedup(self) -> float | None:
        """Tokens a second with drafts by those without, over the last answers."""
        if min(len(self._plain), len(self._assisted)) >= _FEWEST_STEPS:
            # One hiccup of the machine must not decide: medians.
            seconds = median(seconds for seconds, _ in self._assisted) * len(self._assisted)
            tokens = sum(tokens for _, tokens in self._assisted)
            self._speedup = median(self._plain) * tokens / max(seconds, 1e-9)
        return self._speedup

    def open(self, prompt_ids: Sequence[int]) -> "Assistance":
        """Begin an answer."""
        return Assistance(self, self._make(), prompt_ids)

    def _limit(self) -> int:
        """How many tokens may be drafted for the next step."""
        return self._drafts if self._is_drafting else 0

    def _note(self, seconds: float, tokens: int, drafted: int, accepted: int) -> None:
        """A step of an answer that has the engine for itself is over."""
        if self._is_drafting:
            self._assisted.append((seconds, tokens))
        else:
            self._plain.append(seconds / tokens)
        if drafted:
            # As many as were right, and one more; twice as many after all were.
            longer = max(self._drafts, 2 * drafted)
            self._drafts = min(longer if accepted == drafted else accepted + 1, MAX_DRAFTS)
        self._tokens_left -= tokens
        if self._tokens_left <= 0:
            self._next_stretch()

    def _next_stretch(self) -> None:
        if not self._is_drafting:
            self._is_drafting, self._tokens_left = True, _ASSISTED_TOKENS
            return
        self._is_drafting, self._tokens_left = False, _PLAIN_TOKENS
        speedup = self.speedup
        if speedup is None or speedup >= _SLOWER:
            self._pause_tokens = _PAUSE_TOKENS
            return
        log.info(
            "Assisted generation (%s) is off for now: %.2f times as fast.", self.label, speedup
        )
        self._tokens_left = self._pause_tokens
        self._pause_tokens = min(2 * self._pause_tokens, _LONGEST_PAUSE_TOKENS)
        self._drafts = _FIRST_DRAFTS
        self._assisted.clear()  # the next try is judged by itself


class Assistance:
    """Drafts for one answer.

    Attributes:
        drafted_tokens: how many were drafted so far.
        accepted_tokens: those of them that the model chose, too.
    """

    def __init__(self, assistant: Assistant, drafter: Drafter, prompt_ids: Sequence[int]) -> None:
        self.drafted_tokens = 0
        self.accepted_tokens = 0
        self._assistant = assistant
        self._drafter: Drafter | None = drafter
        self._tokens = list(prompt_ids)
        self._pending: deque[int] = deque()  # drafts that the model has not decided on

    @property
    def speedup(self) -> float | None:
        """See `Assistant.speedup`."""
        return self._assistant.speedup

    @contextmanager
    def step(self, room_tokens: int) -> Iterator[Sequence[int]]:
        """One step, while the answer has the engine for itself; gives the drafts to check in it.

        Args:
            room_tokens: how many there may be at most.
        """
        assistant, before = self._assistant, len(self._tokens)
        accepted, begin = self.accepted_tokens, assistant._clock()
        drafts = self._propose(min(assistant._limit(), room_tokens))
        self.drafted_tokens += len(drafts)
        self._pending = deque(drafts)
        yield drafts
        self._pending.clear()
        tokens = len(self._tokens) - before
        if tokens and self._drafter is not None:
            seconds = assistant._clock() - begin
            assistant._note(seconds, tokens, len(drafts), self.accepted_tokens - accepted)

    def push(self, token: int) -> None:
        """The next token of the answer, whether it was drafted or not."""
        self._tokens.append(token)
        if self._pending and self._pending.popleft() == token:
            self.accepted_tokens += 1
        else:
            self._pending.clear()

    def _propose(self, limit: int) -> list[int]:
        if limit < 1 or self._drafter is None:
            return []
        try:
            return self._drafter.propose(self._tokens, limit)[:limit]
        except Exception:  # out of memory, too: the answer itself needs no drafts
            log.exception("Drafting failed; this answer goes on without.")
            self._drafter.close()
            self._drafter = None
            return []


def is_mixture(config: Any) -> bool:
    """Whether a model's config is that of a mixture of experts.

    Assisted generation seldom helps one: every drafted token wants other experts' weights read.
    """
    text = config.get_text_config(decoder=True)
    names = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    return any((getattr(text, name, None) or 0) > 1 for name in names)
