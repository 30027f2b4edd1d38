"""Fitting a conversation into the model's context window.

Counting tokens is the engine's business.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from chat_ui.chat.messages import PromptMessage
from chat_ui.errors import PromptTooLongError

# Text has 2 to 5.
_CHARS_PER_TOKEN: Final = 8


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the model will be shown.

    Attributes:
        messages: the system message, if any, and the newest turns that fit.
        dropped: how many of the oldest messages were left out.
        prompt_tokens: tokens of `messages`, rendered.
    """

    messages: tuple[PromptMessage, ...]
    dropped: int
    prompt_tokens: int


def fit(
    system_prompt: str,
    turns: Sequence[PromptMessage],
    *,
    count: Callable[[Sequence[PromptMessage]], int],
    window_tokens: int,
    reserve_tokens: int,
) -> Fitted:
    """Drop the oldest turns until prompt and answer fit the window; never the system prompt.

    A turn is a user message and what follows it, so that what remains starts with the user, as chat
    templates want it. The newest turn always stays, with the answer that it was begun with.

    Args:
        system_prompt: empty or blank means no system message.
        turns: user and assistant messages, oldest first; the last is the user's new one, or the
            beginning of the answer to it.
        count: tokens of the rendered prompt; never less for more messages.
        window_tokens: the model's context window.
        reserve_tokens: kept free for the answer.

    Raises:
        PromptTooLongError: the system prompt and the newest turn alone don't fit.
    """
    system = [PromptMessage("system", system_prompt)] if system_prompt.strip() else []
    starts = [0, *(i for i, message in enumerate(turns) if i and message.role == "user")]
    room = window_tokens - reserve_tokens
    tokens: dict[int, int] = {}

    def prompt(start: int) -> tuple[PromptMessage, ...]:
        return (*system, *turns[start:])

    def fits(start: int) -> bool:
        if start not in tokens:
            tokens[start] = count(prompt(start))
        return tokens[start] <= room

    # Nearly every conversation fits whole. Where one doesn't, halve instead of stepping: rendering
    # and tokenizing a long one takes milliseconds each time. One that hardly can is looked at from
    # its end, twice as much each time, so that this takes as long as the window is, not as it is.
    chars = list(accumulate((len(turn.content) for turn in reversed(turns)), initial=0))[::-1]
    first = 0 if chars[0] <= _CHARS_PER_TOKEN * window_tokens else len(starts) - 1
    while first and fits(starts[first]):
        twice = 2 * chars[starts[first]]
        first = min(first - 1, bisect_left(starts, True, key=lambda at: chars[at] <= twice))
    if not fits(starts[first]):
        first = min(bisect_left(starts, True, first, key=fits), len(starts) - 1)
    start = starts[first]
    if not fits(start):
        is_begun = turns[-1].role == "assistant"
        shown = "your message and the answer so far" if is_begun else "and your message"
        raise PromptTooLongError(
            f"The system prompt{',' if is_begun else ''} {shown} take {tokens[start]:,} tokens; "
            f"this model has room for {max(room, 0):,} beside its answer.",
            "Shorten the message or the system prompt, or lower Max new tokens.",
        )
    return Fitted(prompt(start), start, tokens[start])
