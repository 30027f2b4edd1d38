"""The panel "System prompt": it belongs to the conversation that is shown."""

import gradio as gr

from chat_ui.settings import Settings


def build(settings: Settings) -> dict[str, gr.components.Component]:
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
