"""The panel "System prompt": it belongs to the conversation that is shown.

Beside the box is a small library: some to begin with, and the visitor's own, which the browser
keeps (assets/js/prompts.js).
"""

from typing import Final

import gradio as gr

from chat_ui.service import ChatService
from chat_ui.ui import islands
from chat_ui.ui.i18n import I18N
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels.controls import Controls

# What to begin with: the keys of names, beside each of which is its prompt (`_text`).
LIBRARY: Final = ("prompts.helpful", "prompts.robot", "prompts.terse")

ISLAND: Final = """<div class="prompts"><select data-text-label="prompts.saved"></select>
<button type="button" class="undo" data-text="rail.undo" hidden></button>
<button type="button" class="save" data-text="prompts.save"></button>
<button type="button" class="remove" data-text="prompts.remove" hidden></button></div>
<p class="setting-note" id="note-system-prompt"></p>"""


def build(service: ChatService, offload: Offload) -> Controls:
    """The panel's controls by name."""
    box = gr.Textbox(
        label=I18N("controls.system_prompt"),
        show_label=False,
        lines=3,
        max_lines=10,
        placeholder=I18N("controls.system_prompt_example"),
        elem_id="system-prompt",
    )
    islands.island("prompts", ISLAND, list(LIBRARY))
    return {"system_prompt": box}
