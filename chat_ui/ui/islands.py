"""The parts of the page that its script draws: fixed HTML here, values as JSON, texts set as text.

Gradio compiles an HTML component's template with the value in it and runs the result as JavaScript:
a title such as "${alert(1)}" would run. So no template of ours holds a value, and the script writes
texts with `textContent`: also those of the fixed HTML, which `data-text` and the like name by their
keys (`texts.py`).
"""

from typing import Any, Final

import gradio as gr

from chat_ui.ui.status import empty_status

# What to begin with, by their keys; the built-in model knows about these.
EXAMPLES: Final = ("welcome.help", "welcome.load", "welcome.temperature", "welcome.code")

BAR: Final = """
<button type="button" class="bar-button" id="rail-toggle" aria-controls="rail"
  data-text-label="rail.conversations">
  <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 6h16M4 12h16M4 18h10"/></svg></button>
<span class="brand">chat<i>_</i>ui</span>
<div class="model-line" id="model-line">
  <p class="model-head"><span class="dot" aria-hidden="true"></span><span class="label"></span>
    <span class="facts"></span> <span class="state"></span></p>
  <p class="note" hidden></p>
</div>
<button type="button" class="bar-button" id="panels-toggle" aria-controls="panels"
  data-text-label="page.settings">
  <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 7h10M18 7h2M4 17h2M10 17h10"/>
    <circle cx="16" cy="7" r="2"/><circle cx="8" cy="17" r="2"/></svg></button>
"""

RAIL: Final = """<nav data-text-label="rail.conversations"><h2
  data-text="rail.conversations"></h2>
<input type="text" enterkeyhint="search" id="search" data-text-label="rail.search"
  data-text-placeholder="rail.search" autocomplete="off" maxlength="200">
<div id="conversations"></div>
<p class="none" role="status"></p></nav>
<div id="undo" role="status"></div>
<div id="files"><button type="button" popovertarget="export-menu"
  data-text="files.export"></button>
<button type="button" id="import" data-text="files.import"></button>
<button type="button" id="show-keys" data-text-label="keys.name"
  data-text-title="keys.name">?</button>
<input type="file" id="import-file" accept=".json,application/json" hidden>
<div id="export-menu" popover role="group" data-text-label="files.export">
<p data-text="files.this"></p>
<button type="button" data-which="one" data-form="json" data-text="files.this_json"></button>
<button type="button" data-which="one" data-form="markdown"
  data-text="files.markdown"></button>
<button type="button" data-which="one" data-form="copy" data-text="files.copy"></button>
<p data-text="files.all"></p>
<button type="button" data-which="all" data-form="json" data-text="files.all_json"></button>
<button type="button" data-which="all" data-form="markdown"
  data-text="files.markdown"></button>
</div></div>
<div id="private"><a href="privacy" data-text="privacy.name"></a>
<button type="button" id="forget-me" data-text="privacy.forget"></button></div>"""

# Shown where the pulse says that one is.
OWNER: Final = """<button type="button" id="show-owner" data-text="owner.name" hidden></button>"""

_KEPT: Final = '<p data-text="welcome.kept"></p>'
WELCOME: Final = f"""<div id="welcome"><h1 data-text="welcome.heading"></h1>
{_KEPT}
<p id="english-only" data-text="welcome.english_only" hidden></p>
<p id="not-kept" data-text="welcome.not_kept" role="note" hidden></p>
<ul class="examples"></ul>
<div class="temporary"><label><input type="checkbox" id="temporary" autocomplete="off"
  aria-describedby="temporary-note"><span data-text="welcome.temporary"></span></label>
<p id="temporary-note" data-text="welcome.temporary_note"></p></div>
</div>"""

STATUS: Final = """<div class="status-row"><p id="status" role="status"
  data-text-label="page.answer"></p><p id="live"
  aria-hidden="true"></p></div><ul id="notes"></ul>"""

CONTEXT: Final = """<div id="context" hidden><span class="bar" role="meter"
  data-text-label="context.name" aria-valuemin="0"><span data-part="system"></span><span
  data-part="history"></span><span data-part="draft"></span></span><span
  class="sum"></span></div>"""

ALERT: Final = """<div id="alert" role="alert"></div>
<p id="said" class="visually-hidden" role="status"></p>
<div id="spoken" class="visually-hidden" role="log"
  data-text-label="page.answer_read_out"></div><p id="editing" hidden></p>"""


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


def words(html: str) -> gr.HTML:
    """Fixed HTML of texts alone."""
    return gr.HTML(html_template=html, js_on_load="window.chatUI.fillTexts(element)")


def welcome(privacy: str = "") -> gr.HTML:
    """The first screen, shown as long as the conversation has no message.

    Args:
        privacy: fixed HTML of what strangers are told before they write, instead of a sentence.
    """
    return island("welcome", WELCOME.replace(_KEPT, privacy or _KEPT), list(EXAMPLES))


def status(**options: Any) -> gr.HTML:
    """The line under the chat."""
    return island("status", STATUS, empty_status() | {"empty": None}, **options)
