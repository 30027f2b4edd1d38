"""The panel "System prompt": it belongs to the conversation that is shown."""

import gradio as gr

from chat_ui.service import ChatService
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels.controls import Controls


def build(service: ChatService, offload: Offload) -> Controls:
    """The panel's controls by name."""
    return {
        "system_prompt": gr.Textbox(
            label="System prompt",
            show_label=False,
            lines=3,
            max_lines=10,
            placeholder="How should it answer? For example: Answer in two short sentences.",
            elem_id="system-prompt",
        )
    }
