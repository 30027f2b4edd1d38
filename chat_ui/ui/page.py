"""The page: its layout, and which event calls which handler. No logic of its own.

The chatbot is an output of events and an input of none, and only `Follower.follow` writes to it. An
event does its work, then `follow` shows what came of it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import gradio as gr

from chat_ui.service import ChatService
from chat_ui.ui import (
    context_server,
    islands,
    list_server,
    message_server,
    owner_server,
    privacy,
    texts,
    theme,
    view,
)
from chat_ui.ui.follow import WINDOW, Follower
from chat_ui.ui.handlers import Handlers
from chat_ui.ui.i18n import I18N
from chat_ui.ui.offload import Offload, Threads
from chat_ui.ui.panels import build_panels, generation
from chat_ui.ui.panels.controls import Controls
from chat_ui.ui.pulse import pulse_of

Component = gr.components.Component

ASSETS: Final = Path(__file__).resolve().parents[2] / "assets"
TITLE: Final = "chat_ui"
# Events in Gradio's queue at once: one for every page that is open on a growing answer, and more.
QUEUE_SIZE: Final = 512

# Those that the page's script keeps to, so that nothing is sent in vain.
SHOWN_LIMITS: Final = ("message_chars", "body_bytes", "import_bytes")

ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Cpath "
    "fill='%2310706a' d='M6 3h20a4 4 0 0 1 4 4v13a4 4 0 0 1-4 4H14l-7 6v-6H6a4 4 0 0 1-4-4V7a4 4 0 "
    "0 1 4-4z'/%3E%3Crect x='9' y='11' width='14' height='4' rx='2' fill='white'/%3E%3C/svg%3E"
)

# Of every event. What comes from the browser is checked by us, so Gradio need not read it first
# (and raise); and no event is anybody's programming interface.
QUIET: Final[dict[str, Any]] = {
    "show_progress": "hidden",
    "preprocess": False,
    "api_visibility": "private",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """The page's components that events use."""

    conversation: gr.Textbox
    shown: gr.Textbox
    edited: gr.Textbox
    temporary: gr.Checkbox
    window: gr.Number
    bar: gr.HTML
    new_chat: gr.Button
    rail: gr.HTML
    earlier: gr.Button
    chat: gr.Chatbot
    status: gr.HTML
    outcome: gr.HTML
    regenerate: gr.Button
    go_on: gr.Button
    message: gr.Textbox
    send: gr.Button
    stop: gr.Button
    controls: Controls


def build_page(service: ChatService, entrance: owner_server.Entrance | None = None) -> gr.Blocks:
    """The page, built and not launched. Building asks the service for nothing but its settings.

    Args:
        service: the backend.
        entrance: what the server's owner sees and closes; None where no strangers come.
    """
    service.on_gone(view.forget)
    offload = Threads()
    demo: gr.Blocks = gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True)
    with demo:
        parts = _layout(service, entrance, offload)
        _events(demo, parts, Handlers(service, offload), Follower(service, offload))
    demo.queue(api_open=False, max_size=QUEUE_SIZE, default_concurrency_limit=None)
    return demo


def launch_options() -> dict[str, Any]:
    """What `demo.launch` needs to know of the page's look and its texts."""
    return {"theme": theme.theme(), "head": _head(), "i18n": I18N}


def _head() -> str:
    # Styles here and not as `css`: Gradio puts a prefix before every selector of that.
    styles = "\n".join(path.read_text("utf-8") for path in sorted((ASSETS / "css").glob("*.css")))
    # The others ask for texts as soon as they are read.
    paths = sorted((ASSETS / "js").glob("*.js"), key=lambda path: (path.stem != "texts", path))
    scripts = [path.read_text("utf-8") for path in paths]
    return "\n".join(
        [
            f'<link rel="icon" href="{ICON}">',
            f"<style>{styles}</style>",
            f'<script type="application/json" id="chat-ui-texts">{texts.for_page()}</script>',
            *(f"<script>{script}</script>" for script in scripts),
        ]
    )


def _layout(
    service: ChatService, entrance: owner_server.Entrance | None, offload: Offload
) -> Parts:
    conversation = gr.Textbox("", visible=False, label="Conversation")
    shown = gr.Textbox("", visible=False, label="Shown message")
    edited = gr.Textbox("", visible=False, label="Edited message")
    temporary = gr.Checkbox(False, visible=False, label="Temporary")
    window = gr.Number(WINDOW, visible=False, label="Window", precision=0)
    with gr.Row(elem_id="bar"):
        pulse = pulse_of(service, offload)
        limits = {name: getattr(service.settings.limits, name) for name in SHOWN_LIMITS}
        bar = islands.island("bar", islands.BAR, limits, server_functions=[pulse])
        new_chat = gr.Button(I18N("controls.new_chat"), elem_id="new-chat", size="sm")
    with gr.Row(elem_id="desk"):
        with gr.Column(elem_id="rail"):
            calls = list_server.server_functions(service, offload)
            rail = islands.island("rail", islands.RAIL, server_functions=calls)
            if entrance is not None:
                calls = owner_server.server_functions(service, entrance, offload)
                islands.island("owner", islands.OWNER, server_functions=calls)
        with gr.Column(elem_id="main"):
            earlier = gr.Button(I18N("controls.earlier"), elem_id="earlier", size="sm")
            chat = _chatbot()
            islands.welcome(privacy.box(service.settings))
            with gr.Row(elem_id="under"):
                calls = message_server.server_functions(service, offload)
                status = islands.status(server_functions=calls)
                go_on = gr.Button(I18N("controls.continue"), elem_id="continue", size="sm")
                regenerate = gr.Button(I18N("controls.regenerate"), elem_id="regenerate", size="sm")
            outcome = islands.island("outcome", islands.ALERT)
            message, send, stop = _composer()
            calls = context_server.server_functions(service, offload)
            islands.island("context", islands.CONTEXT, server_functions=calls)
        with gr.Column(elem_id="panels"):
            controls = build_panels(service, offload)
    return Parts(
        conversation, shown, edited, temporary, window, bar, new_chat, rail, earlier, chat, status,
        outcome, regenerate, go_on, message, send, stop, controls,
    )  # fmt: skip


def _chatbot() -> gr.Chatbot:
    return gr.Chatbot(
        elem_id="chat",
        label=I18N("controls.chat"),
        show_label=False,
        container=False,
        height=None,
        layout="bubble",
        buttons=["copy"],
        autoscroll=False,  # Gradio's own takes the reader back to the end; scroll.js has another
        latex_delimiters=cast(Any, view.LATEX_DELIMITERS),
        allow_tags=True,  # else unknown tags vanish, with the text in them
        group_consecutive_messages=False,
        feedback_options=None,
    )


def _composer() -> tuple[gr.Textbox, gr.Button, gr.Button]:
    with gr.Row(elem_id="composer"):
        message = gr.Textbox(
            label=I18N("controls.message"),
            show_label=False,
            container=False,
            placeholder=I18N("controls.ask"),
            lines=1,
            max_lines=8,
            autofocus=True,
            elem_id="message",
        )
        send = gr.Button(I18N("controls.send"), variant="primary", elem_id="send", min_width=0)
        stop = gr.Button(I18N("controls.stop"), elem_id="stop", min_width=0)
    return message, send, stop


def _events(demo: gr.Blocks, parts: Parts, handlers: Handlers, follower: Follower) -> None:
    settings = generation.in_order(parts.controls)
    follow: dict[str, Any] = {
        "fn": follower.follow,
        "inputs": [parts.conversation, parts.window],
        "outputs": [parts.chat, parts.status],
        "trigger_mode": "multiple",
        "concurrency_limit": None,
        **QUIET,
    }
    for event in (
        *_opening_events(demo, parts, handlers),
        *_answering_events(parts, handlers, settings),
        parts.earlier.click(handlers.earlier, parts.window, parts.window, **QUIET),
    ):
        event.then(**follow)
    parts.bar.tick(**follow)  # the script has seen news of this chat in a pulse
    parts.stop.click(handlers.stop, parts.conversation, parts.outcome, **QUIET)
    _keep_settings(demo, settings)


def _opening_events(demo: gr.Blocks, parts: Parts, handlers: Handlers) -> Iterator[Any]:
    controls = parts.controls
    opened = [
        parts.conversation, controls["system_prompt"], controls["begins_with"],
        parts.window, parts.outcome,
    ]  # fmt: skip
    for trigger, handler, script in (
        (demo.load, handlers.load, "() => [chatUI.idFromUrl()]"),
        (parts.rail.select, handlers.open, "() => [chatUI.chosen()]"),
        (parts.new_chat.click, handlers.open, "() => ['']"),
    ):
        yield trigger(
            handler,
            parts.conversation,
            opened,
            js=script,
            trigger_mode="multiple",
            **QUIET,
        )


def _answering_events(
    parts: Parts, handlers: Handlers, settings: Sequence[Component]
) -> Iterator[Any]:
    controls = parts.controls
    asked = [
        parts.conversation, parts.shown, controls["system_prompt"], controls["begins_with"],
        controls["thinking"], *settings,
    ]  # fmt: skip
    for trigger in (parts.message.submit, parts.send.click):
        yield trigger(
            handlers.send,
            [parts.message, parts.edited, parts.temporary, *asked],
            [parts.conversation, parts.outcome],
            js="(...values) => chatUI.sending(values)",
            trigger_mode="multiple",  # the script lets one through at a time, and says so
            **QUIET,
        )
    for button, handler in (
        (parts.regenerate, handlers.regenerate),
        (parts.go_on, handlers.go_on),
    ):
        yield button.click(
            handler,
            asked,
            parts.outcome,
            js="(...values) => chatUI.regenerating(values)",
            trigger_mode="multiple",
            **QUIET,
        )


def _keep_settings(demo: gr.Blocks, settings: Sequence[Any]) -> None:
    """A browser's generation settings survive a reload; they are kept in it, not here."""
    gr.on(
        [control.change for control in settings],
        fn=None,
        inputs=list(settings),
        js="(...values) => chatUI.keepSettings(values)",
        show_progress="hidden",
        api_visibility="private",
    )
    # This server's limits may be others than those of the one at which they were kept.
    ranges = [
        [one.minimum, one.maximum] if isinstance(one, gr.Slider) else None for one in settings
    ]
    demo.load(
        fn=None,
        outputs=list(settings),
        js=f"() => chatUI.keptSettings({json.dumps(ranges)})",
        api_visibility="private",
    )
