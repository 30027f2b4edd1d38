"""How full the model's context window would be: system prompt, history, draft, room for the answer.

Tokens are counted by the engine's own `encode`, template included. What was counted of a
conversation is kept, so that typing costs only the draft's tokens.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chat_ui.chat.context import fit
from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Message, PromptMessage, shown_from
from chat_ui.engine.protocol import Engine, EngineFacts
from chat_ui.errors import PromptTooLongError

KEPT_CONVERSATIONS: Final = 32
# What a draft stands behind, to be counted as no first message.
_TURN: Final = (PromptMessage("user", "x"), PromptMessage("assistant", "x"))


@dataclass(frozen=True, slots=True)
class ContextUse:
    """What a prompt would take of the window, if the draft were sent now.

    The first three parts sum to the prompt's tokens. Each is what the prompt grows by when the part
    joins the ones before it; the sum is exact where the template divides turns by tokens of their
    own, as nearly all do, and else off by what merges across the border of the draft's turn.

    Attributes:
        window_tokens: the model's window: prompt and answer together.
        system_tokens: the prompt with an empty message alone: the system prompt, and what the
            template writes around it and the message.
        history_tokens: the earlier messages that the model would still be shown.
        draft_tokens: the draft, and the words that its answer is made to begin with.
        reserve_tokens: kept free for the answer.
        dropped_messages: how many of the oldest messages would be left out, counted as
            `Numbers.dropped_messages` counts them.
        first_message_id: the first message of the conversation that the model would be shown; None
            where there is none.
        is_too_long: the system prompt and the draft alone leave no room for the answer: the message
            would be refused.
        is_draft_cut: the draft is longer than a message may be, and was counted as far as that.
    """

    window_tokens: int
    system_tokens: int
    history_tokens: int
    draft_tokens: int
    reserve_tokens: int
    dropped_messages: int = 0
    first_message_id: str | None = None
    is_too_long: bool = False
    is_draft_cut: bool = False

    @property
    def prompt_tokens(self) -> int:
        """The whole prompt."""
        return self.system_tokens + self.history_tokens + self.draft_tokens


def reserve_tokens(config: GenerationConfig, facts: EngineFacts) -> int:
    """What is kept free for the answer.

    A long answer must not push the whole conversation out of a small window.
    """
    return min(config.max_new_tokens, facts.window_tokens // 4)


@dataclass(slots=True)
class _Counted:
    """What is known of a conversation with one model and system prompt.

    Attributes:
        ids: of the message that each of `turns` begins with.
        turns: what the model is shown, the draft left out.
        system_tokens: see `ContextUse`.
        from_turn: tokens of the prompt with an empty draft that begins at a turn, by its index.
    """

    ids: list[str]
    turns: list[PromptMessage]
    system_tokens: int
    from_turn: dict[int, int] = field(default_factory=dict)


_Key = tuple[object, ...]


class ContextMeter:
    """Counts what prompts take. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, _Counted] = OrderedDict()

    def use(
        self,
        engine: Engine,
        conversation_id: str | None,
        path: Sequence[Message],
        draft: str,
        *,
        system_prompt: str,
        config: GenerationConfig,
        thinking: bool | None = None,
        begins_with: str = "",
    ) -> ContextUse:
        """What the prompt takes.

        Args:
            engine: of the model that would answer.
            conversation_id: whose path it is; None for a new one.
            path: the messages before the draft, oldest first.
            draft: the message as it is typed; may be empty.
            system_prompt: may be empty.
            config: how the answer would be sampled.
            thinking: see `Engine.encode`.
            begins_with: what the answer is made to begin with; may be empty.

        Raises:
            EngineError: the template does not take these messages.
        """
        facts = engine.facts
        system = [PromptMessage("system", system_prompt)] if system_prompt.strip() else []

        def tokens(*messages: PromptMessage) -> int:
            return len(engine.encode([*system, *messages], thinking))

        head = (path[-1].id, path[-1].content) if path else None  # it may grow, or be edited
        key = (
            (conversation_id, head, system_prompt, thinking),
            (facts.spec.id, facts.precision, facts.window_tokens),
        )
        counted = self._counted(key)
        if counted is None:
            shown = shown_from(path)
            counted = _Counted(
                [first for first, _ in shown],
                [message for _, message in shown],
                tokens(PromptMessage("user", "")),
            )
            self._keep(key, counted)
        turns, tail = list(counted.turns), ""
        if turns and turns[-1].role == "user":  # nobody answered it: the draft joins it
            tail = turns.pop().content
        new = PromptMessage("user", "\n\n".join(filter(None, (tail, draft))))
        begun = [PromptMessage("assistant", begins_with)] if begins_with else []
        only_new = tokens(new, *begun)
        if not tail:
            counted.from_turn[len(turns)] = counted.system_tokens

        def with_empty_draft(start: int) -> int:
            if start not in counted.from_turn:
                earlier = (*turns[start:], PromptMessage("user", tail))
                counted.from_turn[start] = tokens(*earlier)
            return counted.from_turn[start]

        # A template without a system role puts the system prompt before the first message: what
        # joins the two belongs to a draft that is the first, and to no other.
        as_first = only_new - with_empty_draft(len(turns))
        as_later = as_first
        if turns and system:
            as_later = tokens(*_TURN, new, *begun) - tokens(*_TURN, PromptMessage("user", tail))

        def draft_tokens(start: int) -> int:
            return as_later if start < len(turns) else as_first

        def count(messages: Sequence[PromptMessage]) -> int:
            start = len(system) + len(turns) + 1 + len(begun) - len(messages)
            return with_empty_draft(start) + draft_tokens(start)

        reserve = reserve_tokens(config, facts)
        try:
            start = fit(
                system_prompt,
                [*turns, new, *begun],
                count=count,
                window_tokens=facts.window_tokens,
                reserve_tokens=reserve,
            ).dropped
            is_too_long = False
        except PromptTooLongError:
            start, is_too_long = len(turns), True
        return ContextUse(
            window_tokens=facts.window_tokens,
            system_tokens=counted.system_tokens,
            history_tokens=with_empty_draft(start) - counted.system_tokens,
            draft_tokens=draft_tokens(start),
            reserve_tokens=reserve,
            dropped_messages=start,
            first_message_id=counted.ids[start] if start < len(counted.ids) else None,
            is_too_long=is_too_long,
        )

    def forget(self) -> None:
        """Drop all that is kept, texts of conversations among it; it is counted anew when asked."""
        with self._lock:
            self._kept.clear()

    def _counted(self, key: _Key) -> _Counted | None:
        with self._lock:
            counted = self._kept.get(key)
            if counted is not None:
                self._kept.move_to_end(key)
            return counted

    def _keep(self, key: _Key, counted: _Counted) -> None:
        with self._lock:
            self._kept[key] = counted
            if len(self._kept) > KEPT_CONVERSATIONS:
                self._kept.popitem(last=False)
