"""The panel "System prompt": it belongs to the conversation that is shown.

Beside the box is a small library: some to begin with, and the visitor's own, which the browser
keeps (assets/js/prompts.js).
"""

from typing import Final

import gradio as gr

from chat_ui.service import ChatService
from chat_ui.ui import islands
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels.controls import Controls

# (name, text): what to begin with.
LIBRARY: Final = (
    (
        "Helpful assistant",
        "You are a helpful assistant. Answer correctly and clearly, and say so when you don't "
        "know.",
    ),
    (
        "1986 robot",
        "You are a sassy, wise-cracking robot from a 1986 Hollywood film. You answer with bravado "
        "and dated slang, and you still get the facts right.",
    ),
    ("Terse", "Answer in one sentence, with no more words than it takes."),
)

ISLAND: Final = """<div class="prompts"><select aria-label="Saved prompts"></select>
<button type="button" class="save">Save</button>
<button type="button" class="remove" hidden>Remove</button></div>
<p class="setting-note" id="note-system-prompt"></p>"""


def build(service: ChatService, offload: Offload) -> Controls:
    """The panel's controls by name."""
    box = gr.Textbox(
        label="System prompt",
        show_label=False,
        lines=3,
        max_lines=10,
        placeholder="How should it answer? For example: Answer in two short sentences.",
        elem_id="system-prompt",
    )
    islands.island("prompts", ISLAND, [list(one) for one in LIBRARY])
    return {"system_prompt": box}
