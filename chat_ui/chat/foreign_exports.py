"""Conversations as ChatGPT and Open WebUI export them, turned into ours.

Both keep a tree, as we do. What is no one's words (tool calls, browsing, reasoning, placeholders)
is left out, and what followed it follows the message before it.

Sources:
    ChatGPT: https://github.com/mitkury/chatgpt-export-parser, docs/chatgpt-data-export-format.md,
        and what public readers of its exports do with content types, voice and hidden messages.
    Open WebUI: https://github.com/open-webui/open-webui, backend/open_webui/models/chats.py (the
        row), src/lib/components/chat/Chat.svelte (what is in its `chat`),
        src/lib/components/chat/Settings/DataControls.svelte (the export and the older format).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from chat_ui.chat.imports import (
    assembled,
    checked_label,
    checked_text,
    checked_time,
    checked_title,
    damaged,
)
from chat_ui.chat.messages import Conversation, Message, MessageState, Numbers, Role


def chatgpt(item: dict[str, Any], now: datetime) -> Conversation:
    """A conversation of ChatGPT's `conversations.json`.

    Args:
        item: the object, whose `mapping` is an object.
        now: stands for times that are missing or absurd.

    Raises:
        InvalidRequestError: nothing in it can be shown, or `imports` refuses it.
    """
    created_at = checked_time(item.get("create_time"), now, now)
    parents: dict[str, str | None] = {}
    messages: list[Message] = []
    instructions: list[str] = []
    for id_, node in item["mapping"].items():
        node = _object(node)
        parents[id_] = _string(node.get("parent"))
        message = _object(node.get("message"))
        role, text = _role(_object(message.get("author"))), _chatgpt_text(message)
        if role is None or not text.strip():
            continue
        if role == "system":
            instructions.append(text)
            continue
        metadata = _object(message.get("metadata"))
        messages.append(
            Message(
                id=id_,
                parent_id=parents[id_],
                role=role,
                content=checked_text(text),
                created_at=checked_time(message.get("create_time"), now, created_at),
                state=_chatgpt_state(message, metadata) if role == "assistant" else "complete",
                numbers=Numbers(model=checked_label(metadata.get("model_slug"))),
            )
        )
    return _conversation(
        item,
        parents,
        messages,
        system_prompt=_joined(instructions),
        created_at=created_at,
        updated_at=checked_time(item.get("update_time"), now, created_at),
        head_id=_string(item.get("current_node")),
    )


def _chatgpt_text(message: dict[str, Any]) -> str:
    """What was said in a message; "" where it is hidden, or meant for a tool, or no text."""
    hidden = _object(message.get("metadata")).get("is_visually_hidden_from_conversation")
    if hidden or message.get("recipient") not in (None, "all"):
        return ""
    content = _object(message.get("content"))
    # Others are reasoning, instructions, search results and what programs printed.
    if content.get("content_type") not in (None, "text", "multimodal_text", "code"):
        return ""
    parts = content.get("parts")
    return _text_of(parts if isinstance(parts, list) else [content.get("text")])


def _chatgpt_state(message: dict[str, Any], metadata: dict[str, Any]) -> MessageState:
    """How an answer ended."""
    if _object(metadata.get("finish_details")).get("type") == "max_tokens":
        return "length"
    if message.get("status") == "finished_partial_completion":
        return "stopped"
    return "interrupted" if message.get("status") == "in_progress" else "complete"


def open_webui(item: dict[str, Any], now: datetime) -> Conversation:
    """A chat of Open WebUI's export.

    Args:
        item: the chat's row, whose `chat` is an object.
        now: stands for times that are missing or absurd.

    Raises:
        InvalidRequestError: nothing in it can be shown, or `imports` refuses it.
    """
    chat = item["chat"]
    begun_at = checked_time(chat.get("timestamp"), now, now)
    created_at = checked_time(item.get("created_at"), now, begun_at)
    nodes = _open_webui_nodes(chat)
    parents = {id_: _string(node.get("parentId")) for id_, node in nodes.items()}
    messages: list[Message] = []
    instructions: list[str] = []
    for id_, node in nodes.items():
        role, text = _role(node), _open_webui_text(node)
        if role == "system":
            instructions.append(text)
            continue
        state, error = _open_webui_ending(node) if role == "assistant" else ("complete", None)
        if role is None or not (text.strip() or state == "failed"):
            continue
        messages.append(
            Message(
                id=id_,
                parent_id=parents[id_],
                role=role,
                content=checked_text(text),
                created_at=checked_time(node.get("timestamp"), now, created_at),
                state=state,
                error=error,
                numbers=Numbers(
                    model=checked_label(node.get("modelName")) or checked_label(node.get("model"))
                ),
            )
        )
    # The chat's own instructions win over those that its owner had for all chats when it began.
    own = _string(_object(chat.get("params")).get("system")) or _string(chat.get("system"))
    return _conversation(
        {**item, "title": item.get("title") or chat.get("title")},
        parents,
        messages,
        system_prompt=own or _joined(instructions),
        created_at=created_at,
        updated_at=checked_time(item.get("updated_at"), now, created_at),
        head_id=_string(_object(chat.get("history")).get("currentId"))
        or _string(item.get("current_message_id")),
    )


def _open_webui_nodes(chat: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The chat's messages by id; those of an older export are a list, each following the last."""
    by_id = _object(chat.get("history")).get("messages")
    if isinstance(by_id, dict):
        return {id_: _object(node) for id_, node in by_id.items()}
    listed = chat.get("messages")
    if not isinstance(listed, list):
        return {}
    return {
        str(place): {**_object(node), "parentId": str(place - 1)}
        for place, node in enumerate(listed)
    }


def _open_webui_text(node: dict[str, Any]) -> str:
    """What was said in a message, and a placeholder for each file that came with it."""
    content, files = node.get("content"), node.get("files")
    parts = content if isinstance(content, list) else [content]
    attached = [_placeholder(_object(file)) for file in files] if isinstance(files, list) else []
    return _text_of([*parts, *attached])


def _open_webui_ending(node: dict[str, Any]) -> tuple[MessageState, str | None]:
    """How an answer ended, and the error that ended it, if one did."""
    error = node.get("error")
    if error:
        said = _string(error) or _string(_object(error).get("content"))
        return "failed", checked_text(said) if said else None
    return ("interrupted" if node.get("done") is False else "complete"), None


def _conversation(
    item: dict[str, Any],
    parents: dict[str, str | None],
    messages: list[Message],
    *,
    system_prompt: str,
    created_at: datetime,
    updated_at: datetime,
    head_id: str | None,
) -> Conversation:
    if not messages:
        raise damaged("nobody says anything in it")
    # Both formats keep messages by id; only their times tell which came first.
    messages.sort(key=lambda message: message.created_at)
    draft = Conversation(
        id=_string(item.get("id")) or "",
        title=checked_title(item.get("title"), messages),
        system_prompt=checked_text(system_prompt),
        created_at=created_at,
        updated_at=updated_at,
        head_id=head_id,
        messages=tuple(messages),
    )
    return assembled(draft, parents)


def _text_of(parts: Sequence[object]) -> str:
    """The texts of a message and placeholders for the rest, a blank line between two."""
    pieces = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(part)
        elif isinstance(part, dict):
            pieces.append(_string(part.get("text")) or _placeholder(part))
    # What was said aloud comes twice, as a recording and as text.
    if any(_object(part).get("content_type") == "audio_transcription" for part in parts):
        spoken = [piece for piece in pieces if piece != "[audio]"]
        pieces = spoken or pieces
    return _joined(pieces)


def _placeholder(part: dict[str, Any]) -> str:
    """What stands for a part that is no text, such as "[image]"."""
    kind = _string(part.get("content_type")) or _string(part.get("type")) or ""
    return next((f"[{name}]" for name in ("image", "audio", "video") if name in kind), "[file]")


def _joined(texts: Sequence[str]) -> str:
    return "\n\n".join(text for text in texts if text.strip())


def _role(value: dict[str, Any]) -> Role | None:
    """The role of one who takes part; None for tools and whatever else there may be."""
    roles: tuple[Literal["system", "user", "assistant"], ...] = ("system", "user", "assistant")
    return next((role for role in roles if role == value.get("role")), None)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str | None:
    """The string, or None for anything else and for "", which names nothing."""
    return value if isinstance(value, str) and value else None
