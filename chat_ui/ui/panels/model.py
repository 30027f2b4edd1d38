"""The panel "Model": which model the server has, and what others would take and do on this machine.

It is one island, drawn by assets/js/models.js and assets/js/picker.js, with values that it asks
`model_server.py` for. The model is one for all pages; none of this is an input of an event.
"""

from typing import Final

from chat_ui.service import MAIN_PRECISIONS, ChatService, leaderboards
from chat_ui.ui.islands import island
from chat_ui.ui.model_server import server_functions
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels.controls import Controls

LOGIN: Final = "/login/huggingface"  # web/login.py

TEMPLATE: Final = """
<div id="model-panel" class="model-panel">
  <div class="model-now" tabindex="-1">
    <p class="now-name"></p>
    <button type="button" class="small-button" id="cancel-load" data-text="model.cancel"
      hidden></button>
    <button type="button" class="small-button" id="unload" data-text="model.unload" hidden></button>
    <div class="now-below">
      <p class="now-stage"></p>
      <progress id="load-progress" data-text-label="model.progress" max="1" hidden></progress>
      <ul class="now-facts"></ul>
    </div>
    <p class="visually-hidden" role="status" data-text-label="model.name"></p>
  </div>

  <p class="login" hidden><a rel="noopener noreferrer" data-text="model.login"></a>
    <span></span>
    <button type="button" class="small-button" id="log-out" data-text="model.log_out"
      hidden></button></p>

  <div class="picker">
    <input type="text" id="model-input" role="combobox" data-text-label="model.name"
      aria-expanded="false" aria-controls="model-list" aria-autocomplete="list" autocomplete="off"
      autocapitalize="none" spellcheck="false" enterkeyhint="done"
      data-text-placeholder="model.box">
    <div class="picker-popup" hidden>
      <div id="model-list" tabindex="-1" role="listbox" data-text-label="model.list"></div>
      <p class="picker-line" hidden></p>
    </div>
    <p class="leaderboards"></p>
  </div>

  <p class="model-message" role="alert" hidden></p>

  <div class="model-card">
    <div class="card-head">
      <p class="about"></p>
      <p class="counts"></p>
      <p class="reading"></p>
      <p class="facts"></p>
      <p class="problem"></p>
      <p class="gated"><span></span> <a target="_blank" rel="noopener noreferrer"
        data-text="model.ask_hub"></a></p>
    </div>

    <fieldset class="precision" id="precision" role="radiogroup" aria-labelledby="precision-title">
      <legend id="precision-title" data-text="precision.name"></legend>
      <div class="rows"></div>
      <details class="kinds" hidden><summary data-text="model.more"></summary><div
        class="rows"></div></details>
      <p class="fitting"></p>
    </fieldset>

    <button type="button" class="model-action" id="load-model" hidden></button>
    <details class="token" hidden>
      <summary data-text="model.token"></summary>
      <label for="hub-token" data-text="model.token_note"></label>
      <div class="token-row">
        <input type="password" id="hub-token" data-text-label="model.token" autocomplete="off"
          spellcheck="false" placeholder="hf_…">
        <button type="button" class="small-button" id="use-token"
          data-text="model.token_use"></button>
      </div>
    </details>

    <div class="outlook">
      <div class="memory-head"><h3 data-text="model.memory"></h3>
        <select id="model-context" data-text-label="context.name"></select></div>
      <div class="memory-bar" role="img"><div class="memory-parts"></div></div>
      <ul class="memory-list"></ul>
      <p class="need"></p>
      <h3 class="speed-head" data-text="model.speed"></h3>
      <ul class="speed"></ul>
      <p class="machine"></p>
    </div>
  </div>
</div>
"""


def build(service: ChatService, offload: Offload) -> Controls:
    """The panel. It has no controls that an event reads."""
    settings = service.settings
    value = {
        "is_fixed": settings.model_is_fixed,
        # Its full address: cookies of one name are not sent to another.
        "login": f"https://{settings.space_host}{LOGIN}" if settings.oauth else "",
        "precisions": list(MAIN_PRECISIONS),
        "leaderboards": [[one.label, one.url, one.purpose] for one in leaderboards()],
    }
    island("model", TEMPLATE, value, server_functions=server_functions(service, offload))
    return {}
