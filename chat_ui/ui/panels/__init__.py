"""The panels beside the chat. A new one is a module here with `build`, and an entry in `PANELS`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import gradio as gr

from chat_ui.service import ChatService
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels import appearance, generation, model, system_prompt
from chat_ui.ui.panels.controls import Controls


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its heading, and what makes its controls inside the present Gradio context."""

    title: str
    build: Callable[[ChatService, Offload], Controls]


PANELS: Final = (
    Panel("System prompt", system_prompt.build),
    Panel("Model", model.build),
    Panel("Generation", generation.build),
    Panel("Appearance", appearance.build),
)


def build_panels(service: ChatService, offload: Offload) -> Controls:
    """All panels, one under the other; their controls by name."""
    controls: Controls = {}
    for panel in PANELS:
        with gr.Column(elem_classes=["side-panel"]):
            gr.HTML(f"<h2>{panel.title}</h2>", js_on_load=None)
            controls |= panel.build(service, offload)
    return controls
