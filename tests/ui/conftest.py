"""A backend in memory that notes on which thread it is called, and a request of its one visitor."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from chat_ui.chat.messages import Conversation, ConversationSummary, Message, Numbers
from chat_ui.errors import NotAllowedError, NotFoundError
from chat_ui.service import (
    Choice,
    ChoiceGroup,
    ContextUse,
    ModelCard,
    ModelStatus,
    PrecisionCard,
    PrecisionForecast,
    Reply,
    ReplyOptions,
)
from chat_ui.service.files import Added
from chat_ui.service.stop_file import is_stopped
from chat_ui.settings import Settings

OWNER = "owner"
THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
READY = ModelStatus(3, "ready", "pocket-guide", "Pocket Guide", "full", "float32")


GUIDE = Choice("pocket-guide", "Pocket Guide", 4_700_000, is_here=True)
SMALL = Choice("a/small-1B", "Small 1B", 10**9, licence="mit", downloads=1_200_000, likes=340)

FITS = PrecisionForecast(
    weight_bytes=400_000_000,
    unquantized_bytes=100_000_000,
    kv_cache_bytes=50_000_000,
    total_bytes=500_000_000,
    load_peak_bytes=500_000_000,
    verdict="fits",
    tokens_per_s=19.1,
    prompt_tokens_per_s=250.0,
)


def card_of(choice: Choice, *forecasts: PrecisionForecast | None, **changes: Any) -> ModelCard:
    """A card of a model whose precisions, from Full on, have these forecasts."""
    names = (("full", "Full"), ("8bit", "8-bit"), ("4bit", "4-bit"))
    precisions = tuple(
        PrecisionCard(name, label, forecast=forecast)  # type: ignore[arg-type]
        for (name, label), forecast in zip(names, forecasts or (FITS,), strict=False)
    )
    card = ModelCard(
        choice=choice,
        name_reading="",
        is_exact=True,
        window_tokens=8192,
        context_tokens=4096,
        dtype="bfloat16",
        quantized_as="",
        download_bytes=0 if choice.is_here else 1_200_000_000,
        free_bytes=1_000_000_000,
        machine="AMD EPYC, 2 cores",
        device="CPU",
        bandwidth_bytes_per_s=44e9,
        forecast=None,
        precisions=precisions,
    )
    return replace(card, **changes)


def conversation_of(*texts: str, conversation_id: str = "c1") -> Conversation:
    """A conversation of these texts, in turns."""
    messages: list[Message] = []
    for number, text in enumerate(texts):
        parent = messages[-1].id if messages else None
        role = "user" if number % 2 == 0 else "assistant"
        messages.append(Message(f"b{number}", parent, role, text, THEN))  # type: ignore[arg-type]
    head = messages[-1].id if messages else None
    return Conversation(conversation_id, "Title", "Be kind.", THEN, THEN, head, tuple(messages))


@dataclass
class FakeService:
    """What the page needs of ChatService.

    Attributes:
        called: the methods called, in order, with the threads that called them.
        raises: what the next call raises.
    """

    settings: Settings
    kept: dict[str, Conversation] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    called: list[tuple[str, threading.Thread]] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    raises: Exception | None = None
    status: ModelStatus = READY
    notice: str = ""
    unknown: tuple[Choice, ...] = ()
    pinned: set[str] = field(default_factory=set)
    forgetters: list[Callable[[], None]] = field(default_factory=list)

    @property
    def model(self) -> ModelStatus:
        return self.status

    @property
    def is_paused(self) -> bool:
        return self.settings.is_public and is_stopped(self.settings.data_dir)

    def measured_model(self) -> ModelStatus:
        return self.status

    def conversations(self, owner: str) -> list[ConversationSummary]:
        self._note("conversations", owner)
        return [
            ConversationSummary(c.id, c.title, c.updated_at, c.id in self.pinned, head_id=c.head_id)
            for c in self.kept.values()
            if not c.is_temporary
        ]

    def summary(self, owner: str, conversation_id: str) -> ConversationSummary:
        self._note("summary", owner, conversation_id)
        if owner != OWNER or conversation_id not in self.kept:
            raise NotFoundError
        c = self.kept[conversation_id]
        return ConversationSummary(c.id, c.title, c.updated_at, head_id=c.head_id)

    def search_conversations(self, owner: str, words: str) -> list[ConversationSummary]:
        self._note("search_conversations", owner, words)
        return [
            ConversationSummary(c.id, c.title, c.updated_at, found=f"… {words} …")
            for c in self.kept.values()
        ]

    def rename_conversation(self, owner: str, conversation_id: str, title: str) -> None:
        self._note("rename_conversation", owner, conversation_id, title)

    def pin_conversation(self, owner: str, conversation_id: str, is_pinned: bool) -> None:
        self._note("pin_conversation", owner, conversation_id, is_pinned)

    def delete_conversation(self, owner: str, conversation_id: str) -> None:
        self._note("delete_conversation", owner, conversation_id)

    def restore_conversation(self, owner: str, conversation_id: str) -> None:
        self._note("restore_conversation", owner, conversation_id)

    def conversation(self, owner: str, conversation_id: str) -> Conversation:
        self._note("conversation", owner, conversation_id)
        if owner != OWNER or conversation_id not in self.kept:
            raise NotFoundError
        found, reply = self.kept[conversation_id], self.replies.get(conversation_id)
        if reply is None or reply.message_id != found.messages[-1].id:
            return found
        now = reply.snapshot()
        last = replace(
            found.messages[-1],
            content=now.text,
            state=now.state,
            error=now.error,
            numbers=now.numbers,
        )
        return replace(found, messages=(*found.messages[:-1], last))

    def running(self, owner: str, conversation_id: str) -> Reply | None:
        self._note("running", owner, conversation_id)
        return self.replies.get(conversation_id)

    def reply(
        self,
        owner: str,
        conversation_id: str | None,
        text: str,
        options: ReplyOptions,
        *,
        after_id: str | None,
        is_temporary: bool,
    ) -> Reply:
        more = ("temporary",) if is_temporary else ()
        if after_id is not None:
            more = (*more, f"after {after_id}")
        self._note("reply", owner, conversation_id, text, options, *more)
        return Reply(conversation_id or "new", "b1", Numbers(), 0.0)

    def regenerate(
        self,
        owner: str,
        conversation_id: str,
        options: ReplyOptions,
        message_id: str | None = None,
    ) -> Reply:
        self._note("regenerate", owner, conversation_id, options, message_id)
        return Reply(conversation_id, "b1", Numbers(), 0.0)

    def edit_question(
        self, owner: str, conversation_id: str, message_id: str, text: str, options: ReplyOptions
    ) -> Reply:
        self._note("edit_question", owner, conversation_id, message_id, text, options)
        return Reply(conversation_id, "b1", Numbers(), 0.0)

    def continue_answer(
        self, owner: str, conversation_id: str, message_id: str | None, options: ReplyOptions
    ) -> Reply:
        self._note("continue_answer", owner, conversation_id, message_id, options)
        return Reply(conversation_id, "b1", Numbers(), 0.0)

    def edit_answer(self, owner: str, conversation_id: str, message_id: str, text: str) -> str:
        self._note("edit_answer", owner, conversation_id, message_id, text)
        return "b9"

    def show_version(self, owner: str, conversation_id: str, message_id: str) -> None:
        self._note("show_version", owner, conversation_id, message_id)

    def context_use(
        self,
        owner: str,
        conversation_id: str | None,
        draft: str,
        options: ReplyOptions,
        edited_id: str | None = None,
    ) -> ContextUse | None:
        self._note("context_use", owner, conversation_id, draft, options, edited_id)
        return ContextUse(2_048, 12, 300, 7, 512, 2, "b4")

    def branch(self, owner: str, conversation_id: str, message_id: str) -> str:
        self._note("branch", owner, conversation_id, message_id)
        return "c9"

    def python_script(self, owner: str, conversation_id: str, message_id: str) -> str:
        self._note("python_script", owner, conversation_id, message_id)
        return "print()"

    def export_json(self, owner: str, conversation_id: str | None) -> tuple[str, str]:
        self._note("export_json", owner, conversation_id)
        return "Title.json", "{}"

    def export_markdown(self, owner: str, conversation_id: str | None) -> tuple[str, str]:
        self._note("export_markdown", owner, conversation_id)
        return "Title.md", "# Title"

    def add_conversations(self, owner: str, text: str) -> Added:
        self._note("add_conversations", owner, text)
        return Added(("c9", "c8"), left_out=1)

    def stop_reply(self, owner: str, conversation_id: str) -> None:
        self._note("stop_reply", owner, conversation_id)

    def note_refusal(self, error: BaseException) -> None:
        self.refused.append(type(error).__name__)

    def on_gone(self, forget: Callable[[], None]) -> None:
        self.forgetters.append(forget)

    def may_change_model(self, is_owner: bool) -> bool:
        return is_owner or not self.settings.model_is_fixed

    def refuse_where_fixed(self, is_owner: bool) -> None:
        if not self.may_change_model(is_owner):
            raise NotAllowedError("The model is fixed on this server.")

    def model_choices(self, *, is_owner: bool = False) -> list[ChoiceGroup]:
        self._note("model_choices")
        return [ChoiceGroup("here", (GUIDE,)), ChoiceGroup("unknown", self.unknown)]

    def search_models(self, text: str, token: str = "", *, is_owner: bool = False) -> list[Choice]:
        self.refuse_where_fixed(is_owner)
        self._note("search_models", text)
        return [SMALL]

    def model_card(
        self,
        model: str,
        context_tokens: int | None = None,
        token: str = "",
        *,
        is_owner: bool = False,
    ) -> ModelCard:
        self._note("model_card", model, context_tokens, token)
        return card_of(replace(GUIDE, id=model))

    def switch_model(
        self,
        model: str,
        precision: str,
        token: str = "",
        *,
        anyway: bool = False,
        is_owner: bool = False,
    ) -> None:
        self.refuse_where_fixed(is_owner)
        self._note("switch_model", model, precision, token, anyway)

    def cancel_load(self, *, is_owner: bool = False) -> None:
        self.refuse_where_fixed(is_owner)
        self._note("cancel_load")

    def unload_model(self, *, is_owner: bool = False) -> None:
        self.refuse_where_fixed(is_owner)
        self._note("unload_model")

    def begin(self, conversation_id: str = "c1") -> Reply:
        """Let the newest message of a conversation be written."""
        reply = Reply(conversation_id, self.kept[conversation_id].messages[-1].id, Numbers(), 0.0)
        self.replies[conversation_id] = reply
        return reply

    def _note(self, method: str, *args: Any) -> None:
        self.called.append((method, threading.current_thread()))
        self.asked.append((method, *args))
        if self.raises is not None:
            raise self.raises


async def on_this_thread(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """An `Offload` that is quick."""
    return call(*args, **kwargs)


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    return FakeService(Settings(data_dir=tmp_path))


def request_of(
    owner: str | None = OWNER,
    page: str = "page",
    *,
    language: str = "en",
    is_owner: bool = False,
    address: str = "",
) -> gr.Request:
    """A request as Gradio hands it to a handler."""
    headers = {"accept-language": language}
    state = SimpleNamespace(owner=owner, is_owner=is_owner, address=address)
    plain = SimpleNamespace(state=state, headers=headers)
    return SimpleNamespace(request=plain, session_hash=page)  # type: ignore[return-value]


@pytest.fixture
def request_() -> gr.Request:
    return request_of()
