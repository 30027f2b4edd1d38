"""The panel "Appearance": light, dark, or as the system is, and how much is told. The browser keeps
both.
"""

from typing import Final

from chat_ui.service import ChatService
from chat_ui.ui import islands
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels.controls import Controls

LOOK: Final = """<fieldset><legend class="visually-hidden"
  data-text="look.theme"></legend><div class="choices">
<label><input type="radio" name="look" value="system"><span
  data-text="look.system"></span></label>
<label><input type="radio" name="look" value="light"><span
  data-text="look.light"></span></label>
<label><input type="radio" name="look" value="dark"><span
  data-text="look.dark"></span></label>
</div></fieldset>"""

DETAIL: Final = """<fieldset><legend data-text="detail.level"></legend><div class="choices">
<label><input type="radio" name="detail" value="simple"><span
  data-text="detail.simple"></span></label>
<label><input type="radio" name="detail" value="more"><span
  data-text="detail.more"></span></label>
<label><input type="radio" name="detail" value="everything"><span
  data-text="detail.everything"></span></label>
</div></fieldset>"""


def build(service: ChatService, offload: Offload) -> Controls:
    """No control that an event reads."""
    islands.island("look", LOOK)
    islands.island("detail", DETAIL)
    return {}
