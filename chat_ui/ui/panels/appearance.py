"""The panel "Appearance": light, dark, or as the system is. The browser keeps it."""

from typing import Final

from chat_ui.service import ChatService
from chat_ui.ui import islands
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels.controls import Controls

ISLAND: Final = """<fieldset class="choices"><legend class="visually-hidden"
  data-text="look.theme"></legend>
<label><input type="radio" name="look" value="system"><span
  data-text="look.system"></span></label>
<label><input type="radio" name="look" value="light"><span
  data-text="look.light"></span></label>
<label><input type="radio" name="look" value="dark"><span
  data-text="look.dark"></span></label></fieldset>"""


def build(service: ChatService, offload: Offload) -> Controls:
    """No control that an event reads."""
    islands.island("look", ISLAND)
    return {}
