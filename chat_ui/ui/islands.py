"""The parts of the page that its script draws: fixed HTML here, values as JSON, texts set as text.

Gradio compiles an HTML component's template with the value in it and runs the result as JavaScript:
a title such as "${alert(1)}" would run. So no template of ours holds a value, and the script writes
texts with `textContent`.
"""

from typing import Any, Final

import gradio as gr

from chat_ui.ui.status import empty_status

# What to begin with; the built-in model knows about these.
EXAMPLES: Final = (
    "What can you help me with?",
    "How do I load another model?",
    "What does the temperature change?",
    "Show me some code.",
)

BAR: Final = """
<button type="button" class="bar-button" id="rail-toggle" aria-controls="rail"
  aria-label="Conversations">
  <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 6h16M4 12h16M4 18h10"/></svg></button>
<span class="brand">chat<i>_</i>ui</span>
<div class="model-line" id="model-line">
  <p class="model-head"><span class="dot" aria-hidden="true"></span><span class="label"></span>
    <span class="facts"></span> <span class="state"></span></p>
  <p class="note" hidden></p>
</div>
<button type="button" class="bar-button" id="panels-toggle" aria-controls="panels"
  aria-label="Settings">
  <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 7h10M18 7h2M4 17h2M10 17h10"/>
    <circle cx="16" cy="7" r="2"/><circle cx="8" cy="17" r="2"/></svg></button>
"""

RAIL: Final = """<nav aria-label="Conversations"><h2>Conversations</h2>
<input type="text" enterkeyhint="search" id="search" aria-label="Search conversations"
  placeholder="Search conversations" autocomplete="off" maxlength="200">
<div id="conversations"></div>
<p class="none" role="status"></p></nav>
<div id="undo" role="status"></div>
<div id="files"><button type="button" popovertarget="export-menu">Export</button>
<button type="button" id="import">Import</button>
<button type="button" id="show-keys" aria-label="Keyboard shortcuts"
  title="Keyboard shortcuts">?</button>
<input type="file" id="import-file" accept=".json,application/json" hidden>
<div id="export-menu" popover role="group" aria-label="Export">
<p>This conversation</p>
<button type="button" data-which="one" data-form="json">JSON, with all versions</button>
<button type="button" data-which="one" data-form="markdown">Markdown, to read</button>
<button type="button" data-which="one" data-form="copy">Copy as Markdown</button>
<p>All conversations</p>
<button type="button" data-which="all" data-form="json">JSON, to import again</button>
<button type="button" data-which="all" data-form="markdown">Markdown, to read</button>
</div></div>"""

WELCOME: Final = """<div id="welcome"><h1>What would you like to know?</h1>
<p>The model runs on this server, and your conversations are kept there.</p>
<ul class="examples"></ul>
<div class="temporary"><label><input type="checkbox" id="temporary" autocomplete="off"
  aria-describedby="temporary-note">Temporary chat</label>
<p id="temporary-note">Kept in memory only, and gone an hour after its last message.</p></div>
</div>"""

STATUS: Final = """<div class="status-row"><p id="status" role="status"
  aria-label="Answer"></p><p id="live"
  aria-hidden="true"></p></div><ul id="notes"></ul>"""

CONTEXT: Final = """<div id="context" hidden><span class="bar" role="meter"
  aria-label="Context" aria-valuemin="0"><span data-part="system"></span><span
  data-part="history"></span><span data-part="draft"></span></span><span
  class="sum"></span></div>"""

ALERT: Final = """<div id="alert" role="alert"></div>
<p id="said" class="visually-hidden" role="status"></p>
<div id="spoken" class="visually-hidden" role="log"
  aria-label="Answer, read out"></div><p id="editing" hidden></p>"""


def island(name: str, template: str, value: Any = None, **options: Any) -> gr.HTML:
    """A part of the page that assets/js/page.js draws, under this name."""
    return gr.HTML(
        value=value,
        html_template=template,
        js_on_load=f"window.chatUI.mount('{name}', {{element, props, watch, trigger, server}})",
        elem_id=f"{name}-island",
        apply_default_css=False,
        **options,
    )


def welcome() -> gr.HTML:
    """The first screen, shown as long as the conversation has no message."""
    return island("welcome", WELCOME, list(EXAMPLES))


def status(**options: Any) -> gr.HTML:
    """The line under the chat."""
    return island("status", STATUS, empty_status() | {"empty": None}, **options)
