"""The sentences below the chat: what an answer is doing, and how it ended.

Pure functions of values; nothing here asks the service or knows Gradio. The page's script writes
these texts as text, so a model's name can't bring markup with it.
"""

from typing import Any, Final

from chat_ui.chat.messages import Conversation, ConversationSummary, Message, Numbers
from chat_ui.service import ModelStatus, ReplySnapshot
from chat_ui.ui.quantities import rate

FEWEST_DRAFTS: Final = 16

TEMPORARY: Final = "Temporary chat: it is not stored."

# What the status line shows of a conversation; assets/js/page.js reads it.
Status = dict[str, Any]


def empty_status() -> Status:
    """Of the page before its first message."""
    return {
        "conversation": "",
        "title": "",
        "temporary": False,
        "version": "",
        "empty": True,
        "busy": False,
        "text": "",
        "live": "",
        "notes": [],
        "earlier": 0,
        "bars": "",
        "shown": 0,
        "last": None,
        "regenerate": False,
        "continue": False,
    }


def conversation_status(conversation: Conversation, earlier: int) -> Status:
    """Of a conversation in which nothing is being written.

    Args:
        conversation: the one shown.
        earlier: how many of its messages are above the window.
    """
    path = conversation.path()
    status = empty_status() | {
        "conversation": conversation.id,
        "title": conversation.title,
        "temporary": conversation.is_temporary,
        "version": version(conversation),
        "empty": not path,
        "notes": temporary(conversation),
        "earlier": earlier,
        "regenerate": bool(path),
    }
    if path and path[-1].role == "assistant":
        last = path[-1]
        text = " ".join(filter(None, (ending(last), measured(last.numbers))))
        can_go_on = last.state in ("length", "stopped", "interrupted", "failed") and last.content
        beside = temporary(conversation) + notes(last)
        status |= {"text": text, "notes": beside, "continue": bool(can_go_on)}
    return status


def writing_status(
    conversation: Conversation, earlier: int, now: ReplySnapshot, model: ModelStatus
) -> Status:
    """Of a conversation whose newest answer is being written.

    Args:
        conversation: the one shown.
        earlier: how many of its messages are above the window.
        now: the answer.
        model: the server's, which may still be loading.
    """
    return conversation_status(conversation, earlier) | {
        "busy": True,
        "text": phase(now, model),
        "live": live(now.numbers),
        "notes": temporary(conversation) + dropped(now.numbers),
        "regenerate": False,
        "continue": False,
    }


def version(conversation: Conversation | ConversationSummary) -> str:
    """Changes when messages come to a conversation or others are shown of it, on whatever page."""
    return f"{conversation.updated_at.isoformat()} {conversation.head_id or ''}"


def phase(now: ReplySnapshot, model: ModelStatus) -> str:
    """What an answer is doing. It stays the same while text comes: screen readers announce it."""
    return {
        "queued": "Waiting for its turn…",
        "loading": (model.phase == "loading" and model.note) or f"Loading {model.label}…",
        "reading": "Reading the prompt…",
        "thinking": "Thinking…",
        "writing": "Writing…",
        "done": "",
    }[now.phase]


def live(numbers: Numbers) -> str:
    """Tokens so far and their pace, while they come; before, what need not be read."""
    if not numbers.completion_tokens:
        return reused(numbers)
    parts = [_counted(numbers.completion_tokens, "token")]
    if numbers.decode_tokens_per_s is not None:
        parts.append(f"{rate(numbers.decode_tokens_per_s)} tokens/s")
    return " · ".join(parts)


def measured(numbers: Numbers) -> str:
    """Time to first token, decoding speed and length, such as
    "First token after 0.12 s · 184 tokens/s · 57 tokens", then what saved time; empty where nothing
    is known.
    """
    parts = []
    if numbers.first_token_s is not None:
        parts.append(f"First token after {_seconds(numbers.first_token_s)}")
    if numbers.decode_tokens_per_s is not None:
        parts.append(f"{rate(numbers.decode_tokens_per_s)} tokens/s")
    if numbers.completion_tokens:
        parts.append(_counted(numbers.completion_tokens, "token"))
    line = " · ".join(filter(None, (*parts, reused(numbers), assisted(numbers))))
    return line[:1].upper() + line[1:]  # it may follow a sentence


def reused(numbers: Numbers) -> str:
    """What of the prompt a cache held already."""
    if not numbers.reused_tokens or numbers.prompt_tokens is None:
        return ""
    return f"reused {numbers.reused_tokens:,} of {numbers.prompt_tokens:,} prompt tokens"


def assisted(numbers: Numbers) -> str:
    """What came of assisted generation, where it was used."""
    if not numbers.drafted_tokens:
        return ""
    share = f"{numbers.accepted_tokens:,} of {numbers.drafted_tokens:,} drafted tokens accepted"
    # Of a few drafts, or of wrong ones, the speed says nothing.
    is_telling = numbers.accepted_tokens and numbers.drafted_tokens >= FEWEST_DRAFTS
    if numbers.assisted_speedup is None or not is_telling:
        return share
    return f"{share}, {numbers.assisted_speedup:.1f} times as fast"


def ending(message: Message) -> str:
    """How an answer ended, as a sentence; empty where it just ended."""
    count = message.numbers.completion_tokens
    if message.state == "stopped":
        return "Stopped."
    if message.state == "length":
        limit = f"the limit of {_counted(count, 'new token')}" if count else "its limit"
        return f"The answer reached {limit}."
    if message.state in ("interrupted", "writing"):
        # One that is "writing" in the store and has no Reply lost its server, too.
        return "The server ended while this was written; press Regenerate."
    if message.state == "failed":
        return message.error or "The answer failed; press Regenerate."
    return ""


def temporary(conversation: Conversation) -> list[str]:
    """A sentence where the conversation is a temporary one."""
    return [TEMPORARY] if conversation.is_temporary else []


def notes(message: Message) -> list[str]:
    """More sentences about an answer: what the model did not see, and what went wrong beside it."""
    beside = [message.error] if message.error and message.state != "failed" else []
    return dropped(message.numbers) + beside


def dropped(numbers: Numbers) -> list[str]:
    """A sentence where the oldest turns no longer fit the model's context window."""
    count = numbers.dropped_messages
    if not count:
        return []
    if count == 1:
        return ["The oldest message no longer fits this model's window; it did not see it."]
    return [f"The oldest {count} messages no longer fit this model's window; it did not see them."]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
