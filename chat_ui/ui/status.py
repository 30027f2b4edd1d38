"""The sentences below the chat: what an answer is doing, and what it took. How it ended is said in
the chat, by its note (`view`).

Pure functions of values; nothing here asks the service or knows Gradio. The page's script writes
these texts as text, so a model's name can't bring markup with it.
"""

from typing import Any, Final

from chat_ui.chat.messages import Conversation, ConversationSummary, Message, Numbers
from chat_ui.service import ModelStatus, Place, ReplySnapshot
from chat_ui.ui.quantities import duration, exact_seconds, rate
from chat_ui.ui.texts import ENGLISH, Texts

FEWEST_DRAFTS: Final = 16

# What the status line shows of a conversation; assets/js/page.js reads it.
Status = dict[str, Any]


def empty_status() -> Status:
    """Of the page before its first message."""
    return {
        "conversation": "",
        "head": "",
        "title": "",
        "temporary": False,
        "version": "",
        "empty": True,
        "busy": False,
        "text": "",
        "live": "",
        "notes": [],
        "earlier": 0,
        "unshown": "",
        "bars": "",
        "shown": 0,
        "last": None,
        "regenerate": False,
        "continue": False,
    }


def conversation_status(conversation: Conversation, earlier: int, say: Texts = ENGLISH) -> Status:
    """Of a conversation in which nothing is being written.

    Args:
        conversation: the one shown.
        earlier: how many of its messages are above the window.
        say: the language's texts.
    """
    path = conversation.path()
    status = empty_status() | {
        "conversation": conversation.id,
        "head": conversation.head_id or "",
        "title": conversation.title,
        "temporary": conversation.is_temporary,
        "version": version(conversation),
        "empty": not path,
        "notes": temporary(conversation, say),
        "earlier": earlier,
        "regenerate": bool(path),
    }
    if path and path[-1].role == "assistant":
        last = path[-1]
        beside = temporary(conversation, say) + notes(last, say)
        # One that is "writing" in the store and has no Reply lost its server, and has no note.
        is_lost = last.state == "writing"
        status |= {
            "text": say("note.interrupted") if is_lost else measured(last.numbers, say),
            "notes": beside,
            "continue": can_go_on(last),
        }
    return status


def writing_status(
    conversation: Conversation,
    earlier: int,
    now: ReplySnapshot,
    model: ModelStatus,
    say: Texts = ENGLISH,
) -> Status:
    """Of a conversation whose newest answer is being written.

    Args:
        conversation: the one shown.
        earlier: how many of its messages are above the window.
        now: the answer.
        model: the server's, which may still be loading.
        say: the language's texts.
    """
    return conversation_status(conversation, earlier, say) | {
        "busy": True,
        "text": phase(now, model, say),
        "live": live(now.numbers, say),
        "notes": temporary(conversation, say) + dropped(now.numbers, say),
        "regenerate": False,
        "continue": False,
    }


def version(conversation: Conversation | ConversationSummary) -> str:
    """Changes when messages come to a conversation or others are shown of it, on whatever page."""
    return f"{conversation.updated_at.isoformat()} {conversation.head_id or ''}"


def phase(now: ReplySnapshot, model: ModelStatus, say: Texts = ENGLISH) -> str:
    """What an answer is doing. It stays the same while text comes: screen readers announce it."""
    if now.phase == "done":
        return ""
    if now.phase == "loading" and model.phase == "loading" and model.note:
        return model.note
    if now.place is not None:
        return waiting(now.place, say)
    return say(f"status.{now.phase}", model=model.label)


def waiting(place: Place, say: Texts = ENGLISH) -> str:
    """When an answer has its turn: "2 before you, about 15 s"."""
    if place.is_own:
        text = say("status.waiting_own")
    elif place.before:
        text = say("status.waiting", place.before)
    else:
        text = say("status.waiting_next")
    if place.wait_s is None:
        return text
    return say("status.waiting_about", place=text, time=duration(max(1.0, place.wait_s), say))


def live(numbers: Numbers, say: Texts = ENGLISH) -> str:
    """Tokens so far and their pace, while they come; before, what need not be read."""
    if not numbers.completion_tokens:
        return reused(numbers, say)
    parts = [say("quantity.tokens", numbers.completion_tokens)]
    if numbers.decode_tokens_per_s is not None:
        parts.append(say("quantity.rate", rate=rate(numbers.decode_tokens_per_s, say)))
    return " · ".join(parts)


def measured(numbers: Numbers, say: Texts = ENGLISH) -> str:
    """Time to first token, decoding speed and length, such as
    "First token after 0.12 s · 184 tokens/s · 57 tokens", then what saved time; empty where nothing
    is known.
    """
    parts = []
    if numbers.first_token_s is not None:
        parts.append(say("status.first_token", time=_seconds(numbers.first_token_s, say)))
    if numbers.decode_tokens_per_s is not None:
        parts.append(say("quantity.rate", rate=rate(numbers.decode_tokens_per_s, say)))
    if numbers.completion_tokens:
        parts.append(say("quantity.tokens", numbers.completion_tokens))
    line = " · ".join(filter(None, (*parts, reused(numbers, say), assisted(numbers, say))))
    return line[:1].upper() + line[1:]


def reused(numbers: Numbers, say: Texts = ENGLISH) -> str:
    """What of the prompt a cache held already."""
    if not numbers.reused_tokens or numbers.prompt_tokens is None:
        return ""
    total = say.number(numbers.prompt_tokens)
    return say("status.reused", numbers.reused_tokens, total=total)


def assisted(numbers: Numbers, say: Texts = ENGLISH) -> str:
    """What came of assisted generation, where it was used."""
    if not numbers.drafted_tokens:
        return ""
    total = say.number(numbers.drafted_tokens)
    share = say("status.accepted", numbers.accepted_tokens or 0, total=total)
    # Of a few drafts, or of wrong ones, the speed says nothing.
    is_telling = numbers.accepted_tokens and numbers.drafted_tokens >= FEWEST_DRAFTS
    if numbers.assisted_speedup is None or not is_telling:
        return share
    return f"{share}, {say('status.faster', times=say.number(numbers.assisted_speedup, 1))}"


def can_go_on(message: Message) -> bool:
    """Whether an answer was cut, so that there may be more of it."""
    return message.state in ("length", "stopped", "interrupted", "failed") and bool(message.content)


def temporary(conversation: Conversation, say: Texts = ENGLISH) -> list[str]:
    """A sentence where the conversation is a temporary one."""
    return [say("status.temporary")] if conversation.is_temporary else []


def notes(message: Message, say: Texts = ENGLISH) -> list[str]:
    """More sentences about an answer: what the model did not see, and what went wrong beside it."""
    beside = [message.error] if message.error and message.state != "failed" else []
    return dropped(message.numbers, say) + beside


def dropped(numbers: Numbers, say: Texts = ENGLISH) -> list[str]:
    """A sentence where the oldest turns no longer fit the model's context window."""
    count = numbers.dropped_messages
    return [say("status.dropped", count)] if count else []


def _seconds(seconds: float, say: Texts) -> str:
    return exact_seconds(seconds, say, digits=2 if seconds < 10 else 1)
