"""The panels beside the chat. A new one is a module here with `build`, and an entry in `PANELS`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import gradio as gr

from chat_ui.service import ChatService
from chat_ui.ui import islands
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels import appearance, generation, model, system_prompt
from chat_ui.ui.panels.controls import Controls


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its heading's key, and what makes its controls in the present Gradio context."""

    title: str
    build: Callable[[ChatService, Offload], Controls]


PANELS: Final = (
    Panel("controls.system_prompt", system_prompt.build),
    Panel("panels.model", model.build),
    Panel("panels.generation", generation.build),
    Panel("panels.appearance", appearance.build),
)


def build_panels(service: ChatService, offload: Offload) -> Controls:
    """All panels, one under the other; their controls by name."""
    controls: Controls = {}
    for panel in PANELS:
        with gr.Column(elem_classes=["side-panel"]):
            islands.words(f'<h2 data-text="{panel.title}"></h2>')
            controls |= panel.build(service, offload)
    return controls
