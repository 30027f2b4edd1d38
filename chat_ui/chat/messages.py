"""Messages and conversations as values.

A conversation is a tree: every message knows its parent, and `head_id` names the leaf that is
shown. Regenerating adds a sibling, so nothing that was written is ever lost. This module does no
I/O and knows nothing of owners, which are the store's business.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

from chat_ui.chat.reasoning import without_thoughts
from chat_ui.chat.recipe import Recipe

Role = Literal["system", "user", "assistant"]

MessageState = Literal[
    "writing",  # the answer is still growing
    "complete",
    "length",  # the answer reached the limit of new tokens
    "stopped",  # the person pressed Stop
    "interrupted",  # the server ended while it grew
    "failed",
]

TITLE_CHARS = 60

TEMPORARY_MARK: Final = "t"
"""The first letter of a temporary conversation's id; no other id has it, for they are hex.

So an id says by itself where its conversation is: nothing need be looked up, nothing that fails can
take one for the other, and no text of a temporary one can come to the database of the others.
"""


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message as a chat template takes it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is known of how an answer came about. None means not known (yet).

    Attributes:
        model: the model's label, as the picker shows it.
        precision: "full", "8bit" or "4bit".
        prompt_tokens: tokens of the rendered prompt, the template's own included.
        completion_tokens: tokens generated, the end-of-turn token included.
        first_token_s: seconds from sending to the first token, waiting included.
        decode_tokens_per_s: tokens after the first, divided by the seconds between the first and
            the last.
        dropped_messages: how many of the oldest messages the model was not shown, for want of room.
        seed: the seed that repeats this answer with the same settings and model.
        reused_tokens: of the prompt, those that a cache held already.
        drafted_tokens: tokens that assisted generation proposed.
        accepted_tokens: those of them that the model chose, too.
        assisted_speedup: how many times as fast assisted generation was over the last answers.
        thought_s: seconds from the first token to the end of the thought, or so far; None without.
        model_id: the model's id, as the picker takes it.
        time_limit_s: the server's limit of the time that an answer is written, where that ended it.
    """

    model: str | None = None
    precision: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_s: float | None = None
    decode_tokens_per_s: float | None = None
    dropped_messages: int = 0
    seed: int | None = None
    reused_tokens: int | None = None
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    assisted_speedup: float | None = None
    thought_s: float | None = None
    model_id: str | None = None
    time_limit_s: int | None = None

    def after(self, earlier: "Numbers") -> "Numbers":
        """What is true of a whole answer, of which these are of the part that was written last.

        Tokens, thought and decoding time are sums; the speed is that of all decoding, and the waits
        between the parts are in none of them. Prompt, cache and first token are the first part's:
        they are from when the answer was asked for. Seed, model and what the model was not shown
        are the last part's.

        Where nothing is known of the earlier part (a person wrote it) or another model or precision
        did, these stay as they are: they are of the model that they name.

        Args:
            earlier: of what was there before.
        """
        is_same = (self.model_id, self.precision) == (earlier.model_id, earlier.precision)
        if self.model_id is None or not is_same or not earlier.completion_tokens:
            return self
        parts = [part for part in (earlier, self) if part.decode_tokens_per_s]
        decoded = [(part.completion_tokens or 1) - 1 for part in parts]
        decode_s = sum(
            tokens / (part.decode_tokens_per_s or 1.0)
            for part, tokens in zip(parts, decoded, strict=True)
        )
        thoughts = [part.thought_s for part in (earlier, self) if part.thought_s is not None]
        return replace(
            self,
            prompt_tokens=earlier.prompt_tokens,
            reused_tokens=earlier.reused_tokens,
            first_token_s=earlier.first_token_s,
            completion_tokens=earlier.completion_tokens + (self.completion_tokens or 0),
            decode_tokens_per_s=sum(decoded) / decode_s if decode_s else None,
            drafted_tokens=earlier.drafted_tokens + self.drafted_tokens,
            accepted_tokens=earlier.accepted_tokens + self.accepted_tokens,
            assisted_speedup=self.assisted_speedup or earlier.assisted_speedup,
            thought_s=sum(thoughts) if thoughts else None,
        )


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        id: the message's.
        parent_id: of the message it follows; None for the first.
        role: who says it.
        content: its text.
        created_at: when it was added.
        state: how it ended, or that it hasn't.
        error: what a person is told of what went wrong.
        numbers: of an answer, how it came about.
        recipe: of an answer, how it was asked for; None where that is not known, and where no model
            wrote it.
    """

    id: str
    parent_id: str | None
    role: Role
    content: str
    created_at: datetime
    state: MessageState = "complete"
    error: str | None = None
    numbers: Numbers = field(default_factory=Numbers)
    recipe: Recipe | None = None


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A conversation's line in the list.

    Attributes:
        id: the conversation's.
        title: the conversation's.
        updated_at: when a message was last added.
        is_pinned: it stands above the others.
        found: of a search, the text around what was found in a message; "" where the title has it.
        head_id: the leaf that is shown.
    """

    id: str
    title: str
    updated_at: datetime
    is_pinned: bool = False
    found: str = ""
    head_id: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A whole conversation: all messages in order of creation, and the leaf that is shown."""

    id: str
    title: str
    system_prompt: str
    created_at: datetime
    updated_at: datetime
    head_id: str | None = None
    messages: tuple[Message, ...] = ()

    @property
    def is_temporary(self) -> bool:
        """It is kept in memory only, and not for long."""
        return is_temporary(self.id)

    def path(self, leaf_id: str | None = None) -> tuple[Message, ...]:
        """The messages from the first to `leaf_id` (the head, if None), in order.

        Raises:
            KeyError: `leaf_id` is no message of this conversation.
        """
        leaf = self.head_id if leaf_id is None else leaf_id
        by_id = {message.id: message for message in self.messages}
        path: list[Message] = []
        while leaf is not None:
            message = by_id[leaf]
            path.append(message)
            leaf = message.parent_id
        return tuple(reversed(path))

    def siblings(self, path: Sequence[Message]) -> list[tuple[Message, ...]]:
        """The versions of each message of a path: those with its parent and role, itself included.

        Args:
            path: some of this conversation's messages.

        Returns:
            For each of the path, its versions in order of creation, found in one pass over the
            conversation.
        """
        places = {(m.parent_id, m.role): index for index, m in enumerate(path)}
        versions: list[list[Message]] = [[] for _ in path]
        for message in self.messages:
            place = places.get((message.parent_id, message.role))
            if place is not None:
                versions[place].append(message)
        return [tuple(of_one) for of_one in versions]


def is_temporary(conversation_id: object) -> bool:
    """Whether an id, which may be anything, is that of a temporary conversation."""
    return isinstance(conversation_id, str) and conversation_id.startswith(TEMPORARY_MARK)


def prompt_messages(path: Sequence[Message]) -> list[PromptMessage]:
    """What the model is shown of a path: all but the empty answers, which failed before a word.

    It is not shown the thoughts before an answer. A user message that nobody answered stays with
    the next one, because chat templates want roles to alternate: the two are joined by a blank
    line.
    """
    return [shown for _, shown in shown_from(path)]


def shown_from(path: Sequence[Message]) -> list[tuple[str, PromptMessage]]:
    """The same, each with the id of the message that it begins with."""
    shown: list[tuple[str, PromptMessage]] = []
    for message in path:
        content = message.content
        if message.role == "assistant":
            content = without_thoughts(content)
        if not content:
            continue
        if shown and shown[-1][1].role == message.role:
            first, before = shown[-1]
            joined = f"{before.content}\n\n{content}"
            shown[-1] = first, PromptMessage(message.role, joined)
        else:
            shown.append((message.id, PromptMessage(message.role, content)))
    return shown


def around(text: str, words: str, chars: int = 80) -> str:
    """The text around the first place where `words` stand, on one line; "" where they don't.

    Letters are compared without regard to case.
    """
    place = re.search(re.escape(words), text, re.IGNORECASE)
    if place is None or not words:
        return ""
    start = max(0, place.start() - chars // 3)
    part = text[start : start + chars + len(words)]
    line = " ".join(part.split())
    return ("…" if start else "") + line + ("…" if start + len(part) < len(text) else "")


def title_of(text: str) -> str:
    """A title: the beginning of the first message, on one line, at most 60 characters."""
    line = " ".join(text.split())
    if len(line) <= TITLE_CHARS:
        return line or "New chat"
    cut = line[:TITLE_CHARS].rpartition(" ")[0]
    # A text without spaces (Chinese, a URL) would lose all but its beginning at a word's end.
    if len(cut) < TITLE_CHARS // 2:
        cut = line[: TITLE_CHARS - 1]
    return cut + "…"
